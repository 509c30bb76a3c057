"""Spectra of known parameters on the energies of the measurement of the paper."""

from collections.abc import Callable
from pathlib import Path
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


def measurement_grid(edge_ev: float = V_K_EV) -> NDArray[np.float64]:
    """Forty energies from 45 eV before the edge to 75 eV after it, four of them before it, the finest step 0.5 eV."""
    dense = np.arange(1.0, 7.1, 0.5)
    edge = np.arange(8.0, 22.1, 1.0)
    return edge_ev + np.concatenate([[-45, -31, -18, -5], dense, edge, [24, 27, 31, 36, 43, 52, 63, 75]])


@pytest.fixture
def grid() -> NDArray[np.float64]:
    return measurement_grid()


@pytest.fixture
def simulate() -> Callable[..., Spectra]:
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
        clean = eq1(measurement_grid(edge_ev), p)
        return Spectra(p, clean + noise * thickness * rng.normal(size=clean.shape), noise * thickness)

    return _simulate


@pytest.fixture
def reference_text(measured_file: Callable[[str], Path]) -> Callable[[str], str]:
    """Text of a measured spectrum, by the compound's name."""
    return lambda name: measured_file(f"{name}.xdi").read_text(encoding="utf-8")
