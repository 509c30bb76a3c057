"""Pixels explained as mixtures of reference spectra."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError
from tasks.xanes.references.xdi import Reference

MAX_REFERENCES: Final = 8
"""Mixtures of more compounds than this cannot be told apart on forty energies."""


@dataclass(frozen=True)
class Mixture:
    """Pixels explained as mixtures of references.

    Parameters
    ----------
    fraction : (m, n) float64 array
        Share of each reference, none negative, summing to 1; NaN where no mixture with a positive jump fits.
    fraction_sigma : (m, n) float64 array
        One standard error of each, scaled by the residual; of shares that are zero, as if they were free.
    edge_jump : (n,) float64 array
        Step of the mixture, in the unit of the spectra.
    residual : (n,) float64 array
        Standard deviation of one data point about the mixture, in the unit of the spectra.
    """

    fraction: NDArray[np.float64]
    fraction_sigma: NDArray[np.float64]
    edge_jump: NDArray[np.float64]
    residual: NDArray[np.float64]


def linear_combination(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.floating], references: Sequence[Reference]
) -> Mixture:
    """Explain each spectrum as ``offset + jump * sum_i f_i reference_i(E)`` with ``f_i >= 0`` and ``sum_i f_i = 1``.

    The least-squares solution is exact: every subset of the references is solved without constraint, and of those
    without a negative share the best is kept.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    absorption : (E, n) float array
        One spectrum a column, in any unit; neither offset nor jump need be known.
    references : two to eight `Reference`
        Normalised; interpolated linearly to the energies.

    Raises
    ------
    InvalidOptionError
        Too few or too many references, or one that does not cover the energies.
    """
    columns = _design(energy_ev, references)
    data = np.asarray(absorption, dtype=np.float64)
    m, n = len(references), data.shape[1]
    best = np.full(n, np.inf)
    shares = np.full((m, n), np.nan)
    for size in range(1, m + 1):
        for subset in combinations(range(m), size):
            part = columns[:, [0, *(i + 1 for i in subset)]]
            solution = np.linalg.lstsq(part, data, rcond=None)[0]
            misfit = np.square(data - part @ solution).sum(axis=0)
            better = (misfit < best) & np.all(solution[1:] > 0, axis=0)
            best[better] = misfit[better]
            shares[:, better] = 0.0
            shares[np.ix_(subset, better)] = solution[1:, better]
    jump = shares.sum(axis=0)
    residual = np.sqrt(np.where(np.isfinite(best), best, np.nan) / max(len(columns) - m - 1, 1))
    return Mixture(shares / jump, _share_errors(columns, shares, residual), jump, residual)


def _design(energy_ev: NDArray[np.float64], references: Sequence[Reference]) -> NDArray[np.float64]:
    """A column of ones and one a reference, at the measured energies (E, 1 + m)."""
    energy = np.asarray(energy_ev, dtype=np.float64)
    if not 2 <= len(references) <= MAX_REFERENCES:
        raise InvalidOptionError(f"a mixture needs 2 to {MAX_REFERENCES} references, got {len(references)}")
    for reference in references:
        low, high = reference.energy_ev[0], reference.energy_ev[-1]
        if low > energy[0] or high < energy[-1]:
            raise InvalidOptionError(
                f"reference {reference.name!r} covers {low:.1f} to {high:.1f} eV, the measurement {energy[0]:.1f} to "
                f"{energy[-1]:.1f} eV; it must cover all of it"
            )
    return np.stack([np.ones_like(energy), *(np.interp(energy, r.energy_ev, r.absorption) for r in references)], axis=1)


def _share_errors(
    columns: NDArray[np.float64], shares: NDArray[np.float64], residual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard errors (m, n) of the shares c_i / sum c, from the covariance of c."""
    covariance = np.linalg.pinv(columns.T @ columns)[1:, 1:]
    jump = shares.sum(axis=0)
    slope = (np.eye(len(shares))[:, :, None] - (shares / jump)[:, None, :]) / jump
    return np.asarray(residual * np.sqrt(np.einsum("ijn,jk,ikn->in", slope, covariance, slope)))
