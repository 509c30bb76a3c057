"""A reference spectrum of known edge and pre-edge."""

import numpy as np

from tasks.xanes.model import eq1
from tasks.xanes.references.xdi import Reference


def synthetic(name: str, edge: float, ratio: float) -> Reference:
    """A reference on a long, fine axis, on a sloping background."""
    energy = np.arange(5350.0, 6000.0, 0.5)
    p = np.array([0.0, 1.0, edge, 3.0, ratio, edge - 8, 1.2, 0.3, edge + 9, 6.0])
    background = 1.3 - 4e-4 * (energy - 5465.0)
    return Reference(name, "", energy, 2.5 * eq1(energy, p) + background)
