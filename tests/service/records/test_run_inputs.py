"""What a run must know of its datasets, from what the catalogue holds of them."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInputError, NotFoundError
from service.records.run_inputs import RunInputReader
from service.stages.pipeline import build_graph
from tasks.options.run import RunOptions
from tasks.ptycho.scan import plan_canvas
from tasks.units import object_pixel_size_m


@pytest.mark.parametrize("name", ["", "../x", "ds_x"])
def test_a_name_that_no_dataset_can_have_is_not_found(bench: Any, name: str) -> None:
    with pytest.raises(NotFoundError, match="no dataset"):
        RunInputReader(bench.repository).read([name])


def test_inputs_are_those_of_the_stored_scans(bench: Any) -> None:
    dataset_id = bench.fill(2)
    (read,) = RunInputReader(bench.repository).read([dataset_id])
    assert (read.group, read.formula, read.is_open, read.energies_ev) == ("pristine", "LiVO2", True, [5420.0, 5430.0])
    stored = bench.store.read_scan(dataset_id, "e1")
    pixel_size_m = object_pixel_size_m(stored["energy_ev"], stored["distance_m"], 32, stored["detector_pixel_size_m"])
    assert read.scans[1].canvas == plan_canvas(stored["positions_m"], pixel_size_m, 32)
    assert read.scans[1].n_positions == len(stored["positions_m"])
    bench.datasets.seal(dataset_id)
    assert not RunInputReader(bench.repository).read([dataset_id])[0].is_open


@pytest.mark.parametrize("arrival", [(2, 0, 1), (1, 2, 0)])
def test_in_which_order_energies_arrive_makes_no_difference(bench: Any, scan_bytes: Any, arrival: tuple[int, ...]) -> None:
    """Arrays are kept under the digests of what they follow from, so a live run ends with those of a sealed one."""
    live, sealed = bench.fill(0), bench.fill(3)
    for number in arrival:
        bench.put(live, f"e{number}", scan_bytes(5420.0 + 10 * number))
    for dataset_id in (live, sealed):
        bench.datasets.seal(dataset_id)
    one, other = RunInputReader(bench.repository).read([live, sealed])
    assert one.scans == other.scans
    chosen = RunOptions()
    graphs = [build_graph([dataclasses.replace(each, id="ds")], chosen, "run_1") for each in (one, other)]
    assert [step.key for step in graphs[0].steps.values()] == [step.key for step in graphs[1].steps.values()]


def test_another_projects_dataset_is_not_found(bench: Any) -> None:
    dataset_id = bench.fill(1)
    with pytest.raises(NotFoundError):
        RunInputReader(bench.repository).read([dataset_id], "other")


def test_a_damaged_dataset_makes_no_run_and_says_why(bench: Any) -> None:
    dataset_id = bench.fill(1)
    (bench.store.root / dataset_id / "scans" / "e0" / "zarr.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"is damaged: scans/e0/zarr.json .* restore it from a copy, or delete it"):
        RunInputReader(bench.repository).read([dataset_id])


@pytest.mark.parametrize("victim", ["zarr.json", "scans/e0/zarr.json", "scans/e1/counts/zarr.json"])
def test_a_damaged_dataset_is_still_known_as_it_was(bench: Any, victim: str) -> None:
    dataset_id = bench.fill(2)
    bench.datasets.seal(dataset_id)
    reader = RunInputReader(bench.repository)
    before = reader.read([dataset_id])
    (bench.store.root / dataset_id / victim).write_text("")
    assert reader.read_known([dataset_id]) == before


def test_nothing_is_known_of_a_dataset_that_came_damaged(bench: Any) -> None:
    (bench.store.root / "foreign" / "scans").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match="foreign is damaged"):
        RunInputReader(bench.repository).read_known(["foreign"])


def test_inputs_that_cannot_make_a_run_are_refused(bench: Any) -> None:
    dataset_id = bench.fill(2)
    bench.datasets.seal(dataset_id)
    with pytest.raises(InvalidInputError, match="at least 10"):
        RunInputReader(bench.repository).read_checked([dataset_id], RunOptions())
    assert np.isfinite(RunInputReader(bench.repository).read([dataset_id])[0].scans[0].canvas.pixel_size_m)
