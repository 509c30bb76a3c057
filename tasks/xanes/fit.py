"""Eq. 1 fitted to the spectrum of every pixel: ten parameters, their standard errors, and a status."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.options.spectra import FitOptions
from tasks.xanes.bounds import RELATIVE, bounds
from tasks.xanes.compiled.kernel import N_RESULTS, fit_all, make_search_workspace, refine_all
from tasks.xanes.compiled.partner_curve import phase_terms
from tasks.xanes.compiled.solver import Problem, make_workspace
from tasks.xanes.compiled.start import shape_table
from tasks.xanes.model import PARAMETERS
from tasks.xanes.prior import Prior, population_prior, prior_around

MIN_ENERGIES: Final = len(PARAMETERS)
"""Fewest energies that determine eq. 1."""

BLOCK: Final = 4096
"""Spectra transposed at a time."""

PRIOR_SAMPLE: Final = 4000
"""Most spectra that a prior is made from."""


class Status(IntEnum):
    """What became of a pixel."""

    OK = 0
    """Fitted; every parameter inside its bounds."""
    AT_BOUND = 1
    """Fitted; at least one parameter lies on a bound, so its true value may lie beyond."""
    NOT_CONVERGED = 2
    """The fit ran out of iterations; the parameters are the best it saw."""
    MASKED_VACUUM = 3
    """Outside the specimen; not fitted, parameters NaN."""
    MASKED_JUMP = 4
    """The edge jump is too small for its noise (`tasks.xanes.mask.mask_pixels`)."""
    MASKED_NOT_FINITE = 5
    """The spectrum holds NaN or infinity; not fitted, parameters NaN."""


@dataclass(frozen=True)
class SpectrumFit:
    """Fits of n spectra.

    Parameters
    ----------
    parameters : (10, n) float64 array
        In the order of `tasks.xanes.model.PARAMETERS`; energies are absolute [eV].
    sigma : (10, n) float64 array
        One standard error of each, from the covariance scaled by the residual; infinite where the data say nothing
        about a parameter (the energy of a peak of height zero).
    pre_edge_area_sigma, pre_edge_ratio_sigma : (n,) float64 arrays
        One standard error of PE = pi c11 c13 and of PE/dmu [eV], with the correlations of their factors.
    residual : (n,) float64 array
        Standard deviation of one data point about the fit, ``sqrt(sum r^2 / (E - free parameters))``, in the unit of
        the absorption.
    chi2 : (n,) float64 array
        Weighted sum of squared residuals, in units of ``sigma`` where that was given.
    status : (n,) int8 array
        A `Status` each.
    """

    parameters: NDArray[np.float64]
    sigma: NDArray[np.float64]
    pre_edge_area_sigma: NDArray[np.float64]
    pre_edge_ratio_sigma: NDArray[np.float64]
    residual: NDArray[np.float64]
    chi2: NDArray[np.float64]
    status: NDArray[np.int8]


def check_energies(energy_ev: NDArray[np.float64], edge_energy_ev: float) -> None:
    """Raise `EnergyGridError` unless the energies (E,) [eV] can determine eq. 1 at this edge."""
    energy = np.asarray(energy_ev, dtype=np.float64)
    if energy.ndim != 1 or energy.size < MIN_ENERGIES:
        raise EnergyGridError(
            f"the fit of eq. 1 needs at least {MIN_ENERGIES} energies, one for each parameter; got {energy.size}. "
            "Measure more energies, or run the reconstruction alone"
        )
    if not np.all(np.isfinite(energy)) or np.any(np.diff(energy) <= 0):
        raise EnergyGridError(f"energies must be finite, distinct and ascending; got {energy.tolist()}")
    if energy[0] >= edge_energy_ev or energy[-1] <= edge_energy_ev:
        raise EnergyGridError(
            f"energies must lie on both sides of the absorption edge at {edge_energy_ev:.1f} eV; got "
            f"{energy[0]:.1f} to {energy[-1]:.1f} eV. Is it another element or edge, or is the axis not in eV?"
        )


def fit_spectra(
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.floating],
    sigma: NDArray[np.float64] | None,
    edge_energy_ev: float,
    prior: Prior | None = None,
) -> SpectrumFit:
    """Fit eq. 1 to each of n spectra by bounded least squares.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
        Ascending, at least ten, on both sides of the edge.
    absorption : (E, n) float array
        One spectrum a column, in any unit; a column that is not finite is given a status, not an error.
    sigma : (E,) float64 array, optional
        Standard deviation of one point at each energy, in the unit of the absorption; all alike where absent. Only
        their ratios weigh (and their size against a prior): errors are scaled by the residual.
    edge_energy_ev : float
        Tabulated edge of the absorber [eV]; bounds and starts are relative to it.
    prior : Prior, optional
        Where parameters are drawn to; one for all tiles of a specimen (`find_prior`).

    Raises
    ------
    EnergyGridError
        The energies cannot determine eq. 1.
    InvalidOptionError
        ``absorption`` or ``sigma`` do not match the energies.
    """
    energy = np.asarray(energy_ev, dtype=np.float64)
    check_energies(energy, edge_energy_ev)
    _check_shapes(energy, absorption, sigma)
    weight = np.ones_like(energy) if sigma is None else 1.0 / np.asarray(sigma, dtype=np.float64)
    return _fit(energy, absorption, weight, edge_energy_ev, prior)


def compile_ahead() -> None:
    """Compile the solver into numba's cache, once an installation, which takes half a minute of one core.

    A process that compiles it and one that loads it differ in the last bits of a fit; after this, all load it.
    """
    energy = np.linspace(-40.0, 60.0, 2 * MIN_ENERGIES)
    step = np.repeat((energy > 10.0).astype(np.float64)[:, None], 2, axis=1)
    found = fit_spectra(energy + 100.0, step, None, 100.0)
    problem = fit_problem(energy + 100.0, np.ones_like(energy), 100.0, None)
    terms = phase_terms(energy + 100.0, np.ones_like(energy), np.ones((energy.size, 1)))
    pairs = np.ascontiguousarray(np.concatenate([step, step]).T)
    starts = np.ascontiguousarray(np.clip(found.parameters.T - RELATIVE * 100.0, *bounds(0.0)))
    result, status = np.empty((2, N_RESULTS)), np.empty(2, np.int8)
    refine_all(problem, terms, pairs, starts, make_workspace(2 * energy.size), result, status)


def at_edge_wavelength(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.floating], edge_energy_ev: float
) -> NDArray[np.float64]:
    """Absorption (E, ...) times E / E_edge, as it would be were all energies measured at the wavelength of the edge.

    A = r_e lambda N f'', and it is f'' that eq. 1 describes. Fitted as it is, the 2 % by which lambda falls over 120 eV
    makes the edge jump 1.2 % too small and leaves a misfit of 0.16 % of the jump; so corrected, 0.1 % and 0.02 %.
    """
    energy = np.asarray(energy_ev, dtype=np.float64).reshape((-1,) + (1,) * (np.ndim(absorption) - 1))
    return np.asarray(absorption * (energy / edge_energy_ev))


def find_prior(
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.floating],
    sigma: NDArray[np.float64] | None,
    edge_energy_ev: float,
    options: FitOptions,
) -> Prior | None:
    """What the spectra (E, n) of a specimen say of the shapes of each, as ``options.prior`` wants it.

    Parameters are those of `fit_spectra`.

    Raises
    ------
    EnergyGridError, InvalidOptionError
    """
    finite = np.flatnonzero(np.all(np.isfinite(absorption), axis=0))
    if options.prior == "none" or not finite.size:
        return None
    sample = absorption[:, finite[:: -(-finite.size // PRIOR_SAMPLE)]]
    alone = fit_spectra(energy_ev, sample, sigma, edge_energy_ev)
    noise = float(np.sqrt(np.median(alone.chi2) / max(len(energy_ev) - MIN_ENERGIES, 1)))
    if options.prior == "population":
        inside = alone.status == Status.OK
        return population_prior(alone.parameters[:, inside], alone.sigma[:, inside], noise)
    mean = absorption[:, finite].mean(axis=1, dtype=np.float64)[:, None]
    return prior_around(fit_spectra(energy_ev, mean, None, edge_energy_ev).parameters[:, 0], noise)


def _fit(
    energy: NDArray[np.float64],
    absorption: NDArray[np.floating],
    weight: NDArray[np.float64],
    edge_energy_ev: float,
    prior: Prior | None,
) -> SpectrumFit:
    problem = fit_problem(energy, weight, edge_energy_ev, prior)
    table = shape_table(problem.energy, weight)
    n = absorption.shape[1]
    out = np.empty((N_RESULTS, n))
    status = np.empty(n, dtype=np.int8)
    workspace, search_workspace = make_workspace(energy.size), make_search_workspace(table)
    for first in range(0, n, BLOCK):
        block = slice(first, min(first + BLOCK, n))
        spectra = np.ascontiguousarray(absorption[:, block].T, dtype=np.float64)
        result = np.empty((len(spectra), N_RESULTS))
        fit_all(problem, table, spectra, workspace, search_workspace, result, status[block])
        out[:, block] = result.T
    return spectrum_fit(out, status, edge_energy_ev)


def fit_problem(
    energy_ev: NDArray[np.float64], weight: NDArray[np.float64], edge_energy_ev: float, prior: Prior | None
) -> Problem:
    """The problem that the compiled minimiser solves, its energies measured from the tabulated edge."""
    lower, upper = bounds(0.0)
    centre, precision = _prior_terms(prior, edge_energy_ev)
    return Problem(energy_ev - edge_energy_ev, weight, lower, upper, centre, precision)


def spectrum_fit(rows: NDArray[np.float64], status: NDArray[np.int8], edge_energy_ev: float) -> SpectrumFit:
    """Results (24, n) of `tasks.xanes.compiled.kernel.fit_all` by their names, energies absolute."""
    parameters = rows[:10] + RELATIVE[:, None] * edge_energy_ev
    return SpectrumFit(parameters, rows[10:20], rows[20], rows[21], rows[22], rows[23], status)


def _check_shapes(energy: NDArray[np.float64], absorption: NDArray[np.floating], sigma: NDArray[np.float64] | None) -> None:
    if absorption.ndim != 2 or absorption.shape[0] != energy.size:
        raise InvalidOptionError(
            f"absorption must be (E, n) with E = {energy.size} energies, one spectrum a column; got {absorption.shape}"
        )
    if sigma is None:
        return
    if np.shape(sigma) != energy.shape or not np.all(np.isfinite(sigma)) or np.any(np.asarray(sigma) <= 0):
        raise InvalidOptionError(
            f"sigma must be one positive standard deviation for each of {energy.size} energies; got {sigma!r}"
        )


def _prior_terms(prior: Prior | None, edge_energy_ev: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre and precision (10,) of the Gaussian priors, energies from the edge; precision 0 without a prior."""
    if prior is None:
        return np.zeros(len(PARAMETERS)), np.zeros(len(PARAMETERS))
    return prior.centre - RELATIVE * edge_energy_ev, np.square(prior.noise / prior.sd)
