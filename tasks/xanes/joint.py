"""Fit of eq. 1 to absorption and phase together: the phase follows the Kramers-Kronig partner of eq. 1, plus the columns T.

The projection of `tasks.coupling.projection` moves any spectrum to the nearest Kramers-Kronig pair; here the model is a
Kramers-Kronig pair itself. The amounts of the columns T are not parameters: the phase is compared off their span.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError
from tasks.xanes.bounds import RELATIVE, bounds
from tasks.xanes.compiled.kernel import N_RESULTS, refine_all
from tasks.xanes.compiled.partner_curve import phase_terms
from tasks.xanes.compiled.solver import make_workspace
from tasks.xanes.fit import SpectrumFit, Status, fit_problem, fit_spectra, spectrum_fit
from tasks.xanes.prior import Prior

Array = NDArray[np.float64]

BLOCK: Final = 4096
"""Spectra transposed at a time."""


@dataclass(frozen=True)
class Pairs:
    """Absorption and phase spectra of n pixels, as at the wavelength of the edge, and their standard errors.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    absorption, electrons : (E, n) float arrays
        Absorption, and minus the phase, both times E / E_edge (`tasks.xanes.fit.at_edge_wavelength`).
    sigma_absorption, sigma_phase : (E,) float64 arrays
        Standard errors of both, in the same unit.
    columns : (E, C) float64 array
        T of `tasks.coupling.kkr.outside_columns`, in any unit.
    """

    energy_ev: Array
    absorption: NDArray[np.floating]
    electrons: NDArray[np.floating]
    sigma_absorption: Array
    sigma_phase: Array
    columns: Array


def fit_pairs(pairs: Pairs, edge_energy_ev: float, prior: Prior | None = None) -> SpectrumFit:
    """Fit eq. 1 and its partner to n pixels by bounded least squares, from where the fit of the absorption alone ended.

    ``residual`` is that of the absorption; errors are scaled by the misfit of both. A pixel whose phase is not finite has
    the status ``MASKED_NOT_FINITE`` and keeps the fit of its absorption.

    Raises
    ------
    EnergyGridError, InvalidOptionError
    """
    if np.shape(pairs.electrons) != np.shape(pairs.absorption):
        raise InvalidOptionError(
            f"absorption and phase must have one shape, got {np.shape(pairs.absorption)}, {np.shape(pairs.electrons)}"
        )
    alone = fit_spectra(pairs.energy_ev, pairs.absorption, pairs.sigma_absorption, edge_energy_ev, prior)
    fitted = np.isin(alone.status, (Status.OK, Status.AT_BOUND, Status.NOT_CONVERGED))
    finite = np.all(np.isfinite(pairs.electrons), axis=0)
    alone.status[fitted & ~finite] = Status.MASKED_NOT_FINITE
    indices = np.flatnonzero(fitted & finite)
    terms = phase_terms(pairs.energy_ev, pairs.sigma_phase, pairs.columns)
    problem = fit_problem(pairs.energy_ev, 1 / pairs.sigma_absorption, edge_energy_ev, prior)
    workspace = make_workspace(2 * pairs.energy_ev.size)
    for first in range(0, len(indices), BLOCK):
        block = indices[first : first + BLOCK]
        phase = pairs.electrons[:, block].T * terms.weight
        phase -= phase @ terms.columns.T @ terms.columns
        spectra = np.concatenate([pairs.absorption[:, block].T, phase], axis=1, dtype=np.float64)
        starts = np.clip((alone.parameters[:, block].T - RELATIVE * edge_energy_ev), *bounds(0.0))
        result, ended = np.empty((len(block), N_RESULTS)), np.empty(len(block), np.int8)
        refine_all(problem, terms, spectra, starts, workspace, result, ended)
        _replace(alone, spectrum_fit(result.T, ended, edge_energy_ev), block)
    return alone


def _replace(fits: SpectrumFit, better: SpectrumFit, pixels: NDArray[np.int64]) -> None:
    """Put the fits ``better`` in the place of those of some pixels, in place."""
    for field in fields(SpectrumFit):
        getattr(fits, field.name)[..., pixels] = getattr(better, field.name)
