"""What others see of a run: its events, the warnings of its steps, its progress, and the counts of steps in the metrics."""

import logging
import math
import time
from collections.abc import Iterable, Sequence
from typing import Final

from service.execution.metrics import Metrics
from service.execution.worker import StepResult
from service.records.run_repository import RunRepository
from service.stages.context import stored_warnings
from service.workflow.inputs import RunInput
from service.workflow.progress import EndState, RunProgress
from service.workflow.step import Step
from storage.artifacts import ArtifactStore
from storage.catalogue.events import NewEvent
from storage.errors import CatalogueUnavailableError

PUBLISH_S: Final = 1.0
"""Shortest time between two records of a run's progress."""
EVENTS_S: Final = 1.0
"""Shortest time between two records of what happened to a run; what happens in between is written in one transaction."""

log = logging.getLogger(__name__)


class Reporter:
    """Writes down what comes of runs, for the run loop.

    Parameters
    ----------
    records : RunRepository
        Where runs and events are written down.
    artifacts : ArtifactStore
        Where finished steps keep their warnings.

    Attributes
    ----------
    metrics : Metrics
    """

    def __init__(self, records: RunRepository, artifacts: ArtifactStore) -> None:
        self.metrics = Metrics()
        self._records = records
        self._artifacts = artifacts

    def tell(self, run: RunProgress, text: str) -> None:
        """Have a sentence recorded for whoever reads the run's events."""
        run.happened.append(("note", {"text": text}, time.time()))

    def begin(self, run: RunProgress) -> bool:
        """Record that a run is carried out; False where it was cancelled meanwhile."""
        self.write_events(run)
        is_begun = self._records.begin_run(run.run_id)
        if is_begun:
            n_steps = len(run.graph.steps)
            log.info("%d of %d steps to do", n_steps - len(run.done), n_steps, extra={"run": run.run_id})
        return is_begun

    def end(self, run: RunProgress, state: EndState, error: str | None) -> None:
        """Record how a run ended.

        Raises
        ------
        CatalogueUnavailableError
            Nothing was written down.
        """
        try:
            self.write_progress(run, is_final=True)
        except CatalogueUnavailableError:
            raise
        except Exception:
            log.exception("the run's progress cannot be written down", extra={"run": run.run_id})
        self._records.end_run(run.run_id, state, error)
        log.log(logging.WARNING if error else logging.INFO, "%s %s", state, error or "", extra={"run": run.run_id})

    def write_progress(self, run: RunProgress, *, is_final: bool = False) -> None:
        """Record how far a run is, and what happened to it."""
        run.published = time.monotonic()
        stages = run.stages(has_ended=is_final)
        self._records.write_progress(run.run_id, run.progress(), run.eta_s(), stages, new_events(run))
        note_written(run)

    def write_events(self, run: RunProgress) -> None:
        """Record what happened to a run."""
        self._records.add_events(run.run_id, new_events(run))
        note_written(run)

    def write_now_and_then(self, run: RunProgress) -> None:
        """Record how far a run is and what happened to it, unless that was done within `PUBLISH_S` and `EVENTS_S`."""
        if time.monotonic() - run.published >= PUBLISH_S:
            self.write_progress(run)
        elif run.happened and time.monotonic() - run.written >= EVENTS_S:
            self.write_events(run)

    def step_done(self, run: RunProgress, step: Step, result: StepResult) -> None:
        """Have it recorded that a step is finished, with its warnings."""
        self.metrics.note(step.stage, "computed" if result.is_computed else "reused", result.seconds)
        about = {"run": run.run_id, "step": step.name, "stage": step.stage, "seconds": round(result.seconds, 3)}
        log.debug("step done", extra=about)
        event = {"unit": step.name, "stage": step.stage, "energy_ev": step.energy_ev, "computed": result.is_computed}
        spent = {"seconds": result.seconds, "storage_seconds": result.storage_seconds}
        warnings = result.attributes.get("warnings")
        notes = run.warnings.add(step, stored_warnings(self._artifacts, step) if warnings is None else warnings)
        run.happened.append(("unit", {**event, **spent, **result.attributes}, time.time()))
        for text in notes:
            self.tell(run, text)

    def step_failed(self, step: Step) -> None:
        """Count a step that failed."""
        self.metrics.note(step.stage, "failed")

    def step_lost(self, run: RunProgress, step: Step, result: StepResult) -> None:
        """Count and log a step that was lost with its worker or the scheduler."""
        self.metrics.note(step.stage, "lost")
        about = {"run": run.run_id, "step": step.name, "stage": step.stage}
        log.warning("a step was lost: %s", result.message, extra=about)

    def warn(self, run: RunProgress, step: Step, warnings: Sequence[str]) -> None:
        """Record the warnings of a step that the run was not told yet."""
        for text in run.warnings.add(step, warnings):
            self.tell(run, text)

    def warn_of_reused_steps(self, run: RunProgress) -> None:
        """Record the warnings of finished steps that this run uses as they are: who reuses a result has to know them too."""
        for step in run.steps_with_unread_warnings():
            self.warn(run, step, stored_warnings(self._artifacts, step))

    def warn_of_datasets(self, run: RunProgress, inputs: Sequence[RunInput]) -> None:
        """Record what was assumed about the datasets' scans."""
        for text in run.warnings.unreported(f"{one.title}: {text}" for one in inputs for text in one.warnings):
            self.tell(run, text)


def new_events(run: RunProgress) -> list[NewEvent]:
    """What happened to a run and is not written down yet."""
    return [NewEvent(*event) for event in run.happened]


def note_written(run: RunProgress) -> None:
    """Note that all that happened to a run is written down."""
    run.happened.clear()
    run.written = time.monotonic()


def wait_s(runs: Iterable[RunProgress], longest: float) -> float:
    """How long until something that happened to one of these runs has to be written, at most ``longest`` [s]."""
    due = min((run.written for run in runs if run.happened), default=math.inf) + EVENTS_S
    return min(longest, max(0.0, due - time.monotonic()))
