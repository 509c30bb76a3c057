"""A bounded Levenberg-Marquardt for one spectrum, compiled: active sets, a step that stops at the walls."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.compiled.cholesky import factorise, substitute
from tasks.xanes.compiled.compilation import compiled
from tasks.xanes.compiled.curve import N_PARAMETERS, differentiate, evaluate, normal_equations
from tasks.xanes.compiled.partner_curve import PhaseTerms, differentiate_partner, evaluate_partner

MAX_ITERATIONS: Final = 200
TOLERANCE: Final = 1e-9
"""A step that lowers the objective by less than this fraction of it, in prediction and in fact, ends the fit."""

FIRST_DAMPING: Final = 1e-2
MAX_DAMPING: Final = 1e16
"""In units of the diagonal of the Gauss-Newton matrix."""

Array = NDArray[np.float64]


class Problem(NamedTuple):
    """What the fits of all spectra share: minimise ``|w (eq1 - y)|^2 + (p - centre)^2 . prior_precision`` within bounds.

    Functions that take `PhaseTerms` as well compare the partner of eq. 1 with the phase: a spectrum is then its E points of
    absorption and the F of the phase in one row. They are compiled apart for fits without a phase (None): terms of no points,
    passed from function to function, cost these a tenth of their time.

    Parameters
    ----------
    energy, weight : (E,) float64 arrays
        From the tabulated edge [eV]; 1 / standard deviation of a point.
    lower, upper, prior_centre, prior_precision : (10,) float64 arrays
        Bounds; centre and 1 / variance of a Gaussian prior, 0 where there is none.
    """

    energy: Array
    weight: Array
    lower: Array
    upper: Array
    prior_centre: Array
    prior_precision: Array


class Workspace(NamedTuple):
    """Scratch of one thread, so that no fit allocates."""

    pieces: Array
    residual: Array
    jacobian: Array
    normal: Array
    curvature: Array
    factor: Array
    rows: Array
    free: NDArray[np.bool_]


def make_workspace(n_points: int) -> Workspace:
    """Scratch for spectra of ``n_points``, those of absorption and phase together."""
    return Workspace(
        np.zeros((7, n_points)),
        np.zeros(n_points),
        np.zeros((N_PARAMETERS, n_points)),
        np.zeros((N_PARAMETERS, N_PARAMETERS)),
        np.zeros((N_PARAMETERS, N_PARAMETERS)),
        np.zeros((N_PARAMETERS, N_PARAMETERS)),
        np.zeros((5, N_PARAMETERS)),
        np.ones(N_PARAMETERS, dtype=np.bool_),
    )


@compiled()
def objective(problem: Problem, phase: PhaseTerms | None, spectrum: Array, p: Array, workspace: Workspace) -> float:
    """Chi2 and the prior's penalty; leaves ``workspace.pieces`` and ``workspace.residual`` at ``p`` (10,)."""
    n = problem.energy.size
    value = evaluate(problem.energy, spectrum, problem.weight, p, workspace.pieces, workspace.residual)
    if phase is not None:
        value += evaluate_partner(problem.energy, spectrum[n:], phase, p, workspace.pieces[:, n:], workspace.residual[n:])
    for i in range(N_PARAMETERS):
        away = p[i] - problem.prior_centre[i]
        value += problem.prior_precision[i] * away * away
    return value


@compiled()
def linearise(problem: Problem, phase: PhaseTerms | None, p: Array, workspace: Workspace, gradient: Array) -> None:
    """Gauss-Newton matrix without (``workspace.normal``) and with the prior (``workspace.curvature``), and half the gradient."""
    n = problem.energy.size
    differentiate(problem.weight, p, workspace.pieces, workspace.jacobian)
    if phase is not None:
        differentiate_partner(phase, p, workspace.pieces[:, n:], workspace.jacobian[:, n:])
    normal_equations(workspace.jacobian, workspace.residual, workspace.normal, gradient)
    for i in range(N_PARAMETERS):
        for j in range(i + 1):
            workspace.curvature[i, j] = workspace.normal[i, j]
        workspace.curvature[i, i] += problem.prior_precision[i]
        gradient[i] += problem.prior_precision[i] * (p[i] - problem.prior_centre[i])


@compiled()
def bounded_step(
    problem: Problem, p: Array, gradient: Array, damping: Array, workspace: Workspace, step: Array, fixed: Array
) -> bool:
    """Damped Gauss-Newton step inside the box.

    Parameters on a wall that the gradient presses against it stay there. Those that the step would carry through a wall
    are put on it, and the others are solved for again. Returns False where the damped matrix is not positive definite.
    """
    lower, upper, free, curvature = problem.lower, problem.upper, workspace.free, workspace.curvature
    for i in range(N_PARAMETERS):
        free[i] = not ((p[i] <= lower[i] and gradient[i] > 0.0) or (p[i] >= upper[i] and gradient[i] < 0.0))
        fixed[i] = 0.0
    for _ in range(N_PARAMETERS):
        if not factorise(curvature, damping, free, workspace.factor):
            return False
        for i in range(N_PARAMETERS):
            step[i] = -gradient[i] if free[i] else 0.0
        for j in range(N_PARAMETERS):
            if fixed[j] != 0.0:
                for i in range(N_PARAMETERS):
                    if free[i]:
                        step[i] -= curvature[max(i, j), min(i, j)] * fixed[j]
        substitute(workspace.factor, step)
        crossed = False
        for i in range(N_PARAMETERS):
            if not free[i]:
                step[i] = fixed[i]
            elif p[i] + step[i] < lower[i] or p[i] + step[i] > upper[i]:
                fixed[i] = (lower[i] if step[i] < 0.0 else upper[i]) - p[i]
                step[i] = fixed[i]
                free[i] = False
                crossed = True
        if not crossed:
            break
    return True


@compiled()
def predicted_gain(curvature: Array, gradient: Array, step: Array) -> float:
    """Decrease of the objective over ``step`` (10,) if it were quadratic."""
    total = 0.0
    for i in range(N_PARAMETERS):
        along = 0.5 * curvature[i, i] * step[i]
        for j in range(i):
            along += curvature[i, j] * step[j]
        total -= 2.0 * step[i] * (gradient[i] + along)
    return total


@compiled()
def minimise(
    problem: Problem,
    phase: PhaseTerms | None,
    spectrum: Array,
    p: Array,
    max_iterations: int,
    tolerance: float,
    workspace: Workspace,
) -> tuple[float, int, bool]:
    """Move ``p`` (10,), which lies within the bounds, to a minimum for one spectrum (E,), or (E + F,) with its phase.

    The damping follows Nielsen (IMM-REP-1999-05, Technical University of Denmark), but falls to a tenth at once at most, not to
    a third.

    Returns
    -------
    objective, iterations, converged
    """
    gradient, damping, step = workspace.rows[0], workspace.rows[1], workspace.rows[2]
    fixed, trial = workspace.rows[3], workspace.rows[4]
    value = objective(problem, phase, spectrum, p, workspace)
    linearise(problem, phase, p, workspace, gradient)
    damp, growth = FIRST_DAMPING, 2.0
    for iteration in range(1, max_iterations + 1):
        for i in range(N_PARAMETERS):
            damping[i] = damp * max(workspace.curvature[i, i], 1e-30)
        if not bounded_step(problem, p, gradient, damping, workspace, step, fixed):
            damp = max(10.0 * damp, 1e-12)
            continue
        expected = predicted_gain(workspace.curvature, gradient, step)
        for i in range(N_PARAMETERS):
            trial[i] = min(max(p[i] + step[i], problem.lower[i]), problem.upper[i])
        tried = objective(problem, phase, spectrum, trial, workspace)
        gain = value - tried
        done = expected <= tolerance * value and abs(gain) <= tolerance * value
        if gain >= 0.0:
            for i in range(N_PARAMETERS):
                p[i] = trial[i]
            value = tried
        if done or damp > MAX_DAMPING:
            return value, iteration, done
        if gain >= 0.0:
            ratio = gain / expected if expected > 0.0 else 0.0
            damp *= max(0.1, 1.0 - (2.0 * ratio - 1.0) ** 3)
            growth = 2.0
            linearise(problem, phase, p, workspace, gradient)
        else:
            damp *= growth
            growth *= 2.0
    return value, max_iterations, False
