"""The wheel: one thread that walks every running run through its graph.

Each turn takes what was told since the last one (endings, progress, wishes), takes up new runs, has units that are
ready handed out, and writes down how far each run is. It computes nothing and reads no array.
All it holds can be lost: after a restart it is rebuilt from the catalogue and from the keys of finished units.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from service.errors import ServiceError
from service.execution.cluster import Outcome
from service.execution.dispatch import Dispatch, Executor, Work
from service.execution.metrics import Metrics
from service.execution.worker import StepResult
from service.records.run_repository import RunRecord, RunRepository
from service.records.views import RunState
from service.stages.context import DataPaths, stored_warnings
from service.stages.pipeline import build_graph
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.progress import RunProgress, explain
from service.workflow.step import Step
from service.workflow.warnings import RunWarnings
from storage.artifacts import ArtifactStore
from storage.errors import StorageError
from tasks.errors import TaskError
from tasks.options import RunOptions

TURN_S: Final = 0.5
"""Longest wait between two turns."""
LOOK_S: Final = 2.0
"""Longest time until runs and scans that nobody told of are noticed."""
PUBLISH_S: Final = 1.0
"""Progress of a run is written down at most this often."""
MAX_LOSSES: Final = 20
"""A unit lost with its worker or scheduler this often in a row is not tried again."""

UNUSABLE: Final = (ServiceError, StorageError, TaskError)
"""What loading the facts of datasets raises where they cannot make a run."""

log = logging.getLogger(__name__)


class Runner:
    """Walks runs through their graphs.

    Parameters
    ----------
    ledger : RunRepository
        Where runs and events are written down.
    places : DataPaths
        Folders that workers share with the service.
    load_facts : callable
        StepAttributes of datasets, by their ids and a run's options; raises ServiceError where they cannot make a run.
    work : callable
        Run by a worker for each unit.
    """

    def __init__(
        self,
        ledger: RunRepository,
        places: DataPaths,
        load_facts: Callable[[Sequence[str], RunOptions], list[RunInput]],
        work: Work,
    ) -> None:
        self.meter = Metrics()
        self._ledger = ledger
        self._places = places
        self._units = ArtifactStore(places.artifacts)
        self._load_facts = load_facts
        self._work = work
        self._walks: dict[str, RunProgress] = {}
        self._told: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._dispatch: Dispatch | None = None
        self._looked_around = -math.inf

    def start(self, cluster: Executor) -> None:
        """Begin turning; runs that an earlier service left unfinished go on."""
        self._dispatch = Dispatch(cluster, self._places, self._work, self._hear_ending, self._tell_all)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._turn_until_stopped, name="ptyxas-wheel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop turning; unfinished runs stay as they are, to go on at the next start."""
        self._stopping.set()
        self.nudge()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None
        self._walks.clear()

    def nudge(self) -> None:
        """Say that something changed: a run was submitted or cancelled, a scan arrived, a dataset was sealed."""
        self._told.put(self._forget_last_look)

    def hear_progress(self, progress: dict[str, Any]) -> None:
        """Take what a worker reports; from any thread."""
        self._told.put(lambda: self._note_progress(progress))

    # ---- the wheel -------------------------------------------------------------------------------------------------

    def _turn_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:
                log.exception("a turn of the wheel failed; the next one tries again")
                time.sleep(TURN_S)

    def _turn(self) -> None:
        assert self._dispatch is not None
        self._listen()
        self._look_around()
        self._drop_cancelled_runs()
        if self._walks and self._dispatch.connect(self._walks):
            self.meter.n_ready = self._dispatch.hand_out(self._walks)
        for run_id, walk in list(self._walks.items()):
            if walk.is_finished:
                self._end(run_id, "succeeded", None)
            else:
                self._write_down(run_id)
        self.meter.n_in_flight = sum(len(walk.in_flight) for walk in self._walks.values())
        if not self._walks:
            self.meter.n_ready = 0

    def _listen(self) -> None:
        """Wait for something to be told, then take all of it."""
        with contextlib.suppress(queue.Empty):
            self._told.get(timeout=TURN_S)()
            while True:
                self._told.get_nowait()()

    # ---- runs come and go ------------------------------------------------------------------------------------------

    def _take_up(self, record: RunRecord) -> None:
        try:
            facts = self._load_facts(record.datasets, record.options)
        except UNUSABLE as error:
            self._ledger.end_run(record.id, "failed", str(error))
            log.warning("the run cannot be taken up: %s", error, extra={"run": record.id})
            return
        walk = RunProgress(record.id, Graph(), warnings=RunWarnings(self._ledger.notes(record.id)))
        walk.inputs = facts
        walk.follow(build_graph(facts, record.options, record.id), self._units.has)
        walk.progress_at_start = walk.progress()
        self._walks[record.id] = walk
        self._ledger.begin_run(record.id)
        self._tell_again(walk)
        n_units = len(walk.graph.steps)
        log.info("%d of %d units to do", n_units - len(walk.done), n_units, extra={"run": record.id})

    def _drop_cancelled_runs(self) -> None:
        for run_id in list(self._walks):
            if self._places.stop_flag(run_id).exists():
                self._end(run_id, "cancelled", None)

    def _end(self, run_id: str, state: RunState, error: str | None) -> None:
        """Write down how a run ended, and let go of it."""
        walk = self._walks[run_id]
        if state != "succeeded":
            self._places.raise_stop_flag(run_id)
        self._write_down(run_id, is_final=True)
        self._ledger.end_run(run_id, state, error)
        log.log(logging.WARNING if error else logging.INFO, "%s %s", state, error or "", extra={"run": run_id})
        del self._walks[run_id]
        if self._dispatch is not None:
            self._dispatch.take_back(walk)

    def _forget_last_look(self) -> None:
        self._looked_around = -math.inf

    def _look_around(self) -> None:
        """Take up new runs, and what changed in the datasets of live ones: at once when nudged, else now and then."""
        if time.monotonic() - self._looked_around < LOOK_S:
            return
        self._looked_around = time.monotonic()
        for record in self._ledger.unfinished_runs():
            walk = self._walks.get(record.id)
            if walk is None:
                self._take_up(record)
            elif walk.graph.awaits_scans:
                self._look_again(walk, record)

    def _look_again(self, walk: RunProgress, record: RunRecord) -> None:
        try:
            facts = self._load_facts(record.datasets, record.options)
        except UNUSABLE as error:
            self._end(walk.run_id, "failed", str(error))
            return
        if facts != walk.inputs:
            walk.inputs = facts
            walk.follow(build_graph(facts, record.options, record.id), self._units.has)
            self._tell_again(walk)

    # ---- units come back -------------------------------------------------------------------------------------------

    def _hear_ending(self, run_id: str, unit: Step, attempt: str, ending: Outcome) -> None:
        self._told.put(partial(self._take_back, run_id, unit, attempt, ending))

    def _take_back(self, run_id: str, unit: Step, attempt: str, ending: Outcome) -> None:
        walk = self._walks.get(run_id)
        if walk is None or walk.in_flight.get(unit.name) != attempt:
            return  # an ending of an attempt that was given up
        walk.drop(unit.name)  # first of all: whatever goes wrong below, the unit can then be asked for again
        receipt = ending.result if ending.fate == "done" else StepResult(ending.fate, message=ending.message)
        if receipt.fate == "done":
            self._finish(walk, unit, receipt)
        elif receipt.fate == "failed":
            self.meter.note(unit.stage, "failed")
            self._end(run_id, "failed", explain(unit, receipt.message))
        else:
            self._try_again(walk, unit, receipt)

    def _finish(self, walk: RunProgress, unit: Step, receipt: StepResult) -> None:
        walk.finish(unit.name)
        self.meter.note(unit.stage, "computed" if receipt.is_computed else "reused", receipt.seconds)
        about = {"run": walk.run_id, "unit": unit.name, "stage": unit.stage, "seconds": round(receipt.seconds, 3)}
        log.debug("unit done", extra=about)
        told = {"unit": unit.name, "stage": unit.stage, "energy_ev": unit.energy_ev, "computed": receipt.is_computed}
        spent = {"seconds": receipt.seconds, "storage_seconds": receipt.storage_seconds}
        self._ledger.add_event(walk.run_id, "unit", {**told, **spent, **receipt.facts})
        self._tell_remarks(walk, unit)

    def _try_again(self, walk: RunProgress, unit: Step, receipt: StepResult) -> None:
        self.meter.note(unit.stage, "lost")
        log.warning("a unit was lost: %s", receipt.message, extra={"run": walk.run_id, "unit": unit.name, "stage": unit.stage})
        walk.losses[unit.name] += 1
        if walk.losses[unit.name] > MAX_LOSSES:
            self._end(walk.run_id, "failed", explain(unit, receipt.message))
            return
        walk.follow(walk.graph, self._units.has)  # what it reads may be lost as well
        self._tell_again(walk)
        self._ledger.add_event(walk.run_id, "note", {"text": f"{unit.name} was lost and is tried again: {receipt.message}"})

    # ---- what others see -------------------------------------------------------------------------------------------

    def _note_progress(self, progress: dict[str, Any]) -> None:
        walk = self._walks.get(progress["run_id"])
        if walk is not None and progress["unit"] in walk.in_flight:
            walk.shares[progress["unit"]] = progress["cycle"] / progress["n_cycles"]

    def _write_down(self, run_id: str, *, is_final: bool = False) -> None:
        """Write down how far a run is, where that changed, not too often."""
        walk = self._walks[run_id]
        if is_final or time.monotonic() - walk.published >= PUBLISH_S:
            walk.published = time.monotonic()
            self._ledger.write_progress(run_id, walk.progress(), walk.eta_s(), walk.stages(has_ended=is_final))

    def _tell_all(self, text: str) -> None:
        for run_id in self._walks:
            self._ledger.add_event(run_id, "note", {"text": text})

    def _tell_again(self, walk: RunProgress) -> None:
        """Tell what was found by units that this run takes as they are: who reuses a result hears its warnings too."""
        for unit in walk.steps_with_unread_warnings():
            self._tell_remarks(walk, unit)

    def _tell_remarks(self, walk: RunProgress, unit: Step) -> None:
        for text in walk.warnings.add(unit, stored_warnings(self._units, unit)):
            self._ledger.add_event(walk.run_id, "note", {"text": text})
