"""Spectra of known parameters on the energies of the measurement of the paper."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.xanes.model import eq1

V_K_EV = 5465.0

# offset, jump, edge energy and width, height, energy and width of the pre-edge, of the white line; energies from 5465 eV
STATES = np.array(
    [
        [0.02, 1.0, 12.9, 3.4, 0.10, 5.0, 1.2, 0.55, 22.5, 6.0],
        [0.02, 1.0, 13.8, 3.6, 0.18, 5.3, 1.3, 0.50, 23.5, 6.0],
        [0.02, 1.0, 15.2, 3.8, 0.35, 5.6, 1.3, 0.40, 25.0, 6.5],
        [0.02, 1.0, 16.9, 4.1, 0.60, 6.0, 1.1, 0.35, 32.0, 9.0],
    ]
).T
ENERGIES = [2, 5, 8]
HEIGHTS = [0, 1, 4, 7]


class Spectra(NamedTuple):
    """Truth and measurement of n spectra."""

    parameters: NDArray[np.float64]
    absorption: NDArray[np.float64]
    noise: NDArray[np.float64]


@pytest.fixture
def simulate(grid_about: Callable[[float], NDArray[np.float64]]) -> Callable[..., Spectra]:
    def _simulate(n: int, noise: float, seed: int, edge_ev: float = V_K_EV) -> Spectra:
        """``n`` spectra of the four states, varied, with Gaussian noise of ``noise`` edge jumps a point."""
        rng = np.random.default_rng(seed)
        p = STATES[:, rng.integers(0, 4, n)].copy()
        p[2] += rng.normal(0, 0.3, n)
        p[4] *= rng.uniform(0.7, 1.3, n)
        p[7] *= rng.uniform(0.8, 1.2, n)
        p[ENERGIES] += edge_ev
        thickness = rng.uniform(0.05, 0.15, n)
        p[HEIGHTS] *= thickness
        clean = eq1(grid_about(edge_ev), p)
        return Spectra(p, clean + noise * thickness * rng.normal(size=clean.shape), noise * thickness)

    return _simulate
