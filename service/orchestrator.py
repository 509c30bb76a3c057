"""The wheel: one thread that walks every running run through its graph.

Each turn takes what was told since the last one (endings, progress, wishes), takes up new runs, hands out units that
are ready, a fair share to each run, and writes down how far each run is. It computes nothing and reads no array.
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
from typing import Any, Final, Protocol

from service.batches import Batch, batch_of, endings_of, perform_together
from service.desk import Call, Places
from service.errors import SchedulerUnavailableError, ServiceError
from service.facts import DatasetFacts
from service.graph import build_graph
from service.ledger import Ledger, RunRecord
from service.meter import Meter
from service.scheduler import GPU_WORKER, Ending, Report
from service.unit import Unit
from service.views import RunState
from service.walk import Walk, cost_to_come, explain, fair_share
from service.work import Receipt
from storage.errors import StorageError
from storage.units import UnitStore
from tasks.errors import TaskError
from tasks.options import RunOptions

TURN_S: Final = 0.5
"""Longest wait between two turns."""
LOOK_S: Final = 2.0
"""Longest time until runs and scans that nobody told of are noticed."""
PUBLISH_S: Final = 1.0
"""Progress of a run is written down at most this often."""
SLOTS_A_WORKER: Final = 2
"""One unit at work and one waiting beside it: no worker idles, and a new run's turn comes soon."""
MAX_LOSSES: Final = 20
"""A unit lost with its worker or scheduler this often in a row is not tried again."""

UNUSABLE: Final = (ServiceError, StorageError, TaskError)
"""What loading the facts of datasets raises where they cannot make a run."""

log = logging.getLogger(__name__)


class Workforce(Protocol):
    """What the wheel asks of a cluster (`service.scheduler.Cluster`)."""

    @property
    def n_slots(self) -> int: ...
    def connect(self) -> bool: ...
    @property
    def n_gpus(self) -> int: ...
    def submit(
        self, name: str, work: Any, call: Any, on_end: Callable[[Ending], None], resources: dict[str, float] | None = None
    ) -> None: ...
    def cancel(self, names: list[str]) -> None: ...


class Orchestrator:
    """Walks runs through their graphs.

    Parameters
    ----------
    ledger : Ledger
        Where runs and events are written down.
    places : Places
        Folders that workers share with the service.
    load_facts : callable
        Facts of datasets, by their ids and a run's options; raises ServiceError where they cannot make a run.
    work : callable
        ``work(call, report) -> Receipt``, run by a worker for each unit.
    """

    def __init__(
        self,
        ledger: Ledger,
        places: Places,
        load_facts: Callable[[Sequence[str], RunOptions], list[DatasetFacts]],
        work: Callable[[Call, Report], Receipt],
    ) -> None:
        self.meter = Meter()
        self._ledger = ledger
        self._places = places
        self._units = UnitStore(places.units)
        self._load_facts = load_facts
        self._work = work
        self._walks: dict[str, Walk] = {}
        self._records: dict[str, RunRecord] = {}
        self._facts: dict[str, list[DatasetFacts]] = {}
        self._told: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._cluster: Workforce | None = None
        self._is_connected = True
        self._looked_around = -math.inf
        self._published: dict[str, float] = {}
        self._losses: dict[tuple[str, str], int] = {}

    def start(self, cluster: Workforce) -> None:
        """Begin turning; runs that an earlier service left unfinished go on."""
        self._cluster = cluster
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
        self._listen()
        self._look_around()
        self._drop_cancelled_runs()
        if self._walks and self._keep_connected():
            self._hand_out_units()
        for run_id, walk in list(self._walks.items()):
            if walk.is_finished:
                self._end(run_id, "succeeded", None)
            else:
                self._write_down(run_id)
        self.meter.n_in_flight = sum(len(walk.in_flight) for walk in self._walks.values())
        self.meter.n_ready = self.meter.n_ready if self._walks else 0

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
        walk = Walk(record.id, build_graph(facts, record.options, record.id))
        walk.follow(walk.graph, self._units.has)
        walk.cost_to_come = cost_to_come(facts, record.options, walk.graph)
        walk.progress_at_start = walk.progress()
        self._walks[record.id], self._records[record.id], self._facts[record.id] = walk, record, facts
        self._ledger.begin_run(record.id)
        n_units = len(walk.graph.units)
        log.info("%d of %d units to do", n_units - len(walk.done), n_units, extra={"run": record.id})

    def _drop_cancelled_runs(self) -> None:
        for run_id in [run_id for run_id in self._walks if self._places.stop_flag(run_id).exists()]:
            self._end(run_id, "cancelled", None)

    def _end(self, run_id: str, state: RunState, error: str | None) -> None:
        """Write down how a run ended, and let go of it."""
        walk = self._walks[run_id]
        if state != "succeeded":
            self._places.raise_stop_flag(run_id)
        self._write_down(run_id, is_final=True)
        self._ledger.end_run(run_id, state, error)
        log.log(logging.WARNING if error else logging.INFO, "%s %s", state, error or "", extra={"run": run_id})
        del self._walks[run_id], self._records[run_id], self._facts[run_id]
        if self._cluster is not None:
            self._cluster.cancel(list(walk.in_flight.values()))

    def _forget_last_look(self) -> None:
        self._looked_around = -math.inf

    def _look_around(self) -> None:
        """Take up new runs, and what changed in the datasets of live ones: at once when nudged, else now and then."""
        if time.monotonic() - self._looked_around < LOOK_S:
            return
        self._looked_around = time.monotonic()
        for record in self._ledger.unfinished_runs():
            if record.id not in self._walks:
                self._take_up(record)
        for run_id in [run_id for run_id, walk in self._walks.items() if walk.graph.awaits_scans]:
            record = self._records[run_id]
            try:
                facts = self._load_facts(record.datasets, record.options)
            except UNUSABLE as error:
                self._end(run_id, "failed", str(error))
                continue
            if facts != self._facts[run_id]:
                self._facts[run_id] = facts
                walk = self._walks[run_id]
                walk.follow(build_graph(facts, record.options, run_id), self._units.has)
                walk.cost_to_come = cost_to_come(facts, record.options, walk.graph)

    # ---- units go out and come back --------------------------------------------------------------------------------

    def _keep_connected(self) -> bool:
        """Whether the cluster can be asked; after a loss all that was in flight is ready again."""
        assert self._cluster is not None
        try:
            is_new = self._cluster.connect()
        except SchedulerUnavailableError as error:
            if self._is_connected:
                self._tell_all("note", {"text": f"{error}; finished work is kept, the run goes on when it is back"})
            self._is_connected = False
            self._release_all()
            return False
        if is_new:
            self._release_all()
        if not self._is_connected:
            self._tell_all("note", {"text": "the Dask scheduler is back"})
        self._is_connected = True
        return True

    def _release_all(self) -> None:
        for walk in self._walks.values():
            for name in list(walk.in_flight):
                walk.drop(name)

    def _hand_out_units(self) -> None:
        """Give every run that has work its fair share of the slots, one unit in turn."""
        assert self._cluster is not None
        ready = {run_id: walk.ready() for run_id, walk in self._walks.items()}
        wanting = [run_id for run_id, walk in self._walks.items() if ready[run_id] or walk.in_flight]
        self.meter.n_ready = sum(len(units) for units in ready.values())
        share = fair_share(SLOTS_A_WORKER * self._cluster.n_slots, len(wanting)) if wanting else 0
        for run_id in wanting:
            walk = self._walks[run_id]
            self._hand_out_batches(walk, ready[run_id])
            for unit in ready[run_id]:
                if len(set(walk.in_flight.values())) >= share:
                    break
                if unit.name not in walk.in_flight:
                    self._hand_out(walk, unit)

    def _hand_out_batches(self, walk: Walk, ready: list[Unit]) -> None:
        """Give units that can run together to workers with a graphics card, while one is free; take them back if none is left."""
        assert self._cluster is not None
        n_gpus = self._cluster.n_gpus
        if not n_gpus:
            self._cluster.cancel(walk.drop_batches())
        while sum(other.n_batches for other in self._walks.values()) < n_gpus:
            units = batch_of([unit for unit in ready if not (self._is_under_way(unit) or self._units.has(unit.key))])
            if not units:
                return
            attempt = walk.start_together(units)
            batch = Batch(tuple(Call(walk.run_id, unit, self._places) for unit in units))
            told = partial(self._hear_ending, walk.run_id, units, attempt)
            self._cluster.submit(attempt, perform_together, batch, told, GPU_WORKER)

    def _hear_ending(self, run_id: str, units: list[Unit], attempt: str, ending: Ending) -> None:
        for unit, one in zip(units, endings_of(ending, len(units)), strict=True):
            self._told.put(partial(self._take_back, run_id, unit, attempt, one))

    def _is_under_way(self, unit: Unit) -> bool:
        """Whether this or another run is at it; its result will serve both."""
        return any(unit.key == walk.graph.units[name].key for walk in self._walks.values() for name in walk.in_flight)

    def _hand_out(self, walk: Walk, unit: Unit) -> None:
        if self._units.has(unit.key):
            self._finish(walk, unit, Receipt("done", is_computed=False))
            self._told.put(lambda: None)  # what this unit held back may be ready now
            return
        if self._is_under_way(unit):
            return
        attempt = walk.start(unit)
        assert self._cluster is not None
        told = partial(self._hear_ending, walk.run_id, [unit], attempt)
        self._cluster.submit(attempt, self._work, Call(walk.run_id, unit, self._places), told)

    def _take_back(self, run_id: str, unit: Unit, attempt: str, ending: Ending) -> None:
        walk = self._walks.get(run_id)
        if walk is None or walk.in_flight.get(unit.name) != attempt:
            return  # an ending of an attempt that was given up
        walk.drop(unit.name)  # first of all: whatever goes wrong below, the unit can then be asked for again
        receipt = ending.result if ending.fate == "done" else Receipt(ending.fate, message=ending.message)
        if receipt.fate == "done":
            self._finish(walk, unit, receipt)
        elif receipt.fate == "failed":
            self.meter.note(unit.stage, "failed")
            self._end(run_id, "failed", explain(unit, receipt.message))
        else:
            self._try_again(walk, unit, receipt)

    def _finish(self, walk: Walk, unit: Unit, receipt: Receipt) -> None:
        walk.finish(unit.name)
        self.meter.note(unit.stage, "computed" if receipt.is_computed else "reused", receipt.seconds)
        about = {"run": walk.run_id, "unit": unit.name, "stage": unit.stage, "seconds": round(receipt.seconds, 3)}
        log.debug("unit done", extra=about)
        self._losses.pop((walk.run_id, unit.name), None)
        told = {"unit": unit.name, "stage": unit.stage, "energy_ev": unit.energy_ev, "computed": receipt.is_computed}
        spent = {"seconds": receipt.seconds, "storage_seconds": receipt.storage_seconds}
        self._ledger.add_event(walk.run_id, "unit", {**told, **spent, **receipt.facts})
        for text in receipt.facts.get("notes", ()):
            walk.remarks.setdefault(unit.stage, []).append(text)
            self._ledger.add_event(walk.run_id, "note", {"text": text})

    def _try_again(self, walk: Walk, unit: Unit, receipt: Receipt) -> None:
        self.meter.note(unit.stage, "lost")
        log.warning("a unit was lost: %s", receipt.message, extra={"run": walk.run_id, "unit": unit.name, "stage": unit.stage})
        n_losses = self._losses[walk.run_id, unit.name] = self._losses.get((walk.run_id, unit.name), 0) + 1
        if n_losses > MAX_LOSSES:
            self._end(walk.run_id, "failed", explain(unit, receipt.message))
            return
        walk.follow(walk.graph, self._units.has)  # what it reads may be lost as well
        self._ledger.add_event(
            walk.run_id, "note", {"text": f"{unit.name} was lost and is tried again: {receipt.message}"}
        )

    # ---- what others see -------------------------------------------------------------------------------------------

    def _note_progress(self, progress: dict[str, Any]) -> None:
        walk = self._walks.get(progress["run_id"])
        if walk is not None and progress["unit"] in walk.in_flight:
            walk.shares[progress["unit"]] = progress["cycle"] / progress["n_cycles"]

    def _write_down(self, run_id: str, *, is_final: bool = False) -> None:
        """Write down how far a run is, where that changed, not too often."""
        now = time.monotonic()
        if not is_final and now - self._published.get(run_id, 0.0) < PUBLISH_S:
            return
        self._published[run_id] = now
        walk = self._walks[run_id]
        self._ledger.write_progress(run_id, walk.progress(), walk.eta_s(), walk.stages(has_ended=is_final))

    def _tell_all(self, kind: str, data: dict[str, Any]) -> None:
        for run_id in self._walks:
            self._ledger.add_event(run_id, kind, data)
