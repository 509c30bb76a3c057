"""Bounded least squares of any model of the spectrum, many pixels at a time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.fit import SpectrumFit, Status
from tasks.xanes.model import PARAMETERS, area_slopes
from tasks.xanes.models import EXTRA, SpectrumModel, by_name, check_model_energies

Array = NDArray[np.float64]

BLOCK: Final = 128
"""Spectra fitted at a time: their derivatives stay in a processor's cache."""
N_STARTS: Final = 96
"""Random shapes from which the mean spectrum is fitted; the best start of the pixels is its minimum."""
SHIFTS_EV: Final = (0.0, -2.0, 2.0)
"""A pixel is fitted from the shape of the mean spectrum, displaced by these."""
MAX_ITERATIONS: Final = 100
TOLERANCE: Final = 1e-7
"""Share of chi2 by which the last step lowers it; a step of an edge that a spectrum hardly shows changes little for long."""
FIRST_DAMPING: Final = 1e-2
MIN_DAMPING: Final = 1e-12
MAX_DAMPING: Final = 1e12
"""Of Levenberg and Marquardt, in units of the diagonal of the normal matrix."""
START_WIDTHS_EV: Final = (0.8, 8.0)
"""Widths of the features of random shapes, drawn evenly in their logarithm."""
RIDGE: Final = 1e-6
"""Share of the normal matrix's diagonal that is added to it, so that features that are alike get amplitudes too."""
NO_INFLUENCE: Final = 1e-200
"""A parameter has no influence on a spectrum where the diagonal of the normal matrix is no more than this."""
SINGULAR: Final = 1e-12
"""Directions whose share of the scaled normal matrix is less are left out of its inverse."""


@dataclass(frozen=True)
class ModelFit:
    """Fits of n spectra by a model that may have other parameters than eq. 1."""

    fit: SpectrumFit
    """Parameters that eq. 1 has too; those that this model lacks are NaN."""
    extra: Array
    """(9, n): the parameters of `tasks.xanes.models.EXTRA`, NaN where the model lacks them."""
    typical: Array | None
    """(P,): the model's parameters for the mean spectrum, from which the pixels start; none where no spectrum is finite."""


def fit_model(
    energy_ev: Array,
    absorption: NDArray[np.floating],
    sigma: Array,
    model: SpectrumModel,
    whole: NDArray[np.floating] | None = None,
) -> ModelFit:
    """Fit ``model`` to each of n spectra by bounded least squares (projected Levenberg-Marquardt).

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
        Ascending.
    absorption : (E, n) float array
        A column that is not finite is given a status.
    sigma : (E,) float64 array
        Standard deviation of one point at each energy.
    model : SpectrumModel
    whole : (E, m) float array, optional
        All spectra of the specimen, from whose mean the pixels start, so that no pixel depends on its tile.

    Raises
    ------
    EnergyGridError
        Fewer energies than parameters, or energies that do not reach over the edge.
    """
    check_model_energies(energy_ev, model)
    finite = np.all(np.isfinite(absorption), axis=0)
    spectra, weight = np.asarray(absorption[:, finite].T, dtype=np.float64), 1 / sigma
    n, n_parameters = absorption.shape[1], len(model.parameters)
    parameters, errors = np.full((2, n_parameters, n), np.nan)
    residual, chi2, area, ratio = np.full((4, n), np.nan)
    status = np.full(n, Status.MASKED_NOT_FINITE, dtype=np.int8)
    pool = np.asarray(absorption if whole is None else whole, dtype=np.float64)
    pool = pool[:, np.all(np.isfinite(pool), axis=0)]
    start = mean_shape(energy_ev, pool.mean(axis=1), weight, model) if pool.size else None
    indices = np.flatnonzero(finite) if start is not None else np.zeros(0, dtype=np.int64)
    for first in range(0, len(indices), BLOCK):
        block = indices[first : first + BLOCK]
        data = spectra[first : first + BLOCK]
        assert start is not None
        p, ended = _best_of(energy_ev, data, weight, model, start)
        found = _report(energy_ev, data, weight, model, p)
        parameters[:, block], errors[:, block] = p.T, found.sigma.T
        residual[block], chi2[block], area[block], ratio[block] = found.residual, found.chi2, found.area, found.ratio
        lower, upper = model.bounds()
        on_bound = np.any((p <= lower) | (p >= upper), axis=1)
        status[block] = np.where(ended, np.where(on_bound, Status.AT_BOUND, Status.OK), Status.NOT_CONVERGED)
    fit = SpectrumFit(
        by_name(model, parameters, PARAMETERS), by_name(model, errors, PARAMETERS), area, ratio, residual, chi2, status
    )
    return ModelFit(fit, by_name(model, parameters, EXTRA), start)


def mean_shape(energy_ev: Array, spectrum: Array, weight: Array, model: SpectrumModel) -> Array:
    """Parameters (P,) of the best of many fits of one spectrum (E,), whose starts do not depend on it."""
    rng = np.random.default_rng(0)
    lower, upper = model.bounds()
    starts = np.zeros((N_STARTS, lower.size))
    for feature in range((lower.size - 1) // 3):
        energy, width = 2 + 3 * feature, 3 + 3 * feature
        low, high = max(lower[energy], energy_ev[0]), min(upper[energy], energy_ev[-1])
        starts[:, energy] = rng.uniform(low, high, N_STARTS)
        narrow, wide = START_WIDTHS_EV
        starts[:, width] = np.exp(rng.uniform(np.log(narrow), np.log(wide), N_STARTS))
    spectra = np.broadcast_to(spectrum, (N_STARTS, spectrum.size))
    p, _, value = minimise(energy_ev, spectra, weight, model, with_amplitudes(energy_ev, spectra, weight, model, starts))
    best = p[np.argmin(value)]
    # the two pre-edge peaks are alike: the lower one is the first
    names = model.parameters
    if "pre_edge_2_energy" in names:
        first, second = names.index("pre_edge_height"), names.index("pre_edge_2_height")
        if best[first + 1] > best[second + 1]:
            best[first : first + 3], best[second : second + 3] = best[second : second + 3].copy(), best[first : first + 3].copy()
    return np.asarray(best)


def with_amplitudes(energy_ev: Array, spectra: Array, weight: Array, model: SpectrumModel, parameters: Array) -> Array:
    """``parameters`` (n, P) with the offset, jumps and heights that fit the spectra (n, E) best, negative ones as 0."""
    lower, _ = model.bounds()
    columns = np.swapaxes(model.shapes(energy_ev, parameters) * weight, 1, 2)
    normal = np.swapaxes(columns, 1, 2) @ columns
    normal += RIDGE * np.einsum("nff->nf", normal)[:, :, None] * np.eye(normal.shape[1])
    found = np.linalg.solve(normal, np.swapaxes(columns, 1, 2) @ (spectra * weight)[:, :, None])[:, :, 0]
    filled = parameters.copy()
    filled[:, [0, *range(1, lower.size, 3)]] = np.concatenate([found[:, :1], np.maximum(found[:, 1:], 0)], axis=1)
    return filled


def minimise(
    energy_ev: Array, spectra: Array, weight: Array, model: SpectrumModel, starts: Array
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Parameters (n, P) at a minimum within the bounds, whether each has converged (n,), and chi2 (n,).

    Levenberg-Marquardt (Madsen, Nielsen & Tingleff 2004) whose steps end at the bounds; a parameter on a bound that the
    gradient presses against it is held.
    """
    lower, upper = model.bounds()
    p = np.clip(starts, lower, upper)
    left, jacobian, value = _linearised(energy_ev, spectra, weight, model, p)
    damp, growth = np.full(len(p), FIRST_DAMPING), np.full(len(p), 2.0)
    done = np.zeros(len(p), dtype=bool)
    for _ in range(MAX_ITERATIONS):
        active = np.flatnonzero(~done)
        if not active.size:
            break
        step = _step(p[active], left[active], jacobian[active], damp[active], (lower, upper))
        trial = np.clip(p[active] + step, lower, upper)
        new_left, new_jacobian, new_value = _linearised(energy_ev, spectra[active], weight, model, trial)
        gain = value[active] - new_value
        better = gain >= 0
        done[active] = (np.abs(gain) <= TOLERANCE * value[active]) | (damp[active] > MAX_DAMPING)
        taken = active[better]
        p[taken], left[taken], jacobian[taken], value[taken] = (
            trial[better],
            new_left[better],
            new_jacobian[better],
            new_value[better],
        )
        damp[taken] = np.maximum(damp[taken] / 3, MIN_DAMPING)
        growth[taken] = 2.0
        refused = active[~better]
        damp[refused] *= growth[refused]
        growth[refused] *= 2
    return p, done, value


def _linearised(energy_ev: Array, spectra: Array, weight: Array, model: SpectrumModel, p: Array) -> tuple[Array, Array, Array]:
    """Weighted residuals (n, E), their derivatives (n, P, E) and chi2 (n,)."""
    value, derivatives = model.evaluate(energy_ev, p)
    left = (value - spectra) * weight
    return left, derivatives * weight, np.sum(left**2, axis=1)


def _step(p: Array, left: Array, jacobian: Array, damp: Array, bounds: tuple[Array, Array]) -> Array:
    """Damped Gauss-Newton steps (n, P); 0 for a parameter that is held on a bound."""
    gradient = np.einsum("npe,ne->np", jacobian, left)
    normal = jacobian @ np.swapaxes(jacobian, 1, 2)
    held = ((p <= bounds[0]) & (gradient > 0)) | ((p >= bounds[1]) & (gradient < 0))
    free = ~held[:, :, None] & ~held[:, None, :]
    scale = np.maximum(np.einsum("npp->np", normal), 1e-30)
    identity = np.eye(p.shape[1])
    # in units in which the diagonal is 1, or the damped matrix of an absent peak would be singular
    root = np.sqrt(scale)
    scaled = np.where(free, normal / (root[:, :, None] * root[:, None, :]), 0.0)
    scaled = scaled + (damp[:, None] + 1e-12 + held)[:, :, None] * identity
    solved = np.linalg.solve(scaled, np.where(held, 0.0, -gradient / root)[:, :, None])[:, :, 0]
    return np.asarray(solved / root)


def _best_of(
    energy_ev: Array, spectra: Array, weight: Array, model: SpectrumModel, start: Array
) -> tuple[Array, NDArray[np.bool_]]:
    """The best minimum of each spectrum (n, E) from the displaced shape ``start`` (P,), and whether it has converged."""
    best = np.full(len(spectra), np.inf)
    parameters, converged = np.zeros((len(spectra), start.size)), np.zeros(len(spectra), dtype=bool)
    for shift in SHIFTS_EV:
        shape = np.tile(start, (len(spectra), 1))
        shape[:, 2::3] += shift
        shape = np.clip(shape, *model.bounds())
        p, ended, value = minimise(energy_ev, spectra, weight, model, with_amplitudes(energy_ev, spectra, weight, model, shape))
        better = value < best
        best[better], parameters[better], converged[better] = value[better], p[better], ended[better]
    return parameters, converged


@dataclass(frozen=True)
class _Report:
    """Errors and misfits of n fits."""

    sigma: Array
    residual: Array
    chi2: Array
    area: Array
    ratio: Array


def _report(energy_ev: Array, spectra: Array, weight: Array, model: SpectrumModel, p: Array) -> _Report:
    """Standard errors from the covariance, scaled by the residual; a parameter without influence has an infinite one."""
    left, jacobian, chi2 = _linearised(energy_ev, spectra, weight, model, p)
    lower, upper = model.bounds()
    freedom = np.maximum(energy_ev.size - np.count_nonzero((p > lower) & (p < upper), axis=1), 1)
    normal = jacobian @ np.swapaxes(jacobian, 1, 2)
    covariance = inverse_normal(normal) * (chi2 / freedom)[:, None, None]
    seen = np.einsum("npp->np", normal) > NO_INFLUENCE
    sigma = np.where(seen, np.sqrt(np.maximum(np.einsum("npp->np", covariance), 0)), np.inf)
    residual = np.sqrt(np.sum((left / weight) ** 2, axis=1) / freedom)
    area, ratio = area_slopes(model.parameters, p)
    return _Report(sigma, residual, chi2, _along(covariance, area), _along(covariance, ratio))


def inverse_normal(normal: Array) -> Array:
    """Inverses of normal matrices, both (..., P, P), without directions that are singular to rounding.

    Rows and columns of a parameter that has no influence are 0.
    """
    diagonal = np.einsum("...pp->...p", normal)
    root = np.sqrt(np.where(diagonal > NO_INFLUENCE, diagonal, np.inf))
    # amplitudes and energies have very different units; only scaled, one threshold tells what is singular
    scale = root[..., :, None] * root[..., None, :]
    return np.asarray(np.linalg.pinv(normal / scale, rcond=SINGULAR, hermitian=True) / scale)


def _along(covariance: Array, slope: Array) -> Array:
    """Standard error (n,) of a function whose derivatives by the parameters are ``slope`` (n, P)."""
    return np.asarray(np.sqrt(np.maximum(np.einsum("np,npq,nq->n", slope, covariance, slope), 0)))
