"""The table of a run's energies, from its results and from finished rounds."""

from pathlib import Path

import numpy as np
import pytest

from service.results.energy_table import N_CURVE, make_row, partial_rows, published_rows
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.results import Group, ResultsStore, write_results
from tasks.options.run import OPTIONS
from tasks.ptycho.scan import Canvas


def test_published_energies_have_all_columns(tmp_path: Path) -> None:
    energy = np.array([5420.0, 5470.5])
    errors = np.array([[0.5, 0.3, np.nan], [0.6, 0.4, 0.2]], np.float32)
    coords = {"energy": energy, "cycle": np.arange(1, 4), "mode": np.arange(2)}
    floats = {"noise_error": [0.1, 0.2], "mode_power": [[1, 0], [0.9, 0.1]], "resolution": [4e-8, np.nan]}
    arrays = {"error": errors, **{name: np.array(values, np.float32) for name, values in floats.items()}}
    told = {"warnings": ["5470.5 eV: R stands out", "too little overlap"]}
    drift = np.array([[0, 0], [1.5, -2]], np.float32)
    shift = Group({"energy": energy, "axis": np.array(["y", "x"])}, {"shift": drift})
    write_results(tmp_path / "r.zarr", {"ds_a/reconstruction": Group(coords, arrays, told), "ds_a/spectra": shift}, {})
    store = ResultsStore(tmp_path / "r.zarr")
    first, second = published_rows(store, "ds_a")
    assert (first.n_cycles, first.n_modes, first.drift_px, first.warnings) == (2, 1, (0.0, 0.0), ())
    assert (second.n_cycles, second.n_modes, second.drift_px) == (3, 2, (1.5, -2.0))
    assert second.warnings == ("5470.5 eV: R stands out",)
    assert first.r_factor == pytest.approx(0.3)
    assert first.resolution_m == pytest.approx(4e-8)
    assert second.errors == pytest.approx([0.6, 0.4, 0.2])
    assert published_rows(store, "ds_b") == []


def test_the_curve_of_many_cycles_is_thinned_to_its_ends() -> None:
    errors = np.geomspace(1, 1e-3, 800)
    row = make_row("d", 1.0, errors, noise=None, n_modes=None, resolution_m=None, drift_px=None, warnings=[])
    assert len(row.cycles) == len(row.errors) == N_CURVE
    assert (row.cycles[0], row.cycles[-1]) == (1, 800)
    assert row.r_factor == pytest.approx(1e-3)


def two_energies() -> Graph:
    """The graph of a run on two energies, in rounds of ten cycles."""
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{energy}", energy, 16, 32, "", canvas) for energy in (5420.0, 5470.0))
    dataset = RunInput("ds_a", "a", "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans)
    options = {"reconstruct": {"cycles": 20}, "kkr": {"start": 10, "every": 10}}
    return build_graph([dataset], OPTIONS.validate_python(options), "run_1")


def test_a_run_under_way_tells_the_last_finished_round(tmp_path: Path) -> None:
    graph, artifacts = two_energies(), ArtifactStore(tmp_path)
    rounds = [step for step in graph.steps.values() if isinstance(step, ReconstructStep)]
    assert partial_rows(artifacts, graph, "ds_a") == []
    for step in rounds[:-1]:
        errors = np.linspace(1, 0.1, step.n_cycles).astype(np.float32)
        probe = np.zeros((2, 4, 4), np.complex64)
        artifacts.write(
            step.key, {"errors": errors, "probe": probe}, {"noise_error": 0.05, "warnings": [f"{step.energy_ev:.1f} eV: told"]}
        )
    rows = partial_rows(artifacts, graph, "ds_a")
    last = {step.energy_ev: step.n_cycles for step in rounds[:-1]}
    assert [(row.energy_ev, row.n_cycles) for row in rows] == sorted(last.items())
    assert (rows[0].noise_r_factor, rows[0].n_modes) == (0.05, 2)
    assert rows[0].warnings == ("5420.0 eV: told",)
    assert partial_rows(artifacts, graph, "ds_b") == []
