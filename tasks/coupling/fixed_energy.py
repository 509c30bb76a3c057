"""The energy that the others are registered against: its image is the fixed one, theirs are the moving ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def fixed_index(n_energies: int) -> int:
    """Place, among ascending energies, of the one in the middle, against which all are registered."""
    return n_energies // 2


@dataclass(frozen=True)
class FixedEnergy:
    """The energy against which the others are registered."""

    energy_ev: float
    phase: NDArray[np.float64]
    """(Y, X) [rad]; 0 in vacuum."""
    field: NDArray[np.bool_]
    """(Y, X)."""
