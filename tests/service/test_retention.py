"""What may go and what must stay: rounds of finished runs, orphaned work, old runs, dead writers' leftovers."""

import os
import time

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.records.run_repository import RunRepository
from service.retention import Retention, past_rounds
from service.settings import Settings
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.atomic import PREFIX
from storage.catalogue.catalogue import Catalogue
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas

OPTIONS = TypeAdapter(RunOptions).validate_python(
    {"reconstruct": {"cycles": 30}, "kkr": {"mode": "joint", "start": 10, "every": 10}}
)
DAY_S = 86400.0


def facts(name="ds_a"):
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, f"{name}{i}", canvas) for i in range(12))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, False)


class House:
    """A data folder with made-up datasets, whose runs' units can be written at once."""

    def __init__(self, tmp_path, monkeypatch):
        self.settings = Settings(data_dir=tmp_path)
        for folder in (self.settings.units_dir, self.settings.runs_dir, self.settings.uploads_dir):
            folder.mkdir()
        self.catalogue = Catalogue(self.settings.catalogue_url)
        self.ledger = RunRepository(self.catalogue)
        self.units = ArtifactStore(self.settings.units_dir)
        self.rubbish = Retention(self.settings, self.catalogue)
        monkeypatch.setattr(self.rubbish._facts, "read", lambda ids: [facts(name) for name in ids])

    def run(self, run_id, state, stages=None):
        """A run whose units (of some stages only) are all there; its graph."""
        self.ledger.open_run(run_id, run_id, ["ds_a"], OPTIONS)
        if state != "queued":
            self.ledger.begin_run(run_id)
            self.ledger.end_run(run_id, state, None)
        graph = build_graph([facts()], OPTIONS, run_id)
        for unit in graph.steps.values():
            if stages is None or unit.stage in stages:
                self.units.write(unit.key, {"x": np.ones(8)}, {"stage": unit.stage})
        (self.settings.runs_dir / run_id).mkdir()
        return graph

    def names(self, **limits):
        return {waste.name for waste in self.rubbish.find(**{"min_age_s": 0.0, **limits})}


@pytest.fixture
def house(tmp_path, monkeypatch):
    house = House(tmp_path, monkeypatch)
    yield house
    house.catalogue.close()


def test_only_rounds_that_led_to_other_rounds_are_behind_a_run():
    graph = build_graph([facts()], OPTIONS, "run_1")
    past = {unit.name for unit in graph.steps.values() if unit.key in past_rounds(graph)}
    assert {name for name in past if name.startswith("couple")} == {"couple-round1", "couple-round2"}
    assert {name.rpartition("-")[2] for name in past if name.startswith("reconstruct")} == {"round1", "round2"}
    assert len(past) == 2 + 2 * 12


def test_a_finished_run_keeps_what_another_k_would_need_and_leaves_its_rounds(house):
    graph = house.run("run_1", "succeeded")
    assert house.names() == past_rounds(graph)
    assert {waste.kind for waste in house.rubbish.find(0.0)} == {"round"}


@pytest.mark.parametrize("state", ["queued", "failed", "cancelled"])
def test_a_run_that_may_go_on_keeps_everything(house, state):
    house.run("run_1", state)
    house.run("run_2", "succeeded")  # has the same rounds, and no use for them
    assert house.names() == set()


def test_work_no_run_refers_to_is_found_by_age_and_removed(house):
    graph = house.run("run_1", "succeeded")
    house.units.write("orphan", {"x": np.ones(1000)}, {})
    assert house.names(min_age_s=DAY_S) == set()
    [waste] = [waste for waste in house.rubbish.find(0.0) if waste.name == "orphan"]
    assert waste.kind == "unit"
    assert waste.n_bytes > 8000
    for waste in house.rubbish.find(0.0):
        house.rubbish.remove(waste)
        house.rubbish.remove(waste)
    assert house.names() == set()
    assert set(house.units.keys()) == {unit.key for unit in graph.steps.values()} - past_rounds(graph)


def test_runs_go_at_the_age_they_are_given_and_not_before_they_end(house):
    house.run("run_old", "succeeded")
    house.run("run_busy", "queued", stages=())
    assert "run_old" not in house.names(max_run_age_s=DAY_S)
    house.catalogue.update_run("run_old", finished=time.time() - 2 * DAY_S, created=time.time() - 3 * DAY_S)
    assert house.names(max_run_age_s=None) == set()
    for waste in house.rubbish.find(0.0, max_run_age_s=DAY_S):
        house.rubbish.remove(waste)
    assert [row["id"] for row in house.catalogue.all_runs()] == ["run_busy"]
    assert not (house.settings.runs_dir / "run_old").exists()


def test_leftovers_of_dead_writers_are_found_and_those_of_living_ones_are_not(house):
    folder = house.settings.units_dir / "ab"
    dead, alive = folder / f"{PREFIX}dead", folder / f"{PREFIX}alive"
    upload, deleted = house.settings.uploads_dir / "x.part", house.settings.runs_dir / ".deleted-1"
    for path in (dead, alive, deleted):
        path.mkdir(parents=True)
    upload.write_bytes(b"half")
    for path in (dead, upload, deleted):
        os.utime(path, (1, 1))
    found = house.rubbish.find(0.0)
    assert {waste.path for waste in found} == {dead, upload, deleted}
    for waste in found:
        house.rubbish.remove(waste)
    assert not any(path.exists() for path in (dead, upload, deleted))
    assert alive.is_dir()
