"""What is known of the shapes before a pixel is fitted: they are near the shape of the mean spectrum."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.model import PARAMETERS

SPREAD: Final = {
    "edge_energy": 2.0,
    "edge_width": 1.0,
    "pre_edge_energy": 0.5,
    "pre_edge_width": 0.4,
    "white_line_energy": 3.0,
    "white_line_width": 2.0,
}
"""How far a pixel's shape is expected to lie from the mean's, one standard deviation [eV].

The edge of vanadium moves by 3.4 eV from V2O3 to V2O5, so the edge energy, which is what the maps show, is hardly held;
what is held are the widths and positions that noise would exchange with it. On simulated states the edge energy's rms
error falls from 0.154 to 0.148 eV at 3 % noise and from 0.67 to 0.43 eV at 10 %.
"""


@dataclass(frozen=True)
class Prior:
    """Gaussian priors on the parameters of eq. 1.

    Parameters
    ----------
    centre : (10,) float64 array
        In the order of `tasks.xanes.model.PARAMETERS`; energies absolute [eV].
    sd : (10,) float64 array
        Standard deviations, infinite where nothing is known.
    """

    centre: NDArray[np.float64]
    sd: NDArray[np.float64]


def prior_around(parameters: NDArray[np.float64]) -> Prior:
    """Prior about the shape of ``parameters`` (10,), as wide as `SPREAD`; none on the offset and the heights."""
    sd = np.array([SPREAD.get(name, np.inf) for name in PARAMETERS])
    return Prior(np.asarray(parameters, dtype=np.float64).copy(), sd)
