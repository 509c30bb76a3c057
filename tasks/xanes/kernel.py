"""The loop over spectra, compiled: start, minimise, errors."""

import math
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from tasks.xanes.solver import MAX_ITERATIONS, N_PARAMETERS, TOLERANCE, factorise, minimise, substitute
from tasks.xanes.start import best_shapes

N_STARTS: Final = 2
"""Shapes of the table that are fitted to the end; the better fit is kept."""

APART_EV: Final = 2.9
"""Starts whose edge energies are closer than this, and white lines closer than twice it, are the same start."""

Matrix = NDArray[np.float64]


@numba.njit(cache=True, nogil=True)
def begin(
    energy: Matrix, spectrum: Matrix, weight: Matrix,
    members: Matrix, inverse: Matrix, shape: Matrix, product: Matrix, p: Matrix,
) -> None:  # fmt: skip
    """Fill ``p`` (10,) with one shape of the table and its least-squares offset, jump and heights."""
    r0, r1, r2 = product[members[0]], product[members[1]], product[members[2]]
    p[1] = inverse[0] * r0 + inverse[1] * r1 + inverse[2] * r2
    p[4] = inverse[1] * r0 + inverse[3] * r1 + inverse[4] * r2
    p[7] = inverse[2] * r0 + inverse[4] * r1 + inverse[5] * r2
    p[2], p[3], p[5], p[6], p[8], p[9] = shape
    total, norm = 0.0, 0.0
    for e in range(energy.size):
        step = 0.5 + 0.5 * math.erf((energy[e] - p[2]) / p[3])
        peaks = p[4] / (1.0 + ((energy[e] - p[5]) / p[6]) ** 2) + p[7] / (1.0 + ((energy[e] - p[8]) / p[9]) ** 2)
        total += weight[e] ** 2 * (spectrum[e] - p[1] * step - peaks)
        norm += weight[e] ** 2
    p[0] = total / norm


@numba.njit(cache=True, nogil=True)
def errors(p: Matrix, normal: Matrix, pull: Matrix, variance: float, out: Matrix) -> None:
    """Standard errors (12,): of the ten parameters, of PE and of PE/dmu, from ``normal`` = J^T J of weighted residuals.

    A parameter on a bound is not held there: what lies beyond the bound is unknown too. A parameter without any
    influence on the spectrum is left out and its error is infinite.
    """
    scale = np.empty(N_PARAMETERS)
    free = np.ones(N_PARAMETERS)
    none = np.zeros(N_PARAMETERS)
    matrix = np.zeros((N_PARAMETERS, N_PARAMETERS))
    factor = np.empty((N_PARAMETERS, N_PARAMETERS))
    for i in range(N_PARAMETERS):
        scale[i] = math.sqrt(normal[i, i] / variance + pull[i] ** 2)
        if not scale[i] > 1e-150:
            free[i] = 0.0
    for i in range(N_PARAMETERS):
        for j in range(i + 1):
            if free[i] and free[j]:
                matrix[i, j] = normal[i, j] / variance / (scale[i] * scale[j])
        matrix[i, i] = 1.0
    out[:] = math.inf
    for _ in range(8):
        if factorise(matrix, none, free, factor):
            break
        none += 1e-13 if none[0] == 0.0 else 9.0 * none[0]
    else:
        return
    column = np.empty(N_PARAMETERS)
    for i in range(N_PARAMETERS):
        if free[i]:
            column[:] = 0.0
            column[i] = 1.0
            substitute(factor, column)
            out[i] = math.sqrt(column[i]) / scale[i]
    slope = np.zeros(N_PARAMETERS)
    slope[4] = math.pi * p[6]
    slope[6] = math.pi * p[4]
    out[10] = along(slope, scale, free, factor, column)
    if p[1] > 0.0:
        slope[4] /= p[1]
        slope[6] /= p[1]
        slope[1] = -math.pi * p[4] * p[6] / p[1] ** 2
        out[11] = along(slope, scale, free, factor, column)


@numba.njit(cache=True, nogil=True)
def along(slope: Matrix, scale: Matrix, free: Matrix, factor: Matrix, column: Matrix) -> float:
    """Standard error of a function whose derivatives by the parameters are ``slope`` (10,)."""
    for i in range(N_PARAMETERS):
        column[i] = slope[i] / scale[i] if free[i] else 0.0
    substitute(factor, column)
    total = 0.0
    for i in range(N_PARAMETERS):
        if free[i]:
            total += column[i] * slope[i] / scale[i]
    return math.sqrt(max(total, 0.0))


@numba.njit(cache=True, nogil=True)
def fit_all(
    energy: Matrix, spectra: Matrix, weight: Matrix, lower: Matrix, upper: Matrix, centre: Matrix, pull: Matrix,
    basis: Matrix, members: Matrix, inverse: Matrix, shape: Matrix,
) -> tuple[Matrix, NDArray[np.int8]]:  # fmt: skip
    """Fit n spectra (n, E).

    Returns
    -------
    result : (n, 26) float64 array
        Parameters 0-9, standard errors 10-19, of PE 20, of PE/dmu 21, residual 22, chi2 23, iterations 24, objective
        25;
        NaN for a spectrum that is not finite.
    status : (n,) int8 array
        As in `tasks.xanes.fit.Status`: 0, 1, 2 or 5.
    """
    n, n_energies = spectra.shape
    result = np.full((n, 26), np.nan)
    status = np.full(n, 5, dtype=np.int8)
    pieces = np.empty((6, n_energies))
    residual = np.empty(n_energies)
    jacobian = np.empty((N_PARAMETERS, n_energies))
    normal = np.empty((N_PARAMETERS, N_PARAMETERS))
    gain = np.empty(members.shape[0])
    product = np.empty(basis.shape[0] + 1)
    p = np.empty(N_PARAMETERS)
    for i in range(n):
        spectrum = spectra[i]
        if not np.all(np.isfinite(spectrum)):
            continue
        best_shapes(spectrum * weight, basis, members, inverse, product, gain)
        best = math.inf
        iterations = 0
        for _ in range(N_STARTS):
            k = np.argmax(gain)
            if best < math.inf and gain[k] <= 0.0:
                break
            begin(energy, spectrum, weight, members[k], inverse[k], shape[k], product, p)
            for j in range(N_PARAMETERS):
                p[j] = min(max(p[j], lower[j]), upper[j])
            for q in range(gain.size):
                near = abs(shape[q, 0] - shape[k, 0]) < APART_EV and abs(shape[q, 4] - shape[k, 4]) < 2 * APART_EV
                if near:
                    gain[q] = 0.0
            value, spent, converged = minimise(
                energy, spectrum, weight, lower, upper, centre, pull, p, MAX_ITERATIONS, TOLERANCE,
                pieces, residual, jacobian, normal,
            )  # fmt: skip
            iterations += spent
            if value < best:
                best = value
                _record(p, weight, residual, normal, lower, upper, centre, pull, result[i])
                status[i] = 2 if not converged else _at_bound(p, lower, upper)
        result[i, 24], result[i, 25] = iterations, best
    return result, status


@numba.njit(cache=True, nogil=True)
def _at_bound(p: Matrix, lower: Matrix, upper: Matrix) -> int:
    for j in range(N_PARAMETERS):
        if p[j] <= lower[j] or p[j] >= upper[j]:
            return 1
    return 0


@numba.njit(cache=True, nogil=True)
def _record(
    p: Matrix, weight: Matrix, residual: Matrix, normal: Matrix,
    lower: Matrix, upper: Matrix, centre: Matrix, pull: Matrix, row: Matrix,
) -> None:  # fmt: skip
    n_free = 0
    for j in range(N_PARAMETERS):
        row[j] = p[j]
        if lower[j] < p[j] < upper[j]:
            n_free += 1
    chi2, plain = 0.0, 0.0
    for e in range(weight.size):
        chi2 += residual[e] ** 2
        plain += (residual[e] / weight[e]) ** 2
    freedom = max(weight.size - n_free, 1)
    row[22] = math.sqrt(plain / freedom)
    row[23] = chi2
    errors(p, normal, pull, max(chi2 / freedom, 1e-300), row[10:22])
