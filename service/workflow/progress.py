"""Progress of a run through its graph: what is finished, what is with the cluster, what waits. No I/O."""

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.step import Step
from service.workflow.warnings import RunWarnings

AWAITS_SCANS: Final = "more scans may come until the dataset is sealed"
INSTEAD: Final = {
    "orientation": "the datasets state it",
    "couple": "not between rounds; the spectra are coupled once, unless kkr.mode is off",
    "references": "no reference compounds were named",
}
"""What takes the place of a stage that has no steps."""

StageState = Literal["waiting", "running", "done", "stopped", "skipped"]
EndState = Literal["succeeded", "failed", "cancelled"]


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
    """State of one live run; only the run loop touches it.

    Attributes
    ----------
    done : set of str
        Names of steps that are finished, or that nothing unfinished needs.
    abandoned : set of str
        Keys of optional steps that failed; they count as finished.
    pending : deque of Step
        Unfinished steps that are not submitted, in the order of the graph.
    submitted : set of str
        Keys of steps that were submitted and have not ended.
    running : set of str
        Names of steps that a worker has begun.
    shares : dict of str to float
        How much of a running step is done, 0 to 1, by its name.
    is_outdated : bool
        Steps were taken back, so that `follow` has to find out again what is pending.
    inputs : list of RunInput
        What the graph was built from.
    warnings : RunWarnings
        Warnings of its steps, and which of them the run was told.
    losses : Counter of str
        How often in a row a step was lost, by its name.
    published : float
        When its progress was last written down, by `time.monotonic`.
    happened : list of tuple of str, mapping and float
        Kind, data and moment [s since 1970] of each event that is not written down yet.
    written : float
        When events were last written down, by `time.monotonic`.
    paced_since : float, optional
        When the first step ended that a worker had begun, by `time.monotonic`: before that, workers compile.
    ending : tuple of str and str, optional
        How the run ends, and why it failed, until that is written down.
    """

    run_id: str
    graph: Graph = field(default_factory=Graph)
    done: set[str] = field(default_factory=set)
    abandoned: set[str] = field(default_factory=set)
    pending: deque[Step] = field(default_factory=deque)
    submitted: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    shares: dict[str, float] = field(default_factory=dict)
    is_outdated: bool = False
    paced_since: float | None = None
    progress_at_start: float = 0.0
    inputs: list[RunInput] = field(default_factory=list)
    warnings: RunWarnings = field(default_factory=RunWarnings)
    losses: Counter[str] = field(default_factory=Counter)
    published: float = -math.inf
    happened: list[tuple[str, Mapping[str, Any], float]] = field(default_factory=list)
    written: float = -math.inf
    ending: tuple[EndState, str | None] | None = None
    _names: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _costs: dict[str, float] = field(default_factory=dict)

    def follow(self, graph: Graph, is_stored: Callable[[str], bool]) -> None:
        """Follow a graph, the first or one that has grown: find out what is finished and what is pending.

        Parameters
        ----------
        graph : Graph
        is_stored : callable
            Whether the result of a key is in the store. It is asked only where something unfinished needs the result.
        """
        self._leave(self.submitted - {step.key for step in graph.steps.values()})
        self.graph = graph
        self._costs = {name: step.cost for name, step in graph.steps.items() if name not in graph.provisional}
        self._names.clear()
        for name, step in graph.steps.items():
            self._names[step.key].append(name)
        unfinished = graph.unfinished(lambda key: key in self.abandoned or is_stored(key))
        self.done = set(graph.steps) - unfinished
        self.pending = deque(step for name, step in graph.steps.items() if name in unfinished and step.key not in self.submitted)
        self.is_outdated = False

    def names_of(self, keys: Iterable[str]) -> list[str]:
        """Names of the steps that have one of these keys."""
        return [name for key in keys for name in self._names.get(key, ())]

    def submit(self, keys: Iterable[str], *, has_begun: bool = False) -> None:
        """Note that pending steps are with the cluster; keys of which no step is pending are left out."""
        wanted = set(keys)
        while self.pending and self.pending[0].key in wanted:
            self.submitted.add(self.pending.popleft().key)
        if len(wanted) > 1:
            self.submitted |= wanted.intersection(step.key for step in self.pending)
            self.pending = deque(step for step in self.pending if step.key not in wanted)
        if has_begun:
            self.begin(wanted)

    def begin(self, keys: Iterable[str]) -> None:
        """Note that a worker has begun submitted steps."""
        self.running.update(self.names_of(self.submitted.intersection(keys)))

    def withdraw(self, keys: Iterable[str]) -> None:
        """Note that submitted steps are no longer with the cluster, although they are not finished."""
        lost = self.submitted.intersection(keys)
        self._leave(lost)
        self.is_outdated = self.is_outdated or bool(lost)

    def finish(self, key: str) -> None:
        """Note that the step of a key is finished."""
        names = self.names_of([key])
        sets_pace = self.paced_since is None and not self.running.isdisjoint(names)
        self._leave({key})
        for name in names:
            self.done.add(name)
            del self.losses[name]
        if sets_pace:
            self.paced_since, self.progress_at_start = time.monotonic(), self.progress()

    def abandon(self, key: str) -> None:
        """Note that the run goes on without an optional step, which failed."""
        self.abandoned.add(key)
        self.finish(key)

    def _leave(self, keys: set[str]) -> None:
        self.submitted -= keys
        for name in self.names_of(keys):
            self.running.discard(name)
            self.shares.pop(name, None)

    def steps_with_unread_warnings(self) -> list[Step]:
        """Finished steps, in the order of the graph, whose warnings have not been added: this run did not compute them."""
        return [step for name, step in self.graph.steps.items() if name in self.done and name not in self.warnings.seen_steps]

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, now or later."""
        return not self.graph.awaits_scans and len(self.done) == len(self.graph.steps)

    def progress(self) -> float:
        """Share of the work that is done, 0 to 1, by the estimated costs of the steps."""
        total = sum(self._costs.values()) + self.graph.cost_to_come
        if total == 0:
            return 0.0
        done = sum(cost for name, cost in self._costs.items() if name in self.done)  # in the order of the total: all of it is 1
        under_way = sum(self._costs.get(name, 0.0) * share for name, share in self.shares.items())
        return min(1.0, (done + under_way) / total)

    def eta_s(self) -> float | None:
        """Seconds that remain at the pace since the first step was done; None before that, or where scans are awaited."""
        progress = self.progress()
        gained = progress - self.progress_at_start
        if self.paced_since is None or gained <= 0 or self.graph.awaits_scans:
            return None
        return (time.monotonic() - self.paced_since) * (1 - progress) / gained

    def stages(self, *, has_ended: bool = False) -> tuple[StageView, ...]:
        """Every stage in order: how many of its steps there are, and how many are done."""
        steps: defaultdict[str, list[str]] = defaultdict(list)
        for name, step in self.graph.steps.items():
            steps[step.stage].append(name)
        return tuple(self._stage(stage, steps[stage], has_ended) for stage in self.graph.stages)

    def _stage(self, stage: str, names: list[str], has_ended: bool) -> StageView:
        done = len(self.done.intersection(names))
        if stage in self.graph.skipped:
            return StageView(stage, 0, 0, "skipped", self.graph.skipped[stage])
        if not names and not self.graph.awaits_scans:
            return StageView(stage, 0, 0, "skipped", INSTEAD.get(stage, "not needed with these options"))
        note = AWAITS_SCANS if self.graph.awaits_scans and names else None
        if names and done == len(names) and note is None:
            return StageView(stage, done, done, "done", self.warnings.summary(stage))
        is_begun = done > 0 or not self.running.isdisjoint(names) or note is not None
        begun: StageState = "stopped" if has_ended else "running"
        note = note or self.warnings.summary(stage)
        return StageView(stage, done, len(names), begun if is_begun else "waiting", note)


def explain(step: Step, message: str) -> str:
    """Why a run failed: the stage, the energy and the step's name before its message."""
    place = f"{step.stage} at {step.energy_ev:.1f} eV" if step.energy_ev is not None else step.stage
    return f"{place} failed: {message}" if step.name == place else f"{place} ({step.name}) failed: {message}"
