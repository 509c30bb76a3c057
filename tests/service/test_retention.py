"""What may go and what must stay: rounds of finished runs, orphaned work, old runs, dead writers' leftovers."""

import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInputError
from service.records.run_repository import RunRepository
from service.records.views import RunState
from service.retention import Retention
from service.settings import Settings
from service.stages.pipeline import build_graph, past_rounds
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.atomic import PREFIX
from storage.catalogue.catalogue import Catalogue
from storage.errors import CatalogueFullError
from tasks.options.run import OPTIONS as OPTIONS_OF_RUNS
from tasks.ptycho.scan import Canvas

OPTIONS = OPTIONS_OF_RUNS.validate_python({"reconstruct": {"cycles": 30}, "kkr": {"mode": "joint", "start": 10, "every": 10}})
DAY_S = 86400.0


def run_input(name: str = "ds_a") -> RunInput:
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, f"{name}{i}", canvas) for i in range(12))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, False)


class RetentionBench:
    """A data folder with made-up datasets, whose runs' units can be written at once."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(data_dir=tmp_path)
        for folder in (self.settings.data_dir / "units", self.settings.data_dir / "runs", self.settings.uploads_dir):
            folder.mkdir()
        self.catalogue = Catalogue(self.settings.catalogue_url)
        self.repository = RunRepository(self.catalogue)
        self.artifacts = ArtifactStore(self.settings.data_dir / "units")
        self.retention = Retention(self.settings, self.catalogue)
        monkeypatch.setattr(self.retention._inputs, "read_known", self.read_known)
        self.inputs = {"ds_a": run_input()}
        self.n_read = 0
        self.put_dataset("sealed")

    def read_known(self, ids: Sequence[str]) -> list[RunInput]:
        self.n_read += 1
        return [self.inputs[name] for name in ids]

    def put_dataset(self, state: str, stamp: str = "1") -> None:
        """The row of the dataset that runs are on, as a look at its store would write it."""
        texts = dict.fromkeys(("project", "title", "sample_name", "sample_group", "element", "edge"), "")
        about: dict[str, Any] = {
            "id": "ds_a",
            "state": state,
            "attributes": {},
            "fault": None,
            "stamp": stamp,
            "created": 1.0,
            "updated": 1.0,
        }
        self.catalogue.datasets.put({**texts, **about})

    def run(self, run_id: str, state: RunState, stages: Collection[str] | None = None) -> Graph:
        """A run whose units (of some stages only) are all there; its graph."""
        self.repository.open_run(run_id, run_id, ["ds_a"], OPTIONS)
        if state != "queued":
            self.repository.begin_run(run_id)
            self.repository.end_run(run_id, state, None)
        graph = build_graph([run_input()], OPTIONS, run_id)
        for unit in graph.steps.values():
            if stages is None or unit.stage in stages:
                self.artifacts.write(unit.key, {"x": np.ones(8)}, {"stage": unit.stage})
        (self.settings.data_dir / "runs" / run_id).mkdir()
        return graph

    def names(self, **limits: Any) -> set[str]:
        """Names of all garbage, which is the same whether the steps of runs are known from before or not."""
        found = [self.retention.find(**{"min_age_s": 0.0, **limits}) for _ in range(2)]
        once, again = ({(garbage.kind, garbage.name) for garbage in each} for each in found)
        assert once == again
        return {name for _, name in once}


@pytest.fixture(params=["sealed", "open"])
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[RetentionBench]:
    """Only of runs on a sealed dataset are steps kept in the catalogue."""
    bench = RetentionBench(tmp_path, monkeypatch)
    bench.put_dataset(request.param)
    yield bench
    bench.catalogue.close()


def test_only_rounds_that_led_to_other_rounds_are_behind_a_run() -> None:
    graph = build_graph([run_input()], OPTIONS, "run_1")
    past = {unit.name for unit in graph.steps.values() if unit.key in past_rounds(graph)}
    assert {name for name in past if name.startswith("couple")} == {"couple-round1", "couple-round2"}
    assert {name.rpartition("-")[2] for name in past if name.startswith("reconstruct")} == {"round1", "round2"}
    assert len(past) == 2 + 2 * 12


def test_a_finished_run_keeps_what_another_k_would_need_and_leaves_its_rounds(bench: RetentionBench) -> None:
    graph = bench.run("run_1", "succeeded")
    assert bench.names() == past_rounds(graph)
    assert {garbage.kind for garbage in bench.retention.find(0.0)} == {"round"}


@pytest.mark.parametrize("state", ["queued", "failed", "cancelled"])
def test_a_run_that_may_go_on_keeps_everything(bench: RetentionBench, state: RunState) -> None:
    bench.run("run_1", state)
    bench.run("run_2", "succeeded")  # has the same rounds, and no use for them
    assert bench.names() == set()


def test_work_no_run_refers_to_is_found_by_age_and_removed(bench: RetentionBench) -> None:
    graph = bench.run("run_1", "succeeded")
    bench.artifacts.write("orphan", {"x": np.ones(1000)}, {})
    assert bench.names(min_age_s=DAY_S) == set()
    [garbage] = [garbage for garbage in bench.retention.find(0.0) if garbage.name == "orphan"]
    assert garbage.kind == "step"
    assert garbage.n_bytes > 8000
    for garbage in bench.retention.find(0.0):
        bench.retention.remove(garbage)
        bench.retention.remove(garbage)
    assert bench.names() == set()
    assert set(bench.artifacts.keys()) == {unit.key for unit in graph.steps.values()} - past_rounds(graph)


def test_runs_go_at_the_age_they_are_given_and_not_before_they_end(bench: RetentionBench) -> None:
    bench.run("run_old", "succeeded")
    bench.run("run_busy", "queued", stages=())
    assert "run_old" not in bench.names(max_run_age_s=DAY_S)
    bench.catalogue.runs.update("run_old", finished=time.time() - 2 * DAY_S, created=time.time() - 3 * DAY_S)
    assert bench.names(max_run_age_s=None) == set()
    for garbage in bench.retention.find(0.0, max_run_age_s=DAY_S):
        bench.retention.remove(garbage)
    assert [row["id"] for row in bench.catalogue.runs.page()] == ["run_busy"]
    assert not (bench.settings.data_dir / "runs" / "run_old").exists()


@pytest.mark.parametrize(("column", "content"), [("options", "{"), ("options", "[1]"), ("datasets", "5"), ("datasets", "null")])
def test_a_run_whose_row_is_damaged_keeps_nothing_and_the_others_keep_theirs(
    bench: RetentionBench, column: str, content: str
) -> None:
    graph = bench.run("run_1", "failed")
    bench.run("run_broken", "failed", stages=())
    bench.artifacts.write("orphan", {"x": np.ones(3)}, {})
    with sqlite3.connect(bench.settings.data_dir / "catalogue.sqlite") as database:
        database.execute(f"UPDATE runs SET {column} = ? WHERE id = 'run_broken'", [content])
    assert bench.names() == {"orphan"}
    assert graph.steps


def test_all_steps_are_kept_while_nobody_knows_which_a_run_needs(
    bench: RetentionBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.run("run_1", "succeeded")
    dead = bench.settings.uploads_dir / "x.part"
    dead.write_bytes(b"half")
    os.utime(dead, (1, 1))

    def damaged(ids: Sequence[str]) -> list[RunInput]:
        raise InvalidInputError("dataset ds_a is damaged: scans/e0/zarr.json is empty")

    monkeypatch.setattr(bench.retention._inputs, "read_known", damaged)
    assert bench.names() == {"x.part"}
    assert "all finished steps are kept" in caplog.text
    assert "ds_a is damaged" in caplog.text


def test_leftovers_of_dead_writers_are_found_and_those_of_living_ones_are_not(bench: RetentionBench) -> None:
    folder = bench.settings.data_dir / "units" / "ab"
    dead, alive = folder / f"{PREFIX}dead", folder / f"{PREFIX}alive"
    upload, deleted = bench.settings.uploads_dir / "x.part", bench.settings.data_dir / "runs" / ".deleted-1"
    for path in (dead, alive, deleted):
        path.mkdir(parents=True)
    upload.write_bytes(b"half")
    for path in (dead, upload, deleted):
        os.utime(path, (1, 1))
    found = bench.retention.find(0.0)
    assert {garbage.path for garbage in found} == {dead, upload, deleted}
    for garbage in found:
        bench.retention.remove(garbage)
    assert not any(path.exists() for path in (dead, upload, deleted))
    assert alive.is_dir()


@pytest.fixture
def sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RetentionBench]:
    """A bench whose dataset is sealed, with a run that succeeded and one that failed."""
    bench = RetentionBench(tmp_path, monkeypatch)
    bench.run("run_1", "succeeded")
    bench.run("run_2", "failed", stages=())
    yield bench
    bench.catalogue.close()


def test_graphs_are_built_once(sealed: RetentionBench) -> None:
    sealed.retention.find(0.0)
    assert sealed.n_read == 1  # both runs are on the same dataset
    for _ in range(2):
        assert sealed.names() == set()
    assert sealed.n_read == 1
    assert {row["run_id"] for row in sealed.catalogue.run_steps.rows()} == {"run_1", "run_2"}
    sealed.repository.delete("run_2")
    graph = build_graph([run_input()], OPTIONS, "run_1")
    assert sealed.names() == past_rounds(graph)
    assert sealed.n_read == 1
    assert [row["run_id"] for row in sealed.catalogue.run_steps.rows()] == ["run_1"]


def test_what_is_known_of_a_run_that_is_tried_again_does_not_take_its_rounds_away(sealed: RetentionBench) -> None:
    sealed.repository.delete("run_2")
    assert sealed.names()
    assert sealed.repository.reopen_run("run_1", ("succeeded",))
    assert sealed.names() == set()


@pytest.mark.parametrize("change", ["program", "dataset"])
def test_steps_of_another_version_of_the_program_or_of_the_dataset_are_found_out_again(
    sealed: RetentionBench, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert sealed.names() == set()
    sealed.inputs["ds_a"] = run_input("ds_b")  # other digests of the scans, so other keys
    assert sealed.names() == set()
    if change == "program":
        monkeypatch.setattr("service.records.run_steps.code_digest", lambda: "another")
    else:
        sealed.put_dataset("sealed", "2")
    graph = build_graph([run_input()], OPTIONS, "run_1")
    assert sealed.names() == {step.key for step in graph.steps.values()}
    assert sealed.n_read == 2


def test_a_dataset_that_changes_while_garbage_is_looked_for_is_read_again_the_next_time(
    sealed: RetentionBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed_meanwhile(ids: Sequence[str]) -> list[RunInput]:
        found = sealed.read_known(ids)
        sealed.put_dataset("sealed", "2")
        return found

    monkeypatch.setattr(sealed.retention._inputs, "read_known", changed_meanwhile)
    for _ in range(3):
        sealed.retention.find(0.0)
    assert sealed.n_read == 2


def test_garbage_is_found_where_the_catalogue_has_no_room(
    sealed: RetentionBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(rows: object) -> None:
        raise CatalogueFullError("there is no room on the disk for the catalogue to grow")

    monkeypatch.setattr(sealed.catalogue.run_steps, "put", full)
    sealed.artifacts.write("orphan", {"x": np.ones(3)}, {})
    assert sealed.names() == {"orphan"}
    assert "no room on the disk" in caplog.text
