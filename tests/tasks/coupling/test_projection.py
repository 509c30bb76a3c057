"""Energies coupled: noises are told apart, bands add up, and the projection pays on data with slow errors in the phase."""

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.kkr import outside_columns, window_matrix
from tasks.coupling.projection import (
    BAND_SPLIT_PX,
    Noise,
    Pair,
    absorber_density,
    constrain,
    measure_noise,
    photon_noise,
    project,
    projections,
    residual_by_direction,
    smooth,
    split_bands,
)
from tasks.errors import EnergyGridError
from tasks.options.coupling import KKROptions
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import DENSITY_V_M3
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import at_edge_wavelength, fit_spectra
from tasks.xanes.model import PARAMETERS

V = Absorber("V", "K")
ENERGY = energy_grid(40, V.edge_energy_ev)
SCALE = electrons_per_absorption(ENERGY)[:, None, None]
K, T = window_matrix(ENERGY), outside_columns(ENERGY, V, "LiVO2")
EVERYWHERE = np.ones((48, 48), bool)
Mode = Literal["absorption_to_phase", "phase_to_absorption"]


@pytest.fixture(scope="module")
def truth() -> Pair:
    """Two states side by side under a dome of thickness."""
    y, x = np.indices(EVERYWHERE.shape)
    thickness = 1.2e-6 * np.exp(-((y - 24) ** 2 + (x - 24) ** 2) / 600)
    electrons = electrons_per_formula(STATES[:2], ENERGY, V)[:, (x > 24).astype(int)]
    return Pair(SCALE * DENSITY_V_M3 * thickness * electrons.imag, -SCALE * DENSITY_V_M3 * thickness * electrons.real)


def spoil(truth: Pair, seed: int, sigma_absorption: float = 0.001, sigma_phase: float = 0.0015, slow: float = 0.003) -> Pair:
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(2, *truth.phase.shape))
    ripple = ndimage.gaussian_filter(rng.normal(size=truth.phase.shape), (0, 8, 8))
    ripple *= slow / ripple.std()
    return Pair(truth.absorption + sigma_absorption * white[0], truth.phase + sigma_phase * white[1] + ripple)


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def test_bands_add_up_to_the_image_and_respect_the_field() -> None:
    images = np.random.default_rng(0).normal(size=(3, 40, 40))
    field = np.zeros((40, 40), bool)
    field[5:30, 8:35] = True
    low, high = split_bands(images, field)
    np.testing.assert_allclose((low + high)[:, field], images[:, field])
    flat, nothing = split_bands(np.ones((1, 40, 40)), field)
    np.testing.assert_allclose(flat[:, field], 1)
    np.testing.assert_allclose(nothing, 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 40, 61), (2, 100, 48), (17, 9)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_smoothing_in_strips_is_the_gaussian_filter(shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> None:
    images = np.random.default_rng(3).normal(size=shape).astype(dtype)
    expected = ndimage.gaussian_filter(images.astype(float), (0,) * (len(shape) - 2) + (BAND_SPLIT_PX, BAND_SPLIT_PX))
    rounding = 1e-14 if dtype is np.float64 else 1e-6
    assert smooth(images).dtype == dtype
    np.testing.assert_allclose(smooth(np.asfortranarray(images)), smooth(images), atol=rounding)
    np.testing.assert_allclose(smooth(images), expected, atol=rounding)


@pytest.mark.parametrize("mode", ["joint", "absorption_to_phase", "phase_to_absorption"])
def test_projecting_the_residual_is_projecting_each_band(truth: Pair, mode: str) -> None:
    data = spoil(truth, 4)
    matrices = projections(K, T, (Noise(1.0, 5.0), Noise(1.0, 1.2)), mode)
    found = project(data, ENERGY, K, T, matrices, EVERYWHERE)
    stacked = np.concatenate([data.absorption / SCALE, -data.phase / SCALE])
    low, high = split_bands(stacked, EVERYWHERE)
    each = np.tensordot(matrices[0], low, axes=1) + np.tensordot(matrices[1], high, axes=1)
    for ours, theirs, before in zip(
        (found.absorption, found.phase), (each[:40] * SCALE, -each[40:] * SCALE), (data.absorption, data.phase), strict=True
    ):
        assert rms(ours - theirs) < 2e-6 * rms(theirs - before) + 1e-15


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_white_noises_are_told_apart_by_the_residual_alone(ratio: float) -> None:
    rng = np.random.default_rng(1)
    g2, g1 = rng.normal(size=(40, 4000)), ratio * rng.normal(size=(40, 4000))
    noise = photon_noise(*residual_by_direction(K, T, g2, g1))
    assert noise.phase / noise.absorption == pytest.approx(ratio, rel=0.1)
    assert noise.absorption == pytest.approx(1.0, rel=0.05)


def test_slow_errors_are_the_phases(truth: Pair) -> None:
    data = spoil(truth, 2)
    bands = zip(split_bands(data.absorption / SCALE, EVERYWHERE), split_bands(-data.phase / SCALE, EVERYWHERE), strict=True)
    low, high = measure_noise(K, T, [(a.reshape(40, -1), p.reshape(40, -1)) for a, p in bands])
    assert high.phase / high.absorption == pytest.approx(1.5, rel=0.15)
    assert low.phase / low.absorption > 5


@pytest.mark.parametrize("seed", range(3))
def test_joint_lowers_the_error_of_both(truth: Pair, seed: int) -> None:
    data = spoil(truth, seed)
    found = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions()).pair
    assert rms(found.absorption - truth.absorption) < 0.9 * rms(data.absorption - truth.absorption)
    assert rms(found.phase - truth.phase) < 0.6 * rms(data.phase - truth.phase)


def test_one_weight_for_all_frequencies_does_harm_where_weights_by_band_pay(truth: Pair) -> None:
    data = spoil(truth, 9, slow=0.012)
    before = rms(data.absorption - truth.absorption)
    even = projections(K, T, (Noise(1.0, 1.0), Noise(1.0, 1.0)), "joint")
    assert rms(project(data, ENERGY, K, T, even, EVERYWHERE).absorption - truth.absorption) > 1.2 * before
    found = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions()).pair
    assert rms(found.absorption - truth.absorption) < 0.95 * before


def test_offsets_and_planes_that_the_gauge_left_in_the_phase_are_found_and_taken_out(truth: Pair) -> None:
    """3 mrad of offset and of slope at every energy: the low band's residual tells them from anything f'' could do."""
    rng = np.random.default_rng(10)
    y, x = np.indices(EVERYWHERE.shape) / 24 - 1
    planes = 0.003 * np.einsum("ek,kyx->eyx", rng.normal(size=(40, 3)), np.stack([np.ones_like(y), y, x]))
    clean = spoil(truth, 10, slow=1e-9)
    tilted = Pair(clean.absorption, clean.phase + planes)
    found = constrain(tilted, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions()).pair
    assert rms(found.absorption - truth.absorption) < 0.9 * rms(clean.absorption - truth.absorption)
    left = np.stack([ndimage.gaussian_filter(image, 6) for image in found.phase - truth.phase])
    assert rms(left) < 0.25 * rms(planes)


def edge_energies(absorption: NDArray[np.float64]) -> NDArray[np.float64]:
    pixels = at_edge_wavelength(ENERGY, absorption[:, 6:42, 6:42].reshape(40, -1), V.edge_energy_ev)
    fit = fit_spectra(ENERGY, pixels, None, V.edge_energy_ev)
    errors = fit.parameters[PARAMETERS.index("edge_energy")].reshape(36, 36)
    expected = V.edge_energy_ev + np.where(np.arange(6, 42) > 24, STATES[1].edge_ev, STATES[0].edge_ev)
    return np.asarray(errors - expected)


def test_the_edge_energy_gains_what_the_noise_loses(truth: Pair) -> None:
    """White noise, as much in the phase as in the absorption: the edge energy's spread falls to 0.72."""
    data = spoil(truth, 11, sigma_absorption=0.0004, sigma_phase=0.0004, slow=1e-9)
    found = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions()).pair
    spread = [np.median(np.abs(errors - np.median(errors))) for errors in map(edge_energies, (data.absorption, found.absorption))]
    assert spread[1] / spread[0] == pytest.approx(0.72, abs=0.05)


def test_joint_never_does_harm_where_the_phase_is_useless(truth: Pair) -> None:
    data = spoil(truth, 5, sigma_phase=0.02, slow=0.05)
    found = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions()).pair
    assert rms(found.absorption - truth.absorption) < 1.02 * rms(data.absorption - truth.absorption)


def test_density_and_residual_are_per_absorber_atom(truth: Pair) -> None:
    density = absorber_density(ENERGY, (truth.absorption / SCALE).reshape(40, -1), V)
    y, x = np.indices(EVERYWHERE.shape)
    expected = DENSITY_V_M3 * 1.2e-6 * np.sqrt(np.mean(np.exp(-((y - 24) ** 2 + (x - 24) ** 2) / 300)))
    assert density == pytest.approx(expected, rel=0.05)
    clean = constrain(truth, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions(mode="off"))
    assert clean.residual_before.max() < 0.02


def test_energies_off_the_edge_are_an_error(truth: Pair) -> None:
    with pytest.raises(EnergyGridError, match="another element"):
        absorber_density(ENERGY, (truth.absorption / SCALE).reshape(40, -1), Absorber("Fe", "K"))


def test_off_changes_nothing_and_still_tells_the_residual(truth: Pair) -> None:
    data = spoil(truth, 6)
    result = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions(mode="off"))
    assert result.pair is data
    np.testing.assert_array_equal(result.residual_before, result.residual_after)
    assert result.residual_before.min() > 0
    assert result.slope == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("mode", "kept"), [("absorption_to_phase", "absorption"), ("phase_to_absorption", "phase")])
def test_one_way_modes_keep_their_side(truth: Pair, mode: Mode, kept: str) -> None:
    data = spoil(truth, 7)
    found = constrain(data, ENERGY, V, "LiVO2", EVERYWHERE, EVERYWHERE, KKROptions(mode=mode))
    np.testing.assert_allclose(getattr(found.pair, kept), getattr(data, kept), atol=1e-9)
    if kept == "absorption":
        assert found.residual_after.max() < 1e-6


def test_outside_the_field_nothing_is_touched(truth: Pair) -> None:
    data = spoil(truth, 8)
    field = np.zeros_like(EVERYWHERE)
    field[10:40, 10:40] = True
    found = constrain(data, ENERGY, V, "LiVO2", field, field, KKROptions()).pair
    np.testing.assert_array_equal(found.absorption[:, ~field], data.absorption[:, ~field])
