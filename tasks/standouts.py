"""Energies that stand out: a reconstruction that stuck, a specimen that jumped, a spectrum that breaks the relation.

Every energy is told apart from its neighbours, because figures of merit change slowly over an edge. A measure of scatter
that outliers cannot move decides what is far (median absolute deviation; Hampel, JASA 69, 383 (1974)).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEIGHBOURS = 2
"""On either side."""
FAR_SIGMAS = 6.0
LEAST_ENERGIES = 5
LEAST_FACTOR = 1.5
"""R or a residual this many times its neighbours' at least."""
LEAST_JUMP_PX = 3.0


def standouts(energy_ev: Array, r_factor: Array, kk_residual: Array, shift_px: Array) -> list[str]:
    """What a user should look at, one sentence an energy and figure; none where all energies are alike.

    Parameters
    ----------
    energy_ev : (E,) float64 array, ascending
    r_factor : (E,) float array
        Of each energy's last cycle.
    kk_residual : (E,) float array
    shift_px : (E, 2) float array
        Where the specimen sits relative to its mean place.
    """
    found: list[str] = []
    for name, values in (("R", r_factor), ("Kramers-Kronig residual", kk_residual)):
        logarithm = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        excess = logarithm - neighbours(logarithm)
        found += [
            f"{energy_ev[e]:.1f} eV: {name} {values[e]:.3g} is {np.exp(excess[e]):.1f} times its neighbours'"
            for e in np.flatnonzero(is_far(excess, np.log(LEAST_FACTOR)) & (excess > 0))
        ]
    excess = shift_px - np.median(shift_px, axis=0)
    length = np.hypot(excess[:, 0], excess[:, 1])
    jumped = is_far(excess[:, 0], LEAST_JUMP_PX) | is_far(excess[:, 1], LEAST_JUMP_PX)
    return found + [
        f"{energy_ev[e]:.1f} eV: the specimen sits {length[e]:.1f} px from its place at the other energies"
        for e in np.flatnonzero(jumped)
    ]


def neighbours(values: Array) -> Array:
    """(E,) float64: median of the neighbours of each of ``values`` (E,), itself left out; fewer at the ends."""
    near = [np.r_[values[max(0, e - NEIGHBOURS) : e], values[e + 1 : e + 1 + NEIGHBOURS]] for e in range(len(values))]
    return np.array([np.median(part) if part.size else value for part, value in zip(near, values, strict=True)])


def is_far(excess: Array, least: float) -> NDArray[np.bool_]:
    """(E,) bool: beyond `FAR_SIGMAS` of the scatter of ``excess`` (E,) and beyond ``least``; never of too few."""
    scatter = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))
    return np.abs(excess) > max(FAR_SIGMAS * scatter, least) if len(excess) >= LEAST_ENERGIES else np.zeros(len(excess), bool)
