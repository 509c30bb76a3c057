"""How energies were reconstructed reaches the results: where each stopped, its positions, flux and modes, what stands out."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from pydantic import TypeAdapter

from service.execution.worker import perform
from service.records.run_inputs import RunInputReader
from service.stages.context import DataPaths, StepRequest, stored_warnings
from service.stages.dataset_results import convergence
from service.stages.pipeline import build_graph
from service.stages.reconstruct import convergence_warnings
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.options import ReconstructOptions, RunOptions
from tasks.ptycho.state import State
from tasks.simulation.specimen import SimulationOptions, simulate


class Shelf:
    """A desk that has only finished units, and a store that knows their numbers."""

    def __init__(self, contents):
        self.contents = contents

    def read(self, step, *names):
        return {name: self.contents[step][name] for name in names}

    def attributes(self, step):
        return {"noise_error": 0.25 * len(self.contents[step]["errors"])}


def state(n_cycles, n_positions, *, corrected, n_modes=2):
    probe = np.zeros((n_modes, 4, 4), np.complex64)
    for k, amplitude in enumerate((3, 1j)[:n_modes]):
        probe[k, k, k] = amplitude
    return {
        "errors": np.linspace(1, 0.1, n_cycles, dtype=np.float32),
        "positions_m": np.arange(2.0 * n_positions).reshape(-1, 2),
        "displacement_px": np.tile([3.0, 4.0], (n_positions, 1)) if corrected else np.empty((0, 2)),
        "scale": np.full(n_positions, 1.1) if corrected else np.empty(0),
        "probe": probe,
    }


def test_energies_of_unlike_length_stand_side_by_side():
    found = convergence(Shelf({"a": state(5, 3, corrected=True), "b": state(3, 4, corrected=True)}), ["a", "b"])
    np.testing.assert_array_equal(found["cycles"], [5, 3])
    assert found["error"].shape == (2, 5)
    assert np.isnan(found["error"][1, 3:]).all()
    assert np.isfinite(found["error"][0]).all()
    assert np.isnan(found["positions"][0, 3]).all()
    np.testing.assert_allclose(found["mode_power"], [[0.9, 0.1]] * 2)
    np.testing.assert_allclose(found["displacement_rms"], 5)
    np.testing.assert_allclose(found["frame_flux"][0], [1.21, 1.21, 1.21, np.nan], rtol=1e-6)


def test_an_energy_with_fewer_modes_has_none_of_their_power():
    shelf = Shelf({"a": state(5, 3, corrected=False), "b": state(3, 3, corrected=False, n_modes=1)})
    found = convergence(shelf, ["a", "b"])
    np.testing.assert_allclose(found["mode_power"], [[0.9, 0.1], [1, 0]])
    np.testing.assert_allclose(found["noise_error"], [1.25, 0.75])


def test_a_probe_that_grew_is_told():
    scan = SimpleNamespace(energy_ev=5465.0)
    grown = State(*[np.zeros((1, 4, 4))] * 4, cycle=60, seed=0, errors=np.ones(60, np.float32))
    auto = ReconstructOptions(cycles=60)
    (text,) = convergence_warnings(scan.energy_ev, replace(grown, probe=np.zeros((2, 4, 4))), auto, modes_before=1)
    assert text.startswith("5465.0 eV: 2 modes of the probe")
    assert convergence_warnings(scan.energy_ev, grown, auto, modes_before=1) == []
    assert (
        convergence_warnings(
            scan.energy_ev, replace(grown, probe=np.zeros((2, 4, 4))), replace(auto, probe_modes=2), modes_before=1
        )
        == []
    )


def test_uncorrected_positions_and_flux_are_not_given_as_corrected():
    found = convergence(Shelf({"a": state(5, 3, corrected=False)}), ["a"])
    assert {"displacement_rms", "frame_flux"}.isdisjoint(found)


@pytest.fixture
def places(tmp_path):
    """A dataset of one energy, whose positions are wrong by a pixel."""
    places = DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")
    simulation = simulate(
        SimulationOptions(
            n_energies=1, n_positions_side=6, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
        )
    )
    scan = simulation.scans[0]
    store = DatasetStore(places.datasets)
    store.create(
        "ds_a",
        {
            "title": "one energy", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "orientation": 0,
            "absorber": {"element": "V", "edge": "K"}, "probe": {"kind": "kb", "fwhm_m": 3e-7, "defocus_m": 2e-4},
            "distance_m": scan.distance_m, "detector_pixel_size_m": scan.detector_pixel_size_m,
        },
    )  # fmt: skip
    file = io.BytesIO()
    jitter = np.random.default_rng(0).uniform(-20e-9, 20e-9, scan.positions_m.shape)
    np.savez(file, counts=scan.counts, positions_m=scan.positions_m + jitter, energy_ev=np.array(scan.energy_ev), mask=scan.mask)
    (tmp_path / "scan.npz").write_bytes(file.getvalue())
    store.add_scan("ds_a", "e", tmp_path / "scan.npz")
    store.seal("ds_a")
    return places


def test_an_early_end_is_told_and_published_and_later_rounds_leave_it_alone(places):
    chosen = {"cycles": 200, "stop_change": 0.1, "position_refinement": "points", "refine_every": 4, "probe_modes": 2}
    options = TypeAdapter(RunOptions).validate_python({"reconstruct": chosen, "kkr": {"start": 150, "every": 25}})
    graph = build_graph(RunInputReader(DatasetStore(places.datasets)).read(["ds_a"]), options, "run_1")
    told = set()
    for unit in graph.steps.values():
        receipt = perform(StepRequest("run_1", unit, places), lambda _: None)
        assert receipt.fate == "done", receipt.message
        told.update(receipt.facts.get("warnings", ()))
    found = xr.open_datatree(places.results("run_1"), engine="zarr")["ds_a/reconstruction"]
    cycles = int(found["cycles"][0])
    assert 30 <= cycles < 150
    assert told == {f"{float(found['energy'][0]):.1f} eV: R has settled, stopped after {cycles} of 200 cycles"}
    last = [unit for unit in graph.steps.values() if unit.stage == "reconstruct"][-1]
    assert set(stored_warnings(ArtifactStore(places.units), last)) == told, "the rounds before may be cleared away"
    assert found["error"].shape == (1, cycles)
    assert found["positions"].dims == ("energy", "position", "axis")
    assert 0.3 < float(found["displacement_rms"][0]) < 3
    assert float(found["mode_power"].sum()) == pytest.approx(1)
    assert found.attrs["warnings"] == []


def test_later_rounds_remember_the_probe_that_the_first_began_with(places):
    """A pilot's two modes were there from the start; later rounds, which know no pilot, must not tell that they grew."""
    chosen = {"cycles": 6, "probe_from": "pilot", "pilot_cycles": 3, "probe_modes": 2}
    options = TypeAdapter(RunOptions).validate_python({"reconstruct": chosen, "kkr": {"start": 3, "every": 3}})
    graph = build_graph(RunInputReader(DatasetStore(places.datasets)).read(["ds_a"]), options, "run_1")
    rounds = [unit for unit in graph.steps.values() if unit.stage == "reconstruct"]
    for unit in rounds:
        assert perform(StepRequest("run_1", unit, places), lambda _: None).fate == "done"
    pilot, first, second = (ArtifactStore(places.units).attrs(unit.key) for unit in rounds)
    assert [one["guessed_modes"] for one in (pilot, first, second)] == [1, 2, 2]
    assert first["hidden_share"] == second["hidden_share"]


def test_a_pilot_saves_the_first_cycles(places):
    first_r = {}
    for origin in ("optics", "pilot"):
        chosen = {"cycles": 5, "probe_from": origin} | ({"pilot_cycles": 40} if origin == "pilot" else {})
        options = TypeAdapter(RunOptions).validate_python({"reconstruct": chosen})
        graph = build_graph(RunInputReader(DatasetStore(places.datasets)).read(["ds_a"]), options, "run_1")
        rounds = [unit for unit in graph.steps.values() if unit.stage == "reconstruct"]
        assert [unit.name for unit in rounds][:-1] == ["reconstruct-pilot-round0"] * (origin == "pilot")
        for unit in rounds:
            assert perform(StepRequest("run_1", unit, places), lambda _: None).fate == "done"
        first_r[origin] = ArtifactStore(places.units).read(rounds[-1].key, "errors")["errors"][0]
    assert first_r["pilot"] < 0.5 * first_r["optics"]
