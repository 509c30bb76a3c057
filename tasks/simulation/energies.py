"""The energies of a measurement about an absorption edge."""

import numpy as np
from numpy.typing import NDArray

GRID_OFFSETS_EV = (
    -45, -30, -15, -5, 0, 1, 2, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21.5, 23,
    25, 27.5, 30, 33, 37, 42, 48, 55, 64, 75,
)  # fmt: skip
"""The measured energies about the tabulated edge: four before it, then as fine as 0.5 eV."""


def energy_grid(n_energies: int, edge_ev: float) -> NDArray[np.float64]:
    """(E,) energies [eV] about an edge, spread as the measurement's 40 (which 40 gives exactly)."""
    place = np.linspace(0, len(GRID_OFFSETS_EV) - 1, n_energies) if n_energies > 1 else np.array([0.0])
    return np.asarray(edge_ev + np.interp(place, np.arange(len(GRID_OFFSETS_EV)), GRID_OFFSETS_EV))
