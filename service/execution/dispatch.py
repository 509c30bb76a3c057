"""Units on their way: out to a cluster, a fair share to each run, several at once where a worker has a graphics card."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from service.errors import SchedulerUnavailableError
from service.execution.batching import Batch, batch_of, endings_of, perform_together
from service.execution.cluster import GPU_WORKER, Outcome
from service.execution.worker import StepResult
from service.stages.context import DataPaths, IsCancelled, Report, StepRequest
from service.workflow.progress import RunProgress, fair_share
from service.workflow.step import Step
from storage.artifacts import ArtifactStore

SLOTS_A_WORKER: Final = 2
"""One unit at work and one waiting beside it: no worker idles, and a new run's turn comes soon."""

Work = Callable[[StepRequest, Report, IsCancelled], StepResult]
"""What a worker runs for each unit (`service.execution.worker.perform`)."""


class Executor(Protocol):
    """What is asked of a cluster (`service.execution.cluster.Cluster`)."""

    @property
    def n_slots(self) -> int: ...
    def connect(self) -> bool: ...
    @property
    def n_gpus(self) -> int: ...
    def submit(
        self, name: str, work: Any, call: Any, on_end: Callable[[Outcome], None], resources: dict[str, float] | None = None
    ) -> None: ...
    def cancel(self, names: list[str]) -> None: ...


class Dispatch:
    """Hands the units of runs to a cluster.

    Parameters
    ----------
    cluster : Executor
    places : DataPaths
        Folders that workers share with the service.
    work : callable
    on_ending : callable
        ``on_ending(run_id, unit, attempt, ending)``, called in any thread: it must only hand it over.
    on_note : callable
        Hears what all runs should know: that the scheduler went away, or came back.
    """

    def __init__(
        self,
        cluster: Executor,
        places: DataPaths,
        work: Work,
        on_ending: Callable[[str, Step, str, Outcome], None],
        on_note: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._places = places
        self._units = ArtifactStore(places.artifacts)
        self._work = work
        self._on_ending = on_ending
        self._on_note = on_note
        self._is_connected = True

    def connect(self, walks: Mapping[str, RunProgress]) -> bool:
        """Whether the cluster can be asked; after a loss all that was in flight is ready again."""
        try:
            is_new = self._cluster.connect()
        except SchedulerUnavailableError as error:
            if self._is_connected:
                self._on_note(f"{error}; finished work is kept, the run goes on when it is back")
            self._is_connected = False
            drop_all(walks)
            return False
        if is_new:
            drop_all(walks)
        if not self._is_connected:
            self._on_note("the Dask scheduler is back")
        self._is_connected = True
        return True

    def hand_out(self, walks: Mapping[str, RunProgress]) -> int:
        """Give every run that has work its fair share of the slots, one unit in turn; how many units were ready."""
        ready = {run_id: walk.ready() for run_id, walk in walks.items()}
        wanting = [run_id for run_id, walk in walks.items() if ready[run_id] or walk.in_flight]
        share = fair_share(SLOTS_A_WORKER * self._cluster.n_slots, len(wanting)) if wanting else 0
        for run_id in wanting:
            walk = walks[run_id]
            self._hand_out_batches(walks, walk, ready[run_id])
            for unit in ready[run_id]:
                if len(set(walk.in_flight.values())) >= share:
                    break
                if unit.name not in walk.in_flight:
                    self._hand_out(walks, walk, unit)
        return sum(len(units) for units in ready.values())

    def take_back(self, walk: RunProgress) -> None:
        """Give up whatever of a run is with the cluster."""
        self._cluster.cancel(list(walk.in_flight.values()))

    def _hand_out(self, walks: Mapping[str, RunProgress], walk: RunProgress, unit: Step) -> None:
        if is_under_way(walks, unit):
            return
        attempt = walk.start(unit)
        if self._units.has(unit.key):  # another run finished it meanwhile
            self._on_ending(walk.run_id, unit, attempt, Outcome("done", StepResult("done")))
            return
        told = partial(self._hear, walk.run_id, [unit], attempt)
        self._cluster.submit(attempt, self._work, StepRequest(walk.run_id, unit, self._places), told)

    def _hand_out_batches(self, walks: Mapping[str, RunProgress], walk: RunProgress, ready: list[Step]) -> None:
        """Give units that can run together to workers with a graphics card, while one is free; take them back if none is left."""
        n_gpus = self._cluster.n_gpus
        if not n_gpus:
            self._cluster.cancel(walk.drop_batches())
        while sum(other.n_batches for other in walks.values()) < n_gpus:
            units = batch_of([unit for unit in ready if not (is_under_way(walks, unit) or self._units.has(unit.key))])
            if not units:
                return
            attempt = walk.start_together(units)
            batch = Batch(tuple(StepRequest(walk.run_id, unit, self._places) for unit in units))
            told = partial(self._hear, walk.run_id, units, attempt)
            self._cluster.submit(attempt, perform_together, batch, told, GPU_WORKER)

    def _hear(self, run_id: str, units: Sequence[Step], attempt: str, ending: Outcome) -> None:
        for unit, one in zip(units, endings_of(ending, len(units)), strict=True):
            self._on_ending(run_id, unit, attempt, one)


def is_under_way(walks: Mapping[str, RunProgress], unit: Step) -> bool:
    """Whether some run is at this very work; its result will serve all."""
    return any(unit.key == walk.graph.steps[name].key for walk in walks.values() for name in walk.in_flight)


def drop_all(walks: Mapping[str, RunProgress]) -> None:
    """Nothing is with the cluster any more."""
    for walk in walks.values():
        for name in list(walk.in_flight):
            walk.drop(name)
