"""Runs as users meet them: what is refused, what is told, what may be done when."""

import json

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.errors import (
    ConflictError,
    IdempotencyError,
    InvalidInputError,
    NotFoundError,
    ResultsNotReadyError,
    TooCostlyError,
    TooManyRunsError,
)
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.runs import Runs
from service.settings import Settings
from service.stages.context import DataPaths
from service.workflow.inputs import RunInput, ScanInput
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from storage.results import Group, write_results
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages) -> RunOptions:
    return TypeAdapter(RunOptions).validate_python(stages)


def facts(energies_ev, name="ds_a"):
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", float(e), 16, 32, "", canvas) for i, e in enumerate(energies_ev))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans)


GRID = np.linspace(5420, 5540, 12)


class StepAttributes(RunInputReader):
    """Inputs that were made up."""

    def __init__(self, *made_up):
        super().__init__(DatasetStore("nowhere"))
        self.made_up = {one.id: one for one in made_up}

    def read(self, dataset_ids):
        try:
            return [self.made_up[name] for name in dataset_ids]
        except KeyError as error:
            raise NotFoundError(f"there is no dataset {error}") from error


class Wheel:
    """An orchestrator that only counts how often it was nudged."""

    nudges = 0

    def nudge(self):
        self.nudges += 1


@pytest.fixture
def house(tmp_path):
    class House:
        settings = Settings(data_dir=tmp_path, min_free_bytes=0)
        places = DataPaths(settings.datasets_dir, settings.units_dir, settings.runs_dir)
        catalogue = Catalogue(settings.catalogue_url)
        ledger = RunRepository(catalogue)
        wheel = Wheel()
        runs = Runs(
            settings, ledger, places, StepAttributes(facts(GRID), facts([5420.0], "ds_one")), wheel, lambda: "http://dask"
        )

        def end(self, run_id, state="succeeded"):
            self.ledger.begin_run(run_id)
            self.ledger.end_run(run_id, state, None if state == "succeeded" else "why")

        def publish(self, run_id):
            plane = {"y": np.arange(8) * 1e-8, "x": np.arange(8) * 1e-8}
            values = np.arange(64, dtype=np.float32).reshape(8, 8)
            tree = {"ds_a/maps": Group(plane, {"edge_energy": values})}
            self.places.figures(run_id).mkdir(parents=True)
            write_results(self.places.results(run_id), tree, {})
            listed = [{"name": "elbow", "title": "Elbow", "dataset": None}]
            (self.places.figures(run_id) / "figures.json").write_text(json.dumps(listed))
            (self.places.figures(run_id) / "elbow.png").write_bytes(b"png")

    house = House()
    yield house
    house.catalogue.close()


def test_a_submitted_run_is_queued_and_the_wheel_is_told(house):
    view = house.runs.submit(["ds_a"], options(domains={"n_domains": 3}), "first look")
    assert (view.state, view.name, view.datasets) == ("queued", "first look", ("ds_a",))
    assert view.options["domains"]["n_domains"] == 3
    assert view.dashboard_url == "http://dask"
    assert house.wheel.nudges == 1
    assert [run.id for run in house.runs.list()] == [view.id]
    assert [event.data["state"] for event in house.runs.events(view.id)] == ["queued"]


def test_an_unknown_dataset_is_not_found(house):
    with pytest.raises(NotFoundError, match="ds_b"):
        house.runs.submit(["ds_b"], options())
    assert list(house.runs.list()) == []


def test_the_same_key_and_body_is_the_same_run_and_another_body_is_refused(house):
    first = house.runs.submit(["ds_a"], options(), "a", "key")
    assert house.runs.submit(["ds_a"], options(), "a", "key").id == first.id
    assert house.runs.submit(["ds_a"], options(), "a", "other").id != first.id
    with pytest.raises(IdempotencyError):
        house.runs.submit(["ds_a"], options(), "b", "key")
    with pytest.raises(NotFoundError):
        house.runs.submit(["ds_x"], options(), "", "third")
    assert len(house.runs.list()) == 2


def test_more_runs_than_allowed_or_larger_ones_are_refused(house):
    limited = Runs(
        Settings(data_dir=house.settings.data_dir, min_free_bytes=0, max_unfinished_runs=1, max_run_cost=1e9),
        house.ledger, house.places, house.runs._facts, house.wheel, lambda: None,
    )  # fmt: skip
    with pytest.raises(TooCostlyError, match="max_run_cost"):
        limited.submit(["ds_a"], options(reconstruct={"cycles": 100_000}))
    run_id = limited.submit(["ds_a"], options(), "a", "key").id
    assert limited.submit(["ds_a"], options(), "a", "key").id == run_id
    with pytest.raises(TooManyRunsError):
        limited.submit(["ds_a"], options())
    house.end(run_id, "failed")
    other = limited.submit(["ds_a"], options()).id
    with pytest.raises(TooManyRunsError):
        limited.retry(run_id)
    house.end(other)
    assert limited.retry(run_id).state == "queued"


def test_cancel_raises_the_flag_and_retry_lowers_it(house):
    run_id = house.runs.submit(["ds_a"], options()).id
    house.runs.cancel(run_id)
    assert house.places.stop_flag(run_id).exists()
    with pytest.raises(ConflictError, match="only a failed"):
        house.runs.retry(run_id)
    house.end(run_id, "cancelled")
    with pytest.raises(ConflictError, match="already"):
        house.runs.cancel(run_id)
    view = house.runs.retry(run_id)
    assert view.state == "queued"
    assert view.error is None
    assert not house.places.stop_flag(run_id).exists()


def test_a_run_at_work_is_not_deleted_and_a_deleted_one_is_gone(house):
    run_id = house.runs.submit(["ds_a"], options()).id
    with pytest.raises(ConflictError):
        house.runs.delete(run_id)
    house.end(run_id)
    house.publish(run_id)
    house.runs.delete(run_id)
    assert not house.places.run_dir(run_id).exists()
    for call in (house.runs.get, house.runs.events, house.runs.delete, house.runs.figures):
        with pytest.raises(NotFoundError):
            call(run_id)


def test_results_are_read_only_once_sealed_and_only_by_their_keys(house):
    run_id = house.runs.submit(["ds_a"], options()).id
    for call in (lambda: house.runs.results_file(run_id, "zarr.json"), lambda: house.runs.figures(run_id)):
        with pytest.raises(ResultsNotReadyError):
            call()
    house.publish(run_id)
    assert json.loads(house.runs.results_file(run_id, "zarr.json").read_text())["node_type"] == "group"
    for key in ("../stop", "ds_a/maps/edge_energy/c/9/9", "/etc/passwd"):
        with pytest.raises(NotFoundError):
            house.runs.results_file(run_id, key)


def test_figures_are_served_by_their_listed_names_only(house):
    run_id = house.runs.submit(["ds_a"], options()).id
    house.publish(run_id)
    assert [figure.title for figure in house.runs.figures(run_id)] == ["Elbow"]
    assert house.runs.figure_path(run_id, "elbow").read_bytes() == b"png"
    with pytest.raises(NotFoundError):
        house.runs.figure_path(run_id, "../results.zarr/zarr")


def test_images_are_drawn_from_results(house):
    run_id = house.runs.submit(["ds_a"], options()).id
    with pytest.raises(ResultsNotReadyError):
        house.runs.image(run_id, "ds_a", "edge_energy")
    with pytest.raises(ResultsNotReadyError):
        house.runs.image(run_id, "ds_a", "absorption")
    house.publish(run_id)
    assert house.runs.image(run_id, "ds_a", "edge_energy", width=200).startswith(b"\x89PNG")
    for dataset, variable in (("ds_a", "no_such"), ("ds_b", "edge_energy")):
        with pytest.raises(NotFoundError):
            house.runs.image(run_id, dataset, variable)
    with pytest.raises(InvalidInputError, match="not an image"):
        house.runs.image(run_id, "ds_a", "y")
