"""What the vacuum tells of the error of the edge jump: noise in common is found, that of each energy is not mistaken for it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.xanes.model import PARAMETERS, edge_step
from tasks.xanes.vacuum import LEAST_PIXELS, jump_variance_in_common

Array = NDArray[np.float64]

EDGE_EV = 5465.1
ENERGY_EV = np.concatenate([np.linspace(5420, 5460, 10), np.linspace(5462, 5490, 22), np.linspace(5495, 5540, 8)])
FIT = np.array([0.012, 0.064, 5478.0, 3.2, 0.02, 5470.0, 1.1, 0.024, 5484.0, 4.0])
EVERYWHERE = np.ones((100, 100), bool)
OWN = 8e-4
"""Standard deviation of the noise of one energy."""


def fits(parameters: Array = FIT) -> Array:
    """(10, 50) fits that scatter by a hundredth, and one masked pixel."""
    rng = np.random.default_rng(0)
    scattered = parameters[:, None] * (1 + 0.01 * rng.normal(size=(10, 50)) * (np.arange(10) != 2)[:, None])
    return np.concatenate([scattered, np.full((10, 1), np.nan)], axis=1)


def vacuum(in_common: float, rng: np.random.Generator) -> Array:
    """(40, 100, 100) absorption at each energy's own wavelength: its noise, and an edge of random jump that does not exist."""
    jump = in_common * rng.normal(size=EVERYWHERE.shape)
    wrong = edge_step(ENERGY_EV, FIT[2], FIT[3])[:, None, None] * jump
    return np.asarray(OWN * rng.normal(size=(ENERGY_EV.size, *EVERYWHERE.shape)) + wrong * (EDGE_EV / ENERGY_EV)[:, None, None])


@pytest.mark.parametrize("in_common", [2e-4, 6e-4])
def test_noise_that_passes_for_an_edge_is_found(in_common: float) -> None:
    images = vacuum(in_common, np.random.default_rng(1))
    images[3, :40, :2] = np.nan
    found = jump_variance_in_common(ENERGY_EV, images, EVERYWHERE, fits(), EDGE_EV)
    assert found == pytest.approx(in_common**2, rel=0.1)


def test_noise_of_each_energy_is_not_mistaken_for_it() -> None:
    own = jump_variance_in_common(ENERGY_EV, vacuum(0.0, np.random.default_rng(2)), EVERYWHERE, fits(), EDGE_EV)
    assert own < 0.05 * OWN**2 / 10


def test_peaks_without_a_place_are_left_out() -> None:
    without = FIT.copy()
    without[[PARAMETERS.index(name) for name in ("edge_width", "pre_edge_energy", "white_line_width")]] = np.nan
    found = jump_variance_in_common(ENERGY_EV, vacuum(6e-4, np.random.default_rng(3)), EVERYWHERE, fits(without), EDGE_EV)
    assert found == pytest.approx(3.6e-7, rel=0.1)


def test_a_large_vacuum_is_sampled() -> None:
    images = np.tile(vacuum(6e-4, np.random.default_rng(4)), (1, 3, 2))
    found = jump_variance_in_common(ENERGY_EV, images, np.ones(images.shape[1:], bool), fits(), EDGE_EV)
    assert found == pytest.approx(3.6e-7, rel=0.1)


@pytest.mark.parametrize(
    ("n_pixels", "n_energies", "parameters"),
    [(LEAST_PIXELS - 1, 40, FIT), (0, 40, FIT), (10_000, 4, FIT), (10_000, 40, np.full(10, np.nan))],
)
def test_too_little_to_tell_is_nothing(n_pixels: int, n_energies: int, parameters: Array) -> None:
    empty = np.arange(EVERYWHERE.size).reshape(EVERYWHERE.shape) < n_pixels
    images = vacuum(6e-4, np.random.default_rng(5))[:n_energies]
    assert jump_variance_in_common(ENERGY_EV[:n_energies], images, empty, fits(parameters), EDGE_EV) == 0.0
