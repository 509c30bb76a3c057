"""Frames that arrive flipped or transposed: found and turned where that was asked for, refused by name where it was not."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.execution.worker import perform
from service.records.run_inputs import RunInputReader
from service.stages.context import DataPaths, StepRequest
from service.stages.pipeline import build_graph
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.options import RunOptions
from tasks.simulation.specimen import SimulationOptions, simulate

CYCLES = 48
SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)


@pytest.fixture(scope="module")
def simulation():
    return simulate(SMALL)


def from_detector(frames):
    """Transposed and a flip: undone by flipping rows, then transposing."""
    frames = np.swapaxes(frames, -2, -1)
    return np.ascontiguousarray(np.roll(np.flip(frames, -2), 1, -2))


def dataset(tmp_path, simulation, orientation, turn=np.asarray):
    """The one energy as a file whose frames may be turned, in a dataset of the given orientation."""
    scan = simulation.scans[0]
    store = DatasetStore(tmp_path / "datasets")
    about = {"title": "t", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    probe = TypeAdapter(type(simulation.probe_guess)).dump_python(simulation.probe_guess)
    lengths = {"distance_m": scan.distance_m, "detector_pixel_size_m": scan.detector_pixel_size_m}
    store.create("ds_a", {**about, **lengths, "orientation": orientation, "probe": probe})
    file = tmp_path / "scan.npz"
    fields = {"positions_m": scan.positions_m, "energy_ev": np.array(scan.energy_ev)}
    np.savez(file, counts=turn(scan.counts), mask=turn(scan.mask), **fields)
    store.add_scan("ds_a", "e", file)
    return store


def graph_of(store, **reconstruct):
    options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": CYCLES, **reconstruct}})
    return build_graph(RunInputReader(store).read(["ds_a"]), options, "run_1")


def perform_all(tmp_path, graph):
    places = DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")
    units = [unit for unit in graph.steps.values() if unit.stage in ("orientation", "reconstruct")]
    return {unit.name: perform(StepRequest("run_1", unit, places), lambda _: None) for unit in units}, ArtifactStore(places.units)


def test_auto_finds_the_orientation_and_reconstructs_as_if_it_had_been_given(tmp_path, simulation):
    objects = []
    for name, orientation, turn in (("auto", "auto", from_detector), ("given", 5, from_detector), ("plain", 0, np.asarray)):
        store = dataset(tmp_path / name, simulation, orientation, turn)
        store.seal("ds_a")
        graph = graph_of(store)
        receipts, units = perform_all(tmp_path / name, graph)
        assert {receipt.fate for receipt in receipts.values()} == {"done"}
        last = next(unit for unit in graph.steps.values() if unit.stage == "reconstruct")
        objects.append(units.read(last.key, "object")["object"])
        assert ("orientation" in receipts) == (name == "auto")
        if name == "auto":
            assert receipts["orientation"].facts["orientation"] == 5
    np.testing.assert_array_equal(objects[0], objects[2])
    np.testing.assert_array_equal(objects[1], objects[2])


def test_a_wrong_orientation_ends_the_run_and_names_the_right_one(tmp_path, simulation):
    store = dataset(tmp_path, simulation, 4)
    store.seal("ds_a")
    receipts, _ = perform_all(tmp_path, graph_of(store))
    (receipt,) = receipts.values()
    assert receipt.fate == "failed"
    assert "with orientation 4," in receipt.message
    assert 'make the dataset again with orientation 0, or "auto"' in receipt.message


def test_an_open_dataset_waits_for_its_lowest_energy(tmp_path, simulation):
    store = dataset(tmp_path, simulation, "auto")
    assert not graph_of(store).steps
    store.seal("ds_a")
    graph = graph_of(store)
    first, second, *_ = graph.steps.values()
    assert (first.stage, second.stage, second.needs) == ("orientation", "reconstruct", ("orientation",))


def test_only_an_orientation_to_be_found_is_part_of_a_key(tmp_path, simulation):
    """What was reconstructed before stays valid: given orientations are in the scan's own digest."""
    facts = RunInputReader(dataset(tmp_path, simulation, 0)).read(["ds_a"])[0]
    assert facts.measurement.keys() == {"probe"}
    assert replace(facts, measurement={**facts.measurement, "orientation": "auto"}) != facts
