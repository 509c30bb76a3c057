"""The judge is fair: perfect maps score perfectly wherever the specimen sits, and known errors are reported as they are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ptycho.scan import Scan
from tasks.scattering import Absorber
from tasks.simulation.specimen import Simulation, SimulationOptions, grow_specimen
from tasks.simulation.truth import STATES, Truth, assess, find_offset, true_maps, true_spectra

OPTIONS = SimulationOptions(seed=3, n_energies=1)
AXIS = np.arange(-75.0, 76.0) * 15e-9


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    scan = Scan(np.zeros((1, 8, 8), np.uint16), np.zeros((1, 2)), np.ones((8, 8), bool), 5420.0, 0.5, 75e-6)
    return Simulation(OPTIONS, grow_specimen(OPTIONS), Absorber(), [scan], OPTIONS.probe, np.zeros((1, 2)))


def perfect(simulation: Simulation, offset_m: NDArray[np.float64]) -> tuple[Truth, dict[str, NDArray[Any]]]:
    truth = true_maps(simulation, AXIS - offset_m[0], AXIS - offset_m[1])
    maps = {name: np.array(getattr(truth, name), dtype=float) for name in (*STATES, "n_absorber")}
    maps |= {f"{name}_sigma": np.full(truth.particle.shape, 0.1) for name in STATES}
    return truth, {**maps, "mask": truth.particle}


@pytest.mark.parametrize("offset_px", [(0.0, 0.0), (4.3, -2.6)])
def test_the_specimen_is_found_where_it_is(simulation: Simulation, offset_px: tuple[float, float]) -> None:
    offset = np.array(offset_px) * 15e-9
    truth, _ = perfect(simulation, offset)
    noisy = truth.phase + np.random.default_rng(0).normal(0, 0.003, truth.phase.shape)
    np.testing.assert_allclose(find_offset(simulation, AXIS, AXIS, noisy) / 15e-9, offset_px, atol=0.05)


def test_perfect_maps_score_perfectly(simulation: Simulation) -> None:
    truth, maps = perfect(simulation, np.array([30e-9, 15e-9]))
    spectra = true_spectra(simulation, AXIS - 30e-9, AXIS - 15e-9)
    found = assess(simulation, AXIS, AXIS, spectra, maps, (truth.state + 1) * truth.particle)
    assert found.adjusted_rand > 0.98
    assert found.coverage > 0.99
    assert found.n_absorber_ratio == pytest.approx(1, abs=1e-3)
    assert (found.edge_energy_off_ev, found.edge_energy_sd_ev) == pytest.approx((0, 0), abs=1e-9)


def test_errors_are_reported_as_they_are(simulation: Simulation) -> None:
    truth, maps = perfect(simulation, np.zeros(2))
    noise = np.random.default_rng(1).normal(size=truth.phase.shape)
    maps["edge_energy"] += 0.2 + 0.1 * noise
    maps["pre_edge_ratio"] += 0.1 * noise
    maps["n_absorber"] *= 1.04
    maps["mask"] = truth.particle & (AXIS[None, :] > 0)
    labels = np.random.default_rng(2).integers(1, 5, truth.phase.shape) * truth.particle
    absorption, phase = true_spectra(simulation, AXIS, AXIS)
    spectra = absorption + 2e-3 * noise, phase + 1e-3 * noise
    found = assess(simulation, AXIS, AXIS, spectra, maps, labels)
    assert found.edge_energy_off_ev == pytest.approx(0.2, abs=0.01)
    assert found.edge_energy_sd_ev == pytest.approx(0.1, rel=0.07)
    assert (found.absorption_sd, found.phase_sd_rad) == pytest.approx((2e-3, 1e-3), rel=0.07)
    assert found.within_sigma == pytest.approx({"edge_energy": 0.157, "pre_edge_ratio": 0.683, "electron_ratio": 1}, abs=0.02)
    assert found.n_absorber_ratio == pytest.approx(1.04, abs=0.002)
    assert abs(found.adjusted_rand) < 0.02
    assert found.coverage == pytest.approx((truth.particle & (AXIS[None, :] > 0)).sum() / truth.particle.sum(), abs=0.01)
