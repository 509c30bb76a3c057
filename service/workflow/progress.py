"""One run's way through its graph: what is done, what is ready, how far it is. Plain bookkeeping, no I/O."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service.records.views import StageState, StageView
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.step import Step
from service.workflow.warnings import RunWarnings

AWAITED = "more scans may come until the dataset is sealed"


@dataclass
class RunProgress:
    """The state of one running run; only the orchestrator's thread touches it.

    Attributes
    ----------
    done : set of str
        Names of units that are finished, or that nothing unfinished needs.
    in_flight : dict of str to str
        Units handed to the cluster, by name, and the name of the attempt.
    shares : dict of str to float
        How far units in flight have come, 0 to 1.
    facts : list of RunInput
        What the graph was built from.
    remarks : RunWarnings
        What its units had to say, and what of it was told.
    losses : Counter of str
        How often in a row units were lost, by name.
    published : float
        When its progress was last written down, by `time.monotonic`.
    """

    run_id: str
    graph: Graph
    done: set[str] = field(default_factory=set)
    in_flight: dict[str, str] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    n_attempts: int = 0
    began: float = field(default_factory=time.monotonic)
    progress_at_start: float = 0.0
    facts: list[RunInput] = field(default_factory=list)
    remarks: RunWarnings = field(default_factory=RunWarnings)
    losses: Counter[str] = field(default_factory=Counter)
    published: float = -math.inf

    def follow(self, graph: Graph, is_kept: Callable[[str], bool]) -> None:
        """Take up a graph (the first, or one that has grown): find out what is finished; nothing is forgotten."""
        self.graph = graph
        self.done = set(graph.steps) - graph.unfinished(is_kept)
        self.in_flight = {name: attempt for name, attempt in self.in_flight.items() if name in graph.steps}

    def ready(self) -> list[Step]:
        """Units that can be started now, in the graph's order."""
        return [
            unit
            for name, unit in self.graph.steps.items()
            if name not in self.done and name not in self.in_flight and self.done.issuperset(unit.needs)
        ]

    def start(self, unit: Step) -> str:
        """Note that ``unit`` goes to the cluster; the attempt's name, which no other attempt of any run has."""
        self.n_attempts += 1
        attempt = f"{unit.name}-{self.run_id}-{self.n_attempts}"
        self.in_flight[unit.name] = attempt
        return attempt

    def start_together(self, units: Sequence[Step]) -> str:
        """Note that units go to the cluster as one; the attempt's name, that of them all."""
        attempt = f"{self.start(units[0])}-and-{len(units) - 1}-more"
        self.in_flight |= dict.fromkeys((unit.name for unit in units), attempt)
        return attempt

    @property
    def n_batches(self) -> int:
        """Attempts in flight that several units share."""
        return sum(n_units > 1 for n_units in Counter(self.in_flight.values()).values())

    def drop_batches(self) -> list[str]:
        """Note that no batch is with the cluster any more; their names."""
        batches = [attempt for attempt, n_units in Counter(self.in_flight.values()).items() if n_units > 1]
        for name in [name for name, attempt in self.in_flight.items() if attempt in batches]:
            self.drop(name)
        return batches

    def finish(self, name: str) -> None:
        """Note that a unit is done."""
        self.drop(name)
        self.done.add(name)
        del self.losses[name]

    def taken_over(self) -> list[Step]:
        """Finished units, in the graph's order, whose remarks this run has not heard: others finished them."""
        return [unit for name, unit in self.graph.steps.items() if name in self.done and name not in self.remarks.heard]

    def drop(self, name: str) -> None:
        """Note that a unit is no longer with the cluster."""
        self.in_flight.pop(name, None)
        self.shares.pop(name, None)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, now or later."""
        return not self.graph.awaits_scans and len(self.done) == len(self.graph.steps)

    def progress(self) -> float:
        """Share of the work that is done, 0 to 1, by the units' estimated costs."""
        total = self.graph.cost + self.graph.cost_to_come
        if total == 0:
            return 0.0
        done = sum(unit.cost for name, unit in self.graph.steps.items() if name in self.done)
        under_way = sum(self.graph.steps[name].cost * share for name, share in self.shares.items())
        return min(1.0, (done + under_way) / total)

    def eta_s(self) -> float | None:
        """Seconds that remain at the pace so far; None where there is no pace yet, or scans are awaited."""
        progress = self.progress()
        gained = progress - self.progress_at_start
        if gained <= 0 or self.graph.awaits_scans:
            return None
        return (time.monotonic() - self.began) * (1 - progress) / gained

    def stages(self, *, has_ended: bool = False) -> tuple[StageView, ...]:
        """Every stage in order: how many of its units there are, and how many are done."""
        return tuple(self._stage(stage, has_ended) for stage in self.graph.stages)

    def _stage(self, stage: str, has_ended: bool) -> StageView:
        names = [name for name, unit in self.graph.steps.items() if unit.stage == stage]
        done = len(self.done.intersection(names))
        if stage in self.graph.skipped:
            return StageView(stage, 0, 0, "skipped", self.graph.skipped[stage])
        if not names and not self.graph.awaits_scans:
            return StageView(stage, 0, 0, "skipped", "not needed with these options")
        note = AWAITED if self.graph.awaits_scans and names else None
        if names and done == len(names) and note is None:
            return StageView(stage, done, done, "done", self.remarks.summary(stage))
        is_begun = done > 0 or not self.in_flight.keys().isdisjoint(names) or note is not None
        begun: StageState = "stopped" if has_ended else "running"
        note = note or self.remarks.summary(stage)
        return StageView(stage, done, len(names), begun if is_begun else "waiting", note)


def fair_share(n_slots: int, n_runs: int) -> int:
    """How many units each of ``n_runs`` may have in flight: slots shared evenly, at least one each."""
    return max(1, n_slots // max(1, n_runs))


def explain(unit: Step, message: str) -> str:
    """Why a run failed, in plain words that name the stage and the energy."""
    place = f"{unit.stage} at {unit.energy_ev:.1f} eV" if unit.energy_ev is not None else unit.stage
    return f"{place} ({unit.name}) failed: {message}"
