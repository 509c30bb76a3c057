"""Coupling in parts gives what coupling in one step gives, and concerns of one energy or one tile need nothing else."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import erf

from service.execution.worker import StepResult, perform
from service.settings import DataPaths
from service.stages.context import StageContext, StepRequest
from service.stages.correction import gauge_row, read_correction
from service.stages.couple import split
from service.stages.couple.alignment import FlattenStep, SampleStep
from service.stages.couple.split import groups_of, number_of_tiles
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import FIELD_BOX, field_box_of
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.step import StepRef
from storage.artifacts import ArtifactStore
from tasks.gauge import Gauge
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas

Options = Callable[..., RunOptions]
Compute = Callable[..., dict[str, StepResult]]
N_ENERGIES = 10
SIDE = 72
COUPLING: dict[str, Any] = {
    "reconstruct": {"cycles": 30, "start_from": "optics"},
    "kkr": {"start": 10, "every": 20, "gamma": 0.7},
    "align": {"energy_offset_ev": 0.5},
}
"""One barrier between two rounds, and the spectra."""


def made_up() -> RunInput:
    """A dataset whose pixel grows with the wavelength, about the V K edge."""
    energies = np.concatenate([[5420, 5450], np.linspace(5464, 5500, N_ENERGIES - 3), [5540]])
    scans = tuple(ScanInput(f"s{i}", float(e), 4, 32, f"{i:064x}", canvas_at(float(e))) for i, e in enumerate(energies))
    return RunInput("ds_a", "ds_a", "a", "LiVO2", {"element": "V", "edge": "K"}, {"probe": None}, scans)


def canvas_at(energy_ev: float) -> Canvas:
    pixel = 15e-9 * 5540 / energy_ev
    return Canvas((SIDE, SIDE), pixel, (-pixel * (SIDE - 1) / 2, -pixel * (SIDE - 1) / 2))


def write_states(paths: DataPaths, graph: Graph) -> None:
    """Store objects with gauges and drifts of their own, as the rounds of a reconstruction would leave them."""
    for step in graph.steps.values():
        if not isinstance(step, ReconstructStep):
            continue
        rng = np.random.default_rng(int(step.energy_ev * 10))
        y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2) * step.scan.canvas.pixel_size_m / 15e-9
        down, right = rng.normal(0, 1.5, 2)
        disc = ndimage.gaussian_filter(np.clip(20 - np.hypot(y - down, x - right), 0, 4) / 4, 1)
        disc *= 1 + 0.2 * np.sin((y - down) / 4) * np.cos((x - right) / 5)
        noise = rng.normal(0, 1e-3, (2, SIDE, SIDE))
        step_up = 0.05 * (1 + erf((step.energy_ev - 5470) / 4))
        gauge = Gauge(rng.normal(0, 0.05), rng.uniform(-3, 3), (rng.normal(0, 0.01), rng.normal(0, 0.01)))
        image = np.exp(-disc * (0.05 + step_up) + noise[0] + 1j * (noise[1] - disc * 0.7)) / gauge.factor((SIDE, SIDE))
        dose = np.pad(np.full((SIDE - 10, SIDE - 10), 1e4, np.float32), 5)
        arrays: dict[str, NDArray[Any]] = {
            "object": image.astype(np.complex64), "dose": dose, "probe": np.ones((1, 32, 32), np.complex64),
            "errors": np.linspace(0.1, 0.01, 5, dtype=np.float32), "prtf": np.linspace(1, 0, 17, dtype=np.float32),
        }  # fmt: skip
        attributes: dict[str, Any] = {"stage": "reconstruct", "warnings": [], "noise_error": 0.009}
        if step.index is None or step.index % 2:  # those without a box have it found from their dose
            attributes[FIELD_BOX] = field_box_of(dose)
        ArtifactStore(paths.artifacts).write(step.key, arrays, attributes)


@pytest.fixture(scope="module")
def in_parts() -> Any:
    """Have even so small a dataset coupled in parts: four groups of energies, three tiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "SPLIT_PIXELS", 0)
        patch.setattr(split, "GROUP_PIXELS", 3 * SIDE**2)
        patch.setattr(split, "ROWS_OF_TILES", (24, 24))
        yield


@pytest.fixture(scope="module")
def coupled(tmp_path_factory: pytest.TempPathFactory, options_of: Options, compute: Compute) -> Callable[[str], Any]:
    """``coupled(name)``: folders and graph of the dataset, coupled and made spectra of."""
    found: dict[str, tuple[DataPaths, Graph]] = {}

    def coupled(name: str) -> tuple[DataPaths, Graph]:
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
            graph = build_graph([made_up()], options_of(**COUPLING), "run_1")
            write_states(paths, graph)
            compute(paths, graph, "couple", "spectra")
            found[name] = paths, graph
        return found[name]

    return coupled


@pytest.mark.parametrize(
    ("n_energies", "side", "expected"), [(40, 608, 40), (40, 128, 3), (400, 608, 58), (3, 64, 1), (2000, 64, 33)]
)
def test_groups_are_neither_too_small_nor_too_many(n_energies: int, side: int, expected: int) -> None:
    canvas = Canvas((side, side), 15e-9, (0.0, 0.0))
    groups = list(groups_of([ScanInput(f"s{i}", 5000.0 + i, 4, 32, "", canvas) for i in range(n_energies)]))
    assert len(groups) == expected
    assert [i for group in groups for i in range(group.start, group.stop)] == list(range(n_energies))


@pytest.mark.parametrize(("n_rows", "n_energies", "expected"), [(608, 40, 8), (608, 400, 20), (64, 12, 1), (2000, 40, 22)])
def test_tiles_take_little_memory(n_rows: int, n_energies: int, expected: int) -> None:
    assert number_of_tiles(n_rows, n_energies) == expected


def test_parts_give_the_spectra_of_one_step(coupled: Callable[[str], Any], request: pytest.FixtureRequest) -> None:
    paths, graph = coupled("whole")
    whole = ArtifactStore(paths.artifacts).read(graph.steps["spectra"].key)
    request.getfixturevalue("in_parts")
    paths, graph = coupled("parts")
    parts = ArtifactStore(paths.artifacts).read(graph.steps["spectra"].key)
    assert parts.keys() == whole.keys()
    for name, values in whole.items():
        assert parts[name].dtype == values.dtype, name
        np.testing.assert_allclose(parts[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
    assert np.abs(whole["shift_px"]).max() > 1
    assert whole["sample_mask"].sum() > 500


def test_parts_give_every_energy_the_correction_of_one_step(
    coupled: Callable[[str], Any], request: pytest.FixtureRequest
) -> None:
    def corrections(name: str) -> list[Any]:
        paths, graph = coupled(name)
        steps = [step for step in graph.steps.values() if isinstance(step, ReconstructStep) and step.correction]
        assert len(steps) == N_ENERGIES
        found = []
        for step in steps:
            context = StageContext(StepRequest("run_1", step, paths), lambda _: None)
            assert step.correction is not None
            assert step.index is not None
            found.append(read_correction(context, step.correction, step.index))
        return found

    whole = corrections("whole")
    request.getfixturevalue("in_parts")
    for ours, theirs in zip(corrections("parts"), whole, strict=True):
        np.testing.assert_allclose(ours.factor, theirs.factor, atol=1e-6)
        np.testing.assert_allclose(gauge_row(ours.gauge), gauge_row(theirs.gauge), atol=1e-9)
    assert max(np.abs(one.factor).max() for one in whole) > 1.02


def test_the_graph_shows_the_exchanges(in_parts: None, options_of: Options) -> None:
    graph = build_graph([made_up()], options_of(**COUPLING), "run_1")
    parts = Counter(step.part for step in graph.steps.values() if step.stage == "couple")
    # once between the rounds, once for the spectra
    assert parts == {
        "-grid": 2, "-register": 8, "-share": 2, "-flatten": 8, "-sample": 2, "-assess": 8, "-weights": 2, "-constrain": 8,
        "-correct": 4, "-correlate": 4,
    }  # fmt: skip
    register = graph.steps["couple-register-5420.0eV-to-5450.0eV-round1"]
    assert set(register.needs) == {"reconstruct-5420.0eV-round1", "reconstruct-5450.0eV-round1", "couple-grid-round1"}
    later = graph.steps["reconstruct-5450.0eV-round2"]
    assert isinstance(later, ReconstructStep)
    assert later.index == 1
    assert "couple-correct-5420.0eV-to-5450.0eV-round1" in later.needs
    keys = [step.key for step in graph.steps.values()]
    assert len(set(keys)) == len(keys)


def test_only_what_the_mode_of_the_constraint_changes_is_computed_again(in_parts: None, options_of: Options) -> None:
    def keys(**kkr: Any) -> dict[str, set[str]]:
        graph = build_graph([made_up()], options_of(**{**COUPLING, "kkr": {**COUPLING["kkr"], **kkr}}), "run_1")
        found: dict[str, set[str]] = {}
        for step in graph.steps.values():
            if step.name.endswith("-round1") and step.stage == "couple":
                found.setdefault(step.part, set()).add(step.key)
        return found

    before, gamma, mode = keys(), keys(gamma=0.5), keys(mode="absorption_to_phase")
    assert {part for part in before if before[part] != gamma[part]} == {"-correct"}
    assert {part for part in before if before[part] != mode[part]} == {"-constrain", "-correct"}


def test_a_cancelled_part_stops_and_a_lost_input_is_named(in_parts: None, coupled: Callable[[str], Any], tmp_path: Path) -> None:
    paths, graph = coupled("parts")
    empty = dataclasses.replace(paths, artifacts=tmp_path)
    for name in ("couple-register-5420.0eV-to-5450.0eV-round1", "couple-assess-tile1of4-round1"):
        request = StepRequest("run_1", graph.steps[name], empty)
        assert perform(request, lambda _: None, lambda: True).fate == "cancelled"
        assert perform(request, lambda _: None).fate == "lost"


@pytest.mark.parametrize(
    ("name", "energy_ev"), [("couple-grid-round1", 5482.0), ("couple-register-5420.0eV-to-5450.0eV-round1", 5420.0)]
)
def test_an_object_that_is_no_number_is_named_by_its_energy_which_a_run_can_do_without(
    in_parts: None, coupled: Callable[[str], Any], tmp_path: Path, name: str, energy_ev: float
) -> None:
    paths, graph = coupled("parts")
    spoilt = dataclasses.replace(paths, artifacts=tmp_path)
    ours, theirs = ArtifactStore(paths.artifacts), ArtifactStore(tmp_path)
    step = graph.steps[name]
    for key in step.inputs:
        arrays = ours.read(key)
        if "object" in arrays:
            arrays["object"][3, 3] = np.nan
        theirs.write(key, arrays, ours.attrs(key))
    result = perform(StepRequest("run_1", step, spoilt), lambda _: None)
    assert result.fate == "failed"
    assert f"that of {energy_ev} eV is not at 1 of" in result.message
    assert result.message.endswith(f"(align.leave_out_ev lets a run do without {energy_ev} eV.)")


def test_an_energy_that_drowns_the_specimen_in_noise_is_named(tmp_path: Path) -> None:
    paths = DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")
    store, rng = ArtifactStore(paths.artifacts), np.random.default_rng(0)
    everywhere, vacuum = np.ones((SIDE, SIDE), bool), np.indices((SIDE, SIDE))[1] < SIDE // 3
    store.write("shared", {"field": everywhere, "vacuum": vacuum}, {})
    for number, noise in enumerate((0.01, 0.01, 5.0)):
        phase = rng.normal(0, noise, (1, SIDE, SIDE)).astype(np.float32)
        arrays: dict[str, NDArray[Any]] = {"shift_px": np.zeros((1, 2)), "phase0": phase, "sigma_phase": np.array([noise])}
        store.write(f"flat{number}", arrays, {})
    flat = tuple(StepRef[FlattenStep](f"flat{number}", f"flat{number}") for number in range(3))
    step = SampleStep(energies=(5420.0, 5470.0, 5540.0), shared=StepRef("shared", "shared"), flat=flat, n_tiles=1)
    result = perform(StepRequest("run_1", step, paths), lambda _: None)
    assert result.fate == "failed"
    assert "must hold a specimen" in result.message
    assert "The noise is that of 5540.0 eV (5 rad), of the others 0.01 rad" in result.message
