"""Progress of a run through its graph: which steps are finished, which are ready, how far the run is. No I/O."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.step import Step
from service.workflow.warnings import RunWarnings

AWAITS_SCANS: Final = "more scans may come until the dataset is sealed"

StageState = Literal["waiting", "running", "done", "stopped", "skipped"]


@dataclass(frozen=True)
class StageView:
    """Progress of one stage: how many of its steps there are, and how many are done.

    ``stopped`` is a stage whose run ended before it did. ``note`` says why a stage has no steps, or gives a warning.
    """

    name: str
    done: int
    total: int
    state: StageState
    note: str | None = None


@dataclass
class RunProgress:
    """Progress of one running run; only the thread of the run loop uses it.

    Attributes
    ----------
    done : set of str
        Names of steps that are finished, or that nothing unfinished needs.
    in_flight : dict of str to str
        Submitted steps, by name, and the name of the attempt.
    shares : dict of str to float
        Finished share, 0 to 1, of submitted steps.
    inputs : list of RunInput
        The datasets that the graph was built from.
    warnings : RunWarnings
        Warnings of its finished steps.
    losses : Counter of str
        How often in a row steps were lost, by name.
    published : float
        When the progress was last written to the catalogue, by `time.monotonic` [s].
    """

    run_id: str
    graph: Graph
    done: set[str] = field(default_factory=set)
    in_flight: dict[str, str] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    n_attempts: int = 0
    began: float = field(default_factory=time.monotonic)
    progress_at_start: float = 0.0
    inputs: list[RunInput] = field(default_factory=list)
    warnings: RunWarnings = field(default_factory=RunWarnings)
    losses: Counter[str] = field(default_factory=Counter)
    published: float = -math.inf

    def follow(self, graph: Graph, is_stored: Callable[[str], bool]) -> None:
        """Take over a graph, the first one or one that has grown, and find out which of its steps are finished."""
        self.graph = graph
        self.done = set(graph.steps) - graph.unfinished(is_stored)
        self.in_flight = {name: attempt for name, attempt in self.in_flight.items() if name in graph.steps}

    def ready(self) -> list[Step]:
        """Steps that can be submitted now, in the graph's order."""
        return [
            step
            for name, step in self.graph.steps.items()
            if name not in self.done and name not in self.in_flight and self.done.issuperset(step.needs)
        ]

    def start(self, step: Step) -> str:
        """Record that ``step`` is submitted; the attempt's name, which no other attempt of any run has."""
        self.n_attempts += 1
        attempt = f"{step.name}-{self.run_id}-{self.n_attempts}"
        self.in_flight[step.name] = attempt
        return attempt

    def start_together(self, steps: Sequence[Step]) -> str:
        """Record that steps are submitted as one batch; the attempt's name, that of them all."""
        attempt = f"{self.start(steps[0])}-and-{len(steps) - 1}-more"
        self.in_flight |= dict.fromkeys((step.name for step in steps), attempt)
        return attempt

    @property
    def n_batches(self) -> int:
        """Number of submitted batches."""
        return sum(n_steps > 1 for n_steps in Counter(self.in_flight.values()).values())

    def drop_batches(self) -> list[str]:
        """Record that no batch is submitted any more; the names of those that were."""
        batches = [attempt for attempt, n_steps in Counter(self.in_flight.values()).items() if n_steps > 1]
        for name in [name for name, attempt in self.in_flight.items() if attempt in batches]:
            self.drop(name)
        return batches

    def finish(self, name: str) -> None:
        """Record that a step is finished."""
        self.drop(name)
        self.done.add(name)
        del self.losses[name]

    def steps_with_unread_warnings(self) -> list[Step]:
        """Finished steps, in the graph's order, whose warnings have not been added: this run did not compute them."""
        return [step for name, step in self.graph.steps.items() if name in self.done and name not in self.warnings.seen_steps]

    def drop(self, name: str) -> None:
        """Record that a step is no longer submitted."""
        self.in_flight.pop(name, None)
        self.shares.pop(name, None)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, now or later."""
        return not self.graph.awaits_scans and len(self.done) == len(self.graph.steps)

    def progress(self) -> float:
        """Finished share of the work, 0 to 1, by the estimated costs of the steps."""
        total = self.graph.cost + self.graph.cost_to_come
        if total == 0:
            return 0.0
        done = sum(step.cost for name, step in self.graph.steps.items() if name in self.done)
        under_way = sum(self.graph.steps[name].cost * share for name, share in self.shares.items())
        return min(1.0, (done + under_way) / total)

    def eta_s(self) -> float | None:
        """Remaining time at the rate so far [s]; None where there is no rate yet, or more scans may come."""
        progress = self.progress()
        gained = progress - self.progress_at_start
        if gained <= 0 or self.graph.awaits_scans:
            return None
        return (time.monotonic() - self.began) * (1 - progress) / gained

    def stages(self, *, has_ended: bool = False) -> tuple[StageView, ...]:
        """Progress of every stage, in order."""
        return tuple(self._stage(stage, has_ended) for stage in self.graph.stages)

    def _stage(self, stage: str, has_ended: bool) -> StageView:
        names = [name for name, step in self.graph.steps.items() if step.stage == stage]
        done = len(self.done.intersection(names))
        if stage in self.graph.skipped:
            return StageView(stage, 0, 0, "skipped", self.graph.skipped[stage])
        if not names and not self.graph.awaits_scans:
            return StageView(stage, 0, 0, "skipped", "not needed with these options")
        awaits = AWAITS_SCANS if self.graph.awaits_scans and names else None
        if names and done == len(names) and awaits is None:
            return StageView(stage, done, done, "done", self.warnings.summary(stage))
        is_begun = done > 0 or not self.in_flight.keys().isdisjoint(names) or awaits is not None
        begun: StageState = "stopped" if has_ended else "running"
        return StageView(stage, done, len(names), begun if is_begun else "waiting", awaits or self.warnings.summary(stage))


def fair_share(n_slots: int, n_runs: int) -> int:
    """Number of steps that each of ``n_runs`` may have submitted: slots shared evenly, at least one each."""
    return max(1, n_slots // max(1, n_runs))


def explain(step: Step, message: str) -> str:
    """Why a run failed, with the stage and the energy of the step that failed."""
    place = f"{step.stage} at {step.energy_ev:.1f} eV" if step.energy_ev is not None else step.stage
    return f"{place} ({step.name}) failed: {message}"
