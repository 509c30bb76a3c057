"""Frames that arrive flipped or transposed, and the first guess of their probe."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter

from service.execution.worker import StepResult, perform
from service.settings import DataPaths
from service.stages.context import StepRequest
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import FIELD_BOX, as_scan, field_box_of, first_probe, read_field_box
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.errors import VacuumError
from tasks.options.run import OPTIONS
from tasks.ptycho.probe import ProbeSpec
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate

Frames = NDArray[Any]
ReadInput = Callable[[DatasetStore], RunInput]

CYCLES = 48
SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """One energy."""
    return simulate(SMALL)


def from_detector(frames: Frames) -> Frames:
    """Transposed and a flip: undone by flipping rows, then transposing."""
    frames = np.swapaxes(frames, -2, -1)
    return np.ascontiguousarray(np.roll(np.flip(frames, -2), 1, -2))


def as_measured(frames: Frames) -> Frames:
    """As they are."""
    return frames


def dataset(
    folder: Path, simulation: Simulation, orientation: int | str, turn: Callable[[Frames], Frames] = as_measured
) -> DatasetStore:
    """The one energy as a file whose frames may be turned, in a dataset of the given orientation."""
    scan = simulation.scans[0]
    store = DatasetStore(folder / "datasets")
    about = {"title": "t", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    probe = TypeAdapter(ProbeSpec).dump_python(simulation.probe_guess)
    lengths = {"distance_m": scan.distance_m, "detector_pixel_size_m": scan.detector_pixel_size_m}
    made = {"provenance": {"created": "2024-05-01T12:00:00+00:00"}}
    store.create("ds_a", {**about, **lengths, **made, "orientation": orientation, "probe": probe})
    np.savez(
        folder / "scan.npz",
        counts=turn(scan.counts),
        mask=turn(scan.mask),
        positions_m=scan.positions_m,
        energy_ev=np.array(scan.energy_ev),
    )
    store.add_scan("ds_a", "e", folder / "scan.npz")
    return store


def graph_of(dataset: RunInput) -> Graph:
    """The graph of a run on one dataset."""
    options = OPTIONS.validate_python({"reconstruct": {"cycles": CYCLES}})
    return build_graph([dataset], options, "run_1")


def reconstruct(folder: Path, graph: Graph) -> dict[str, StepResult]:
    """What becomes of the steps up to the reconstruction."""
    paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    steps = [step for step in graph.steps.values() if step.stage in ("orientation", "reconstruct")]
    return {step.name: perform(StepRequest("run_1", step, paths), lambda _: None) for step in steps}


def test_auto_finds_the_orientation_and_reconstructs_as_if_it_had_been_given(
    tmp_path: Path, simulation: Simulation, read_input: ReadInput
) -> None:
    objects = []
    for name, orientation, turn in (("auto", "auto", from_detector), ("given", 5, from_detector), ("plain", 0, as_measured)):
        folder = tmp_path / name
        folder.mkdir()
        store = dataset(folder, simulation, orientation, turn)
        store.seal("ds_a")
        graph = graph_of(read_input(store))
        results = reconstruct(folder, graph)
        assert {result.fate for result in results.values()} == {"done"}
        last = next(step for step in graph.steps.values() if isinstance(step, ReconstructStep))
        objects.append(ArtifactStore(folder / "units").read(last.key, "object")["object"])
        assert ("orientation" in results) == (name == "auto")
        if name == "auto":
            assert results["orientation"].attributes["orientation"] == 5
    np.testing.assert_array_equal(objects[0], objects[2])
    np.testing.assert_array_equal(objects[1], objects[2])


def test_a_wrong_orientation_ends_the_run_and_names_the_right_one(
    tmp_path: Path, simulation: Simulation, read_input: ReadInput
) -> None:
    store = dataset(tmp_path, simulation, 4)
    store.seal("ds_a")
    (result,) = reconstruct(tmp_path, graph_of(read_input(store))).values()
    assert result.fate == "failed"
    assert "with orientation 4," in result.message
    assert 'make the dataset again with orientation 0, or "auto"' in result.message


def test_an_open_dataset_waits_for_its_lowest_energy(tmp_path: Path, simulation: Simulation, read_input: ReadInput) -> None:
    store = dataset(tmp_path, simulation, "auto")
    assert not graph_of(read_input(store)).steps
    store.seal("ds_a")
    first, second, *_ = graph_of(read_input(store)).steps.values()
    assert (first.stage, second.stage, second.needs) == ("orientation", "reconstruct", ("orientation",))


def test_only_an_orientation_to_be_found_is_part_of_a_key(tmp_path: Path, simulation: Simulation, read_input: ReadInput) -> None:
    """A given orientation is in the scan's own digest."""
    given = read_input(dataset(tmp_path, simulation, 0))
    assert given.measurement.keys() == {"probe"}
    assert replace(given, measurement={**given.measurement, "orientation": "auto"}) != given


@pytest.mark.parametrize(("kind", "same"), [(None, True), ("supplied", True), ("gaussian", False)])
def test_a_supplied_probe_is_used_unless_optics_are_described(
    tmp_path: Path, simulation: Simulation, kind: Literal["supplied", "gaussian"] | None, same: bool
) -> None:
    measured = as_scan(dataset(tmp_path, simulation, 0).read_scan("ds_a", "e"))
    measured = replace(measured, mask=np.ones_like(measured.mask))  # a masked pixel would hide photons that count as well
    supplied = np.random.default_rng(0).normal(size=(1, 48, 48)).astype(np.complex64)
    probe = first_probe(measured, supplied, None if kind is None else ProbeSpec(kind=kind))
    power = float(np.mean(measured.counts.sum(axis=(1, 2))))
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(power, rel=1e-4)
    correlation = abs(np.vdot(probe, supplied)) / np.linalg.norm(probe) / np.linalg.norm(supplied)
    assert (correlation > 0.999) == same


def test_the_box_of_a_field_is_read_from_the_attributes_else_found_from_the_dose(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    dose = np.pad(np.full((20, 30), 1e4, np.float32), ((4, 6), (5, 7)))
    store.write("stored-box", {"dose": np.zeros_like(dose)}, {FIELD_BOX: field_box_of(dose)})
    store.write("dose-alone", {"dose": dose}, {})
    assert read_field_box(store, "stored-box") == read_field_box(store, "dose-alone") == (4, 23, 5, 34)


@pytest.mark.parametrize("level", [0.0, np.nan])
def test_a_dose_without_light_has_no_box_and_says_so_where_one_is_needed(tmp_path: Path, level: float) -> None:
    store, dose = ArtifactStore(tmp_path), np.full((8, 9), level, np.float32)
    assert field_box_of(dose) is None
    store.write("dark", {"dose": dose}, {FIELD_BOX: None})
    with pytest.raises(VacuumError, match="must have received light"):
        read_field_box(store, "dark")
