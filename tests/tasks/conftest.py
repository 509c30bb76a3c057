"""The energies of the measurement, and measured spectra of known compounds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

V_K_EV = 5465.0


def measurement_grid(edge_ev: float = V_K_EV) -> NDArray[np.float64]:
    """Forty energies from 45 eV before the edge to 75 eV after it, four of them before it, the finest step 0.5 eV."""
    dense = np.arange(1.0, 7.1, 0.5)
    edge = np.arange(8.0, 22.1, 1.0)
    return edge_ev + np.concatenate([[-45, -31, -18, -5], dense, edge, [24, 27, 31, 36, 43, 52, 63, 75]])


@pytest.fixture
def grid_about() -> Callable[[float], NDArray[np.float64]]:
    """Forty energies about any edge."""
    return measurement_grid


@pytest.fixture
def grid() -> NDArray[np.float64]:
    return measurement_grid()


@pytest.fixture
def reference_text(measured_file: Callable[[str], Path]) -> Callable[[str], str]:
    """Text of a measured spectrum, by the compound's name."""
    return lambda name: measured_file(f"{name}.xdi").read_text(encoding="utf-8")
