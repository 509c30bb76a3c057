"""One spectrum's least-squares fit of eq. 1: a bounded Levenberg-Marquardt with active sets, compiled."""

import math
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

N_PARAMETERS: Final = 10
MAX_ITERATIONS: Final = 200
TOLERANCE: Final = 1e-10
"""A step that lowers chi2 by less than this fraction of it, in prediction and in fact, ends the fit."""

ROOT_PI: Final = math.sqrt(math.pi)
FAST: Final = frozenset(("contract", "reassoc", "nsz", "arcp"))

Vector = NDArray[np.float64]


@numba.njit(cache=True, nogil=True, fastmath=set(FAST), inline="always")
def evaluate(energy: Vector, spectrum: Vector, weight: Vector, p: Vector, pieces: Vector, residual: Vector) -> float:
    """Sum of squared weighted residuals of eq. 1; fills ``residual`` (E,) and the ``pieces`` (6, E) of its Jacobian."""
    chi2 = 0.0
    for e in range(energy.size):
        u = (energy[e] - p[2]) / p[3]
        t1 = (energy[e] - p[5]) / p[6]
        t2 = (energy[e] - p[8]) / p[9]
        step = 0.5 + 0.5 * math.erf(u)
        q1 = 1.0 / (1.0 + t1 * t1)
        q2 = 1.0 / (1.0 + t2 * t2)
        difference = weight[e] * (p[0] + p[1] * step + p[4] * q1 + p[7] * q2 - spectrum[e])
        pieces[0, e] = step
        pieces[1, e] = u
        pieces[2, e] = q1
        pieces[3, e] = t1
        pieces[4, e] = q2
        pieces[5, e] = t2
        residual[e] = difference
        chi2 += difference * difference
    return chi2


@numba.njit(cache=True, nogil=True, fastmath=set(FAST))
def differentiate(weight: Vector, p: Vector, pieces: Vector, jacobian: Vector) -> None:
    """Weighted derivatives (10, E) of eq. 1 from the ``pieces`` (6, E) left by `evaluate`."""
    bell_scale = -p[1] / (ROOT_PI * p[3])
    for e in range(weight.size):
        w = weight[e]
        u = pieces[1, e]
        bell = w * bell_scale * math.exp(-u * u)
        q1 = pieces[2, e]
        q2 = pieces[4, e]
        slope1 = w * 2.0 * p[4] / p[6] * q1 * q1 * pieces[3, e]
        slope2 = w * 2.0 * p[7] / p[9] * q2 * q2 * pieces[5, e]
        jacobian[0, e] = w
        jacobian[1, e] = w * pieces[0, e]
        jacobian[2, e] = bell
        jacobian[3, e] = bell * u
        jacobian[4, e] = w * q1
        jacobian[5, e] = slope1
        jacobian[6, e] = slope1 * pieces[3, e]
        jacobian[7, e] = w * q2
        jacobian[8, e] = slope2
        jacobian[9, e] = slope2 * pieces[5, e]


@numba.njit(cache=True, nogil=True, fastmath=set(FAST))
def normal_equations(jacobian: Vector, residual: Vector, normal: Vector, gradient: Vector) -> None:
    """Lower triangle of J J^T (10, 10) and J r (10,) of a (10, E) Jacobian."""
    for i in range(N_PARAMETERS):
        total = 0.0
        for e in range(residual.size):
            total += jacobian[i, e] * residual[e]
        gradient[i] = total
        for j in range(i + 1):
            total = 0.0
            for e in range(residual.size):
                total += jacobian[i, e] * jacobian[j, e]
            normal[i, j] = total


@numba.njit(cache=True, nogil=True)
def factorise(matrix: Vector, damping: Vector, free: Vector, factor: Vector) -> bool:
    """Cholesky factor of ``matrix + diag(damping)`` on the free parameters, the identity on the others."""
    for i in range(N_PARAMETERS):
        for j in range(i + 1):
            if not (free[i] and free[j]):
                factor[i, j] = 1.0 if i == j else 0.0
                continue
            total = matrix[i, j]
            if i == j:
                total += damping[i]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                factor[i, i] = math.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
    return True


@numba.njit(cache=True, nogil=True)
def substitute(factor: Vector, x: Vector) -> None:
    """Solve ``L L^T x = x`` in place."""
    for i in range(N_PARAMETERS):
        total = x[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]
    for i in range(N_PARAMETERS - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, N_PARAMETERS):
            total -= factor[k, i] * x[k]
        x[i] = total / factor[i, i]


@numba.njit(cache=True, nogil=True)
def bounded_step(
    p: Vector, lower: Vector, upper: Vector, normal: Vector, gradient: Vector,
    damping: Vector, free: Vector, factor: Vector, step: Vector,
) -> bool:  # fmt: skip
    """Damped Gauss-Newton step inside the box; parameters that would leave it are put on it and the rest solved again.

    Returns False where the damped matrix is not positive definite.
    """
    for i in range(N_PARAMETERS):
        held = (p[i] <= lower[i] and gradient[i] > 0.0) or (p[i] >= upper[i] and gradient[i] < 0.0)
        free[i] = 0.0 if held else 1.0
        step[i] = 0.0
    fixed = np.zeros(N_PARAMETERS)
    for _ in range(N_PARAMETERS):
        if not factorise(normal, damping, free, factor):
            return False
        for i in range(N_PARAMETERS):
            if free[i] == 0.0:
                step[i] = fixed[i]
                continue
            total = -gradient[i]
            for j in range(N_PARAMETERS):
                if fixed[j] != 0.0:
                    total -= (normal[i, j] if j <= i else normal[j, i]) * fixed[j]
            step[i] = total
        substitute(factor, step)
        crossed = False
        for i in range(N_PARAMETERS):
            if free[i] == 0.0:
                continue
            if p[i] + step[i] < lower[i]:
                fixed[i] = lower[i] - p[i]
            elif p[i] + step[i] > upper[i]:
                fixed[i] = upper[i] - p[i]
            else:
                continue
            free[i] = 0.0
            crossed = True
        if not crossed:
            return True
    return True


@numba.njit(cache=True, nogil=True)
def minimise(
    energy: Vector, spectrum: Vector, weight: Vector, lower: Vector, upper: Vector,
    centre: Vector, pull: Vector, p: Vector, max_iterations: int, tolerance: float,
    pieces: Vector, residual: Vector, jacobian: Vector, normal: Vector,
) -> tuple[float, int, bool]:  # fmt: skip
    """Move ``p`` (10,), within its bounds, to a minimum of ``|w (eq1 - y)|^2 + |(p - centre) pull|^2``.

    Returns
    -------
    objective, iterations, converged
        ``normal`` (10, 10) is left holding the lower triangle of J^T J at ``p``, the pull not included.
    """
    factor = np.empty((N_PARAMETERS, N_PARAMETERS))
    gradient = np.empty(N_PARAMETERS)
    damping = np.empty(N_PARAMETERS)
    free = np.empty(N_PARAMETERS)
    step = np.empty(N_PARAMETERS)
    trial = np.empty(N_PARAMETERS)
    floor = np.zeros(N_PARAMETERS)
    curved = np.empty((N_PARAMETERS, N_PARAMETERS))
    objective = evaluate(energy, spectrum, weight, p, pieces, residual)
    for i in range(N_PARAMETERS):
        objective += ((p[i] - centre[i]) * pull[i]) ** 2
    damp, growth = 1e-2, 2.0
    fresh = True
    for iteration in range(max_iterations):
        if fresh:
            differentiate(weight, p, pieces, jacobian)
            normal_equations(jacobian, residual, normal, gradient)
            for i in range(N_PARAMETERS):
                for j in range(i + 1):
                    curved[i, j] = normal[i, j]
                curved[i, i] += pull[i] ** 2
                gradient[i] += pull[i] ** 2 * (p[i] - centre[i])
                floor[i] = max(floor[i] * 0.5, curved[i, i], 1e-30)
            fresh = False
        for i in range(N_PARAMETERS):
            damping[i] = damp * floor[i]
        if not bounded_step(p, lower, upper, curved, gradient, damping, free, factor, step):
            damp *= 10.0
            continue
        predicted = 0.0
        for i in range(N_PARAMETERS):
            along = 0.5 * curved[i, i] * step[i]
            for j in range(i):
                along += curved[i, j] * step[j]
            predicted -= 2.0 * step[i] * (gradient[i] + along)
            trial[i] = min(max(p[i] + step[i], lower[i]), upper[i])
        value = evaluate(energy, spectrum, weight, trial, pieces, residual)
        for i in range(N_PARAMETERS):
            value += ((trial[i] - centre[i]) * pull[i]) ** 2
        gained = objective - value
        small = tolerance * objective
        if gained >= 0.0:
            ratio = gained / predicted if predicted > 0.0 else 0.0
            for i in range(N_PARAMETERS):
                p[i] = trial[i]
            objective = value
            fresh = True
            damp *= max(0.1, 1.0 - (2.0 * ratio - 1.0) ** 3)
            damp = max(damp, 1e-12)
            growth = 2.0
        else:
            damp *= growth
            growth *= 2.0
        if predicted <= small and abs(gained) <= small:
            if not fresh:
                evaluate(energy, spectrum, weight, p, pieces, residual)
            differentiate(weight, p, pieces, jacobian)
            normal_equations(jacobian, residual, normal, gradient)
            return objective, iteration + 1, True
        if damp > 1e16:
            break
    evaluate(energy, spectrum, weight, p, pieces, residual)
    differentiate(weight, p, pieces, jacobian)
    normal_equations(jacobian, residual, normal, gradient)
    return objective, max_iterations, False
