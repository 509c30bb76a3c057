"""Runs as users meet them: what is refused, what is told, what may be done when."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from places import on_disk
from published import write_published

from service.errors import (
    CatalogueFullError,
    ConflictError,
    IdempotencyError,
    InvalidInputError,
    NotFoundError,
    ResultsLostError,
    ResultsNotReadyError,
    TooCostlyError,
    TooManyRunsError,
)
from service.execution.runner import Runner
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.records.views import RunFilter, RunState
from service.results.area_spectra import Area
from service.runs import Runs
from service.settings import DataPaths, Settings
from service.stages.pipeline import build_graph
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from storage.figures import FigureStore
from storage.results import Group, write_results
from tasks.options.run import OPTIONS, RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages: dict[str, Any]) -> RunOptions:
    return OPTIONS.validate_python(stages)


def run_input(energies_ev: Iterable[float], name: str = "ds_a") -> RunInput:
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", float(e), 16, 32, "", canvas) for i, e in enumerate(energies_ev))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans)


GRID = np.linspace(5420, 5540, 12)


class MadeUpInputs(RunInputReader):
    """Inputs of datasets that were made up."""

    def __init__(self, *made_up: RunInput) -> None:
        self.made_up = {one.id: one for one in made_up}

    def read(self, dataset_ids: Sequence[str], project: str | None = None) -> list[RunInput]:
        try:
            return [self.made_up[name] for name in dataset_ids]
        except KeyError as error:
            raise NotFoundError(f"there is no dataset {error}") from error


class CountingRunner:
    """A runner that only counts how often it was woken."""

    n_wakes = 0

    def wake(self) -> None:
        self.n_wakes += 1


class RunBench:
    """Runs over a folder, and what a runner would do to them."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.settings = Settings(data_dir=folder, min_free_bytes=0, **changes)
        self.paths = DataPaths.of(self.settings)
        self.catalogue = Catalogue(self.settings.catalogue_url)
        self.repository = RunRepository(self.catalogue)
        self.runner = CountingRunner()
        self.inputs = MadeUpInputs(run_input(GRID), run_input([5420.0], "ds_one"))
        runner = cast(Runner, self.runner)
        self.runs = Runs(self.settings, self.repository, self.paths, self.inputs, runner, lambda: "http://dask")

    def graph(self, run_id: str) -> Graph:
        return build_graph(self.inputs.read(self.runs.get(run_id).datasets), options(), run_id)

    def end(self, run_id: str, state: RunState = "succeeded") -> None:
        self.repository.begin_run(run_id)
        self.repository.end_run(run_id, state, None if state == "succeeded" else "why")

    def publish(self, run_id: str) -> None:
        plane = {"y": np.arange(8) * 1e-8, "x": np.arange(8) * 1e-8}
        values = np.arange(64, dtype=np.float32).reshape(8, 8)
        tree = {"ds_a/maps": Group(plane, {"edge_energy": values})}
        write_results(self.paths.results(run_id), tree, {})
        listed = [{"name": "elbow", "title": "Elbow", "dataset": None}]
        FigureStore(self.paths.figures(run_id)).write({"elbow": b"png"}, listed)


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., RunBench]]:
    made: list[RunBench] = []

    def make(**changes: Any) -> RunBench:
        made.append(RunBench(tmp_path, **changes))
        return made[-1]

    yield make
    for bench in made:
        bench.catalogue.close()


@pytest.fixture
def bench(make_bench: Callable[..., RunBench]) -> RunBench:
    return make_bench()


def test_a_submitted_run_is_queued_and_wakes_the_run_loop(bench: RunBench) -> None:
    view = bench.runs.submit(["ds_a"], options(domains={"n_domains": 3}), "first look")
    assert (view.state, view.name, view.datasets) == ("queued", "first look", ("ds_a",))
    assert view.options["domains"]["n_domains"] == 3
    assert view.dashboard_url == "http://dask"
    assert bench.runner.n_wakes == 1
    assert [run.id for run in bench.runs.page().items] == [view.id]
    assert [event.data["state"] for event in bench.runs.follow(view.id)[1]] == ["queued"]


def test_an_unknown_dataset_is_not_found(bench: RunBench) -> None:
    with pytest.raises(NotFoundError, match="ds_b"):
        bench.runs.submit(["ds_b"], options())
    assert bench.runs.page().items == ()


def test_the_same_key_and_body_is_the_same_run_and_another_body_is_refused(bench: RunBench) -> None:
    first = bench.runs.submit(["ds_a"], options(), "a", "key")
    assert bench.runs.submit(["ds_a"], options(), "a", "key").id == first.id
    assert bench.runs.submit(["ds_a"], options(), "a", "other").id != first.id
    with pytest.raises(IdempotencyError):
        bench.runs.submit(["ds_a"], options(), "b", "key")
    with pytest.raises(NotFoundError):
        bench.runs.submit(["ds_x"], options(), "", "third")
    assert len(bench.runs.page().items) == 2


def test_more_runs_than_allowed_or_larger_ones_are_refused(make_bench: Callable[..., RunBench]) -> None:
    bench = make_bench(max_unfinished_runs=1, max_run_cost=1e9)
    limited = bench.runs
    with pytest.raises(TooCostlyError, match="max_run_cost"):
        limited.submit(["ds_a"], options(reconstruct={"cycles": 100_000}, kkr={"mode": "off"}))
    run_id = limited.submit(["ds_a"], options(), "a", "key").id
    assert limited.submit(["ds_a"], options(), "a", "key").id == run_id
    with pytest.raises(TooManyRunsError):
        limited.submit(["ds_a"], options())
    bench.end(run_id, "failed")
    other = limited.submit(["ds_a"], options()).id
    with pytest.raises(TooManyRunsError):
        limited.retry(run_id)
    bench.end(other)
    assert limited.retry(run_id).state == "queued"


def test_cancel_raises_the_flag_and_retry_lowers_it(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.repository.begin_run(run_id)
    bench.runs.cancel(run_id)
    assert bench.paths.stop_flag(run_id).exists()
    with pytest.raises(ConflictError, match="only a run that failed"):
        bench.runs.retry(run_id)
    bench.end(run_id, "cancelled")
    with pytest.raises(ConflictError, match="already"):
        bench.runs.cancel(run_id)
    view = bench.runs.retry(run_id)
    assert view.state == "queued"
    assert view.error is None
    assert not bench.paths.stop_flag(run_id).exists()


def test_a_run_at_work_is_not_deleted_and_a_deleted_one_is_gone(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    with pytest.raises(ConflictError, match="cancel it first"):
        bench.runs.delete(run_id)
    bench.paths.raise_stop_flag(run_id)
    with pytest.raises(ConflictError, match="it is being cancelled, ask again when it has stopped"):
        bench.runs.delete(run_id)
    bench.end(run_id)
    bench.publish(run_id)
    bench.runs.delete(run_id)
    assert not (bench.settings.data_dir / "runs" / run_id).exists()
    calls: list[Callable[[str], object]] = [bench.runs.get, bench.runs.follow, bench.runs.delete, bench.runs.results.figures]
    for call in calls:
        with pytest.raises(NotFoundError):
            call(run_id)


def test_a_deletion_that_broke_off_leaves_a_run_to_delete_again_and_no_results(
    bench: RunBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.end(run_id)
    bench.publish(run_id)
    with monkeypatch.context() as patch:
        patch.setattr(RunRepository, "delete", raise_full)
        with pytest.raises(CatalogueFullError):
            bench.runs.delete(run_id)
    assert not (bench.settings.data_dir / "runs" / run_id).exists(), "there is room again for the catalogue to grow"
    assert bench.runs.get(run_id).state == "succeeded"
    bench.runs.delete(run_id)
    with pytest.raises(NotFoundError):
        bench.runs.get(run_id)


def raise_full(*_: object) -> None:
    raise CatalogueFullError("no room")


def test_results_are_read_only_once_sealed_and_only_by_their_keys(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    with pytest.raises(ResultsNotReadyError):
        bench.runs.results.file(run_id, "zarr.json")
    with pytest.raises(ResultsNotReadyError):
        bench.runs.results.figures(run_id)
    bench.publish(run_id)
    assert json.loads(content_of(bench.runs.results.file(run_id, "zarr.json")))["node_type"] == "group"
    for key in ("../stop", "ds_a/maps/edge_energy/c/9/9", "/etc/passwd"):
        with pytest.raises(NotFoundError):
            bench.runs.results.file(run_id, key)


def content_of(file: Path | bytes) -> bytes:
    """What is served."""
    return file if isinstance(file, bytes) else file.read_bytes()


def test_figures_are_served_by_their_listed_names_only(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.publish(run_id)
    assert [figure.title for figure in bench.runs.results.figures(run_id)] == ["Elbow"]
    listed = bench.settings.data_dir / "runs" / run_id / "figures" / "figures.json"
    hidden = listed.rename(listed.with_name("not-yet"))
    with pytest.raises(ResultsNotReadyError, match="queued: its figures are not published"):
        bench.runs.results.figures(run_id)
    hidden.rename(listed)
    assert content_of(bench.runs.results.figure(run_id, "elbow")) == b"png"
    with pytest.raises(NotFoundError):
        bench.runs.results.figure(run_id, "../results.zarr/zarr")


def test_images_are_drawn_from_results(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    with pytest.raises(ResultsNotReadyError):
        bench.runs.results.image(run_id, "ds_a", "edge_energy")
    with pytest.raises(ResultsNotReadyError):
        bench.runs.results.image(run_id, "ds_a", "absorption")
    bench.publish(run_id)
    assert bench.runs.results.image(run_id, "ds_a", "edge_energy", width=200).startswith(b"\x89PNG")
    for dataset, variable in (("ds_a", "no_such"), ("ds_b", "edge_energy")):
        with pytest.raises(NotFoundError):
            bench.runs.results.image(run_id, dataset, variable)
    with pytest.raises(InvalidInputError, match="not an image"):
        bench.runs.results.image(run_id, "ds_a", "y")


def test_pages_are_newest_first_and_a_projects_own(bench: RunBench) -> None:
    made = [bench.runs.submit(["ds_a"], options(), f"look {number}").id for number in range(3)]
    first = bench.runs.page(limit=2)
    assert [view.id for view in first.items] == made[:0:-1]
    rest = bench.runs.page(limit=2, after=first.end)
    assert ([view.id for view in rest.items], rest.end) == (made[:1], None)
    assert [view.id for view in bench.runs.page(matching=RunFilter(text="LOOK 1")).items] == [made[1]]
    other = bench.runs.within("other", lambda: None)
    assert other.page().items == ()
    with pytest.raises(NotFoundError):
        other.get(made[0])


def test_a_queued_run_is_cancelled_at_once_whatever_became_of_its_dataset(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.inputs.made_up.clear()
    assert bench.runs.cancel(run_id).state == "cancelled"
    assert [event.data["state"] for event in bench.runs.follow(run_id)[1]] == ["queued", "cancelled"]
    bench.runs.delete(run_id)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


LOSSES: dict[str, Callable[[Path], object]] = {
    "the folder": shutil.rmtree,
    "the results": lambda folder: shutil.rmtree(folder / "results.zarr"),
    "the seal": lambda folder: (folder / "results.zarr" / "seal.json").unlink(),
    "half the seal": lambda folder: cut(folder / "results.zarr" / "seal.json"),
    "a chunk": lambda folder: (folder / "results.zarr" / "ds_a/maps/edge_energy/c/0/0").unlink(),
    "the end of a chunk": lambda folder: cut(folder / "results.zarr" / "ds_a/maps/edge_energy/c/0/0"),
    "the list of figures": lambda folder: (folder / "figures" / "figures.json").unlink(),
    "a figure": lambda folder: (folder / "figures" / "elbow.png").unlink(),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_a_run_that_succeeded_and_lost_its_results_is_computed_again(bench: RunBench, lost: str) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.publish(run_id)
    bench.end(run_id)
    with pytest.raises(ConflictError, match="succeeded: only a run"):
        bench.runs.retry(run_id)
    steps, artifacts = bench.graph(run_id).steps, ArtifactStore(bench.paths.artifacts)
    for name in ("domains", "results", "figures"):
        artifacts.write(steps[name].key, {}, {})
    LOSSES[lost](bench.settings.data_dir / "runs" / run_id)
    assert bench.runs.retry(run_id).state == "queued"
    assert artifacts.keys() == [steps["domains"].key], "or nothing would be published again"
    assert not (bench.settings.data_dir / "runs" / run_id).exists()


@pytest.mark.parametrize("lost", [name for name in LOSSES if "figure" not in name])
def test_results_that_are_lost_or_damaged_are_named_and_never_drawn_as_fill(bench: RunBench, lost: str) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.publish(run_id)
    bench.end(run_id)
    LOSSES[lost](bench.settings.data_dir / "runs" / run_id)
    with pytest.raises(ResultsLostError, match="again"):
        bench.runs.results.file(run_id, "ds_a/maps/edge_energy/c/0/0")
    with pytest.raises(ResultsLostError):
        bench.runs.results.image(run_id, "ds_a", "edge_energy")


@pytest.mark.parametrize("lost", ["the folder", "the list of figures", "a figure"])
def test_figures_that_are_lost_are_named(bench: RunBench, lost: str) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    bench.publish(run_id)
    bench.end(run_id)
    LOSSES[lost](bench.settings.data_dir / "runs" / run_id)
    with pytest.raises(ResultsLostError, match="again"):
        bench.runs.results.figure(run_id, "elbow")


def test_a_damaged_row_is_listed_and_fails_alone(bench: RunBench) -> None:
    broken, whole = (bench.runs.submit(["ds_a"], options()).id for _ in range(2))
    with sqlite3.connect(bench.settings.data_dir / "catalogue.sqlite") as database:
        database.execute("UPDATE runs SET options = '{' WHERE id = ?", [broken])
    assert [view.id for view in bench.runs.page().items] == [whole, broken]
    assert "its options cannot be read" in (bench.runs.get(broken).error or "")
    assert [record.id for record in bench.repository.unfinished_runs()] == [whole]
    assert bench.runs.get(broken).state == "failed"
    bench.runs.delete(broken)


def test_spectra_are_of_published_results_only(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options()).id
    area = Area("ds_a", pixel=(20, 20))
    with pytest.raises(ResultsNotReadyError):
        bench.runs.results.spectra(run_id, [area])
    write_published(on_disk(bench.paths.results(run_id)), ["ds_a"])
    bench.end(run_id)
    [found] = bench.runs.results.spectra(run_id, [area])
    assert found.n_pixels == 1
    with pytest.raises(NotFoundError):
        bench.runs.results.spectra(run_id, [Area("ds_b", pixel=(20, 20))])


def test_a_run_gets_another_name(bench: RunBench) -> None:
    run_id = bench.runs.submit(["ds_a"], options(), "first").id
    assert bench.runs.rename(run_id, "second").name == "second"
    with pytest.raises(NotFoundError):
        bench.runs.rename("run_none", "second")
