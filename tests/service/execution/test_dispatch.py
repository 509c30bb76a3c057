"""Handing units out, on a workforce that only writes down what it is given."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.errors import SchedulerUnavailableError
from service.execution.cluster import GPU_WORKER, Outcome
from service.execution.dispatch import Dispatch
from service.execution.worker import StepResult
from service.stages.context import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.progress import RunProgress
from storage.artifacts import ArtifactStore
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas


class Hands:
    """A workforce of two slots."""

    n_slots = 2

    def __init__(self):
        self.n_gpus = 0
        self.is_up, self.is_new = True, False
        self.given = {}
        self.cancelled = []

    def connect(self):
        if not self.is_up:
            raise SchedulerUnavailableError("no Dask scheduler answers")
        is_new, self.is_new = self.is_new, False
        return is_new

    def submit(self, name, work, call, on_end, resources=None):
        self.given[name] = (call, on_end, resources)

    def cancel(self, names):
        self.cancelled += names


@pytest.fixture
def house(tmp_path):
    class House:
        hands, ended, notes = Hands(), [], []
        units = ArtifactStore(tmp_path / "units")
        dispatch = Dispatch(
            hands, DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs"), None,
            lambda *ending: House.ended.append(ending), notes.append,
        )  # fmt: skip

        def walk(self, run_id, dataset="ds_a"):
            canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
            scans = tuple(ScanInput(f"s{e}", float(e), 16, 32, f"{dataset}{e}", canvas) for e in np.linspace(5420, 5540, 12))
            facts = [RunInput(dataset, dataset, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans)]
            options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 5}})
            walk = RunProgress(run_id, build_graph(facts, options, run_id))
            walk.follow(walk.graph, self.units.has)
            return {run_id: walk}

    return House()


def test_two_runs_share_the_slots_evenly(house):
    walks = house.walk("run_1") | house.walk("run_2", "ds_b")
    assert house.dispatch.hand_out(walks) == 24
    assert [len(walk.in_flight) for walk in walks.values()] == [2, 2]
    assert house.dispatch.hand_out(walks) == 20
    assert len(house.hands.given) == 4, "nobody gets more than a share"


def test_what_another_run_is_at_is_not_handed_out_twice_and_what_it_finished_ends_at_once(house):
    walks = house.walk("run_1") | house.walk("run_2")
    house.dispatch.hand_out(walks)
    keys = [call.step.key for call, *_ in house.hands.given.values()]
    assert len(keys) == len(set(keys)) == 4
    finished = next(iter(walks["run_2"].graph.steps.values()))
    walks["run_1"].finish(finished.name)
    house.units.write(finished.key, {}, {})
    for name in list(walks["run_2"].in_flight):
        walks["run_2"].drop(name)
    house.dispatch.hand_out(walks)
    attempt = walks["run_2"].in_flight[finished.name]
    assert house.ended == [("run_2", finished, attempt, Outcome("done", StepResult("done")))]
    assert attempt not in house.hands.given


def test_a_worker_with_a_card_gets_all_energies_at_once_and_each_hears_its_own_ending(house):
    house.hands.n_gpus = 1
    walks = house.walk("run_1")
    house.dispatch.hand_out(walks)
    ((batch, on_end, resources),) = [given for given in house.hands.given.values() if given[2] == GPU_WORKER]
    assert (len(batch.calls), resources, walks["run_1"].n_batches) == (12, GPU_WORKER, 1)
    receipts = [StepResult("done", is_computed=True, seconds=float(number)) for number in range(12)]
    on_end(Outcome("done", receipts))
    assert [ending.result for *_, ending in house.ended] == receipts
    assert [unit.name for _, unit, *_ in house.ended] == [call.step.name for call in batch.calls]


def test_while_the_scheduler_is_away_all_that_was_in_flight_is_ready_again_and_runs_are_told_once(house):
    walks = house.walk("run_1")
    house.dispatch.hand_out(walks)
    house.hands.is_up = False
    assert [house.dispatch.connect(walks) for _ in range(3)] == [False] * 3
    assert walks["run_1"].in_flight == {}
    house.hands.is_up = house.hands.is_new = True
    assert house.dispatch.connect(walks)
    assert [note.partition(";")[0] for note in house.notes] == ["no Dask scheduler answers", "the Dask scheduler is back"]


def test_a_run_that_ended_takes_its_units_back(house):
    walks = house.walk("run_1")
    house.dispatch.hand_out(walks)
    house.dispatch.take_back(walks["run_1"])
    assert house.hands.cancelled == list(house.hands.given)
