"""Physical limits of the parameters of eq. 1, relative to the tabulated edge of the absorber."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

LIMITS: Final = {
    "offset": (-np.inf, np.inf),
    "edge_jump": (0.0, np.inf),
    "edge_energy": (-6.0, 30.0),
    "edge_width": (0.5, 15.0),
    "pre_edge_height": (0.0, np.inf),
    "pre_edge_energy": (-8.0, 10.0),
    "pre_edge_width": (0.5, 5.0),
    "white_line_height": (0.0, np.inf),
    "white_line_energy": (10.0, 45.0),
    "white_line_width": (1.0, 20.0),
}
"""Least and greatest value of each parameter; energies are relative to the tabulated edge [eV].

Absolute constants would not do: published energy axes differ by 5 eV, and the edge is an option. The half-way energy
of a transition-metal oxide lies 8-20 eV above the tabulated edge of the element, its pre-edge peak (1s -> 3d) within a
few eV of it, its white line 15-40 eV above.
"""

RELATIVE: Final = np.array([0, 0, 1, 0, 0, 1, 0, 0, 1, 0], dtype=np.float64)
"""1 where a parameter is an energy measured from the tabulated edge, else 0; in the order of `PARAMETERS`."""


def bounds(edge_energy_ev: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bounds of the ten parameters for an absorber whose tabulated edge is ``edge_energy_ev`` [eV].

    Returns
    -------
    lower, upper : (10,) float64 arrays
        In the order of `tasks.xanes.model.PARAMETERS`.
    """
    limits = np.array(list(LIMITS.values()), dtype=np.float64)
    shift = RELATIVE * edge_energy_ev
    return limits[:, 0] + shift, limits[:, 1] + shift
