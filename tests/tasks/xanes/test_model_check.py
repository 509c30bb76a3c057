"""A model that does not hold is told in words, and one that holds is not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.options.spectra import FitOptions
from tasks.scattering import Absorber
from tasks.xanes.fit import fit_spectra
from tasks.xanes.mask import mask_pixels
from tasks.xanes.model import edge_step, lorentzian
from tasks.xanes.model_check import model_warnings, neighbour_warnings

Array = NDArray[np.float64]
NOISE = 0.01


def judge(energy: Array, absorption: Array, edge: float, noise: float = NOISE) -> list[str]:
    fit = fit_spectra(energy, absorption, np.full(energy.size, noise), edge)
    status = mask_pixels(fit, FitOptions(), energy_ev=energy, absorption=absorption, edge_energy_ev=edge, sigma_vacuum=noise)
    return model_warnings(fit, status, noise, edge)


def with_noise(spectrum: Array, n_pixels: int = 40) -> Array:
    return np.asarray(spectrum[:, None] + np.random.default_rng(0).normal(0, NOISE, (spectrum.size, n_pixels)))


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_a_k_edge_of_a_3d_metal_raises_no_warning(grid: Array, simulate: Callable[..., Any], noise: float) -> None:
    assert judge(grid, simulate(60, noise, seed=8).absorption, 5465.0, noise) == []


@pytest.mark.parametrize(
    ("element", "edge", "height", "above", "width"),
    [("As", "K", 1.6, 4.0, 2.6), ("Se", "K", 1.5, 3.0, 3.0), ("S", "K", 3.5, 2.0, 1.2), ("Zn", "K", 1.2, 5.5, 3.0),
     ("Ce", "L3", 2.5, 4.0, 2.5), ("Eu", "L3", 3.0, 3.0, 3.0), ("W", "L3", 2.2, 2.0, 4.0), ("Pt", "L3", 1.3, 2.0, 4.0),
     ("Br", "K", 1.4, 3.0, 3.0), ("La", "L3", 3.0, 3.0, 2.5), ("P", "K", 4.0, 1.5, 0.8), ("Au", "L3", 0.7, 4.0, 4.0)],
)  # fmt: skip
def test_a_white_line_at_the_edge_is_no_pre_edge(element: str, edge: str, height: float, above: float, width: float) -> None:
    at = Absorber(element, edge).edge_energy_ev
    energy = at + np.concatenate([np.linspace(-45, -10, 5), np.linspace(-8, 25, 27), np.linspace(30, 75, 8)])
    spectrum = 0.2 + edge_step(energy, at + above - 1.0, 2.0) + height * lorentzian(energy, at + above, width)
    found = judge(energy, with_noise(spectrum), at)
    assert found
    assert all("eq. 1 describes K edges of 3d metals" in sentence for sentence in found)


@pytest.mark.parametrize("height", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("step_at", [2.0, 3.0, 4.0])
def test_a_low_white_line_on_the_edge_is_told_wherever_the_step_is(height: float, step_at: float) -> None:
    at = Absorber("Se", "K").edge_energy_ev
    energy = at + np.concatenate([np.linspace(-45, -10, 5), np.linspace(-8, 25, 27), np.linspace(30, 75, 8)])
    spectrum = 0.2 + edge_step(energy, at + step_at, 2.0) + height * lorentzian(energy, at + 4.0, 2.5)
    (found,) = judge(energy, with_noise(spectrum), at)
    assert "lies on the edge or above it" in found


def test_bounds_that_bind_are_named(grid: Array) -> None:
    spectrum = edge_step(grid, 5465.0 + 36.0, 8.0)
    assert any("on a bound of the fit: edge energy" in sentence for sentence in judge(grid, with_noise(spectrum), 5465.0))


def test_oscillations_far_above_the_noise_are_a_misfit(grid: Array) -> None:
    spectrum = edge_step(grid, 5475.0, 3.0) + 0.15 * np.sin((grid - 5475.0) / 3.0) * edge_step(grid, 5478.0, 3.0)
    assert any("times the noise" in sentence for sentence in judge(grid, with_noise(spectrum), 5465.0))


def test_a_peak_that_is_not_there_binds_nothing(grid: Array) -> None:
    spectrum = edge_step(grid, 5475.0, 3.0) + 0.5 * lorentzian(grid, 5483.0, 6.0)
    assert judge(grid, with_noise(spectrum), 5465.0) == []


def test_no_pixel_no_warning(grid: Array) -> None:
    assert judge(grid, with_noise(np.zeros(grid.size)), 5465.0) == []
    assert judge(grid, with_noise(edge_step(grid, 5475.0, 3.0), n_pixels=3), 5465.0) == []


@pytest.mark.parametrize(
    ("element", "edge", "low", "high", "model", "told"),
    [
        ("Fe", "L3", 690, 750, "eq1", True), ("V", "L3", 500, 540, "none", True), ("Ti", "L2", 445, 480, "no_pre_edge", True),
        ("Fe", "L3", 690, 750, "l3_l2", False), ("Fe", "L3", 690, 715, "none", False), ("V", "K", 5420, 5540, "eq1", False),
        ("Ce", "L3", 5700, 5800, "no_pre_edge", False), ("V", "L2", 505, 640, "l3_l2", True),
        ("Nb", "M5", 190, 230, "none", True),
    ],
)  # fmt: skip
def test_an_edge_nearby_that_was_measured_too_is_told(
    element: str, edge: str, low: float, high: float, model: str, told: bool
) -> None:
    warnings = neighbour_warnings(np.linspace(low, high, 40), Absorber(element, edge), model)
    assert len(warnings) == told
    assert "both edges" in "".join(warnings) or not told
