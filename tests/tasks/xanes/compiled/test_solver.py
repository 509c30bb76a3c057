"""The bounded minimiser on problems whose answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import least_squares

from tasks.xanes.bounds import bounds
from tasks.xanes.compiled.solver import Problem, make_workspace, minimise
from tasks.xanes.model import eq1

Array = NDArray[np.float64]

TRUTH = np.array([0.0, 1.0, 13.0, 3.0, 0.3, 5.0, 1.2, 0.5, 23.0, 6.0])


def problem(
    energy: Array,
    lower: Array | None = None,
    upper: Array | None = None,
    centre: Array | None = None,
    precision: Array | None = None,
) -> Problem:
    low, high = bounds(0.0)
    zero = np.zeros(10)
    return Problem(
        energy,
        np.ones(len(energy)),
        low if lower is None else lower,
        high if upper is None else upper,
        zero if centre is None else centre,
        zero if precision is None else precision,
    )


def solve(task: Problem, spectrum: Array, start: Array) -> tuple[Array, float, bool]:
    p = start.copy()
    value, _, converged = minimise(task, None, spectrum, p, 200, 1e-12, make_workspace(len(spectrum)))
    return p, value, converged


def test_finds_the_truth_without_noise(grid: Array) -> None:
    energy = grid - 5465.0
    start = TRUTH + np.array([0.1, 0.2, 1.5, 0.8, -0.1, 0.7, 0.3, 0.1, -2.0, 1.0])
    p, value, converged = solve(problem(energy), eq1(energy, TRUTH), start)
    assert converged
    assert value < 1e-18
    np.testing.assert_allclose(p, TRUTH, atol=1e-7)


def test_stops_at_the_wall_and_minimises_along_it(grid: Array) -> None:
    """With the edge energy walled in, the rest is at the minimum that scipy finds with it fixed there."""
    energy = grid - 5465.0
    lower, upper = bounds(0.0)
    upper[2] = 12.5
    spectrum = eq1(energy, TRUTH) + 0.01 * np.random.default_rng(0).normal(size=energy.size)
    start = TRUTH.copy()
    start[2] = 11.0
    p, value, converged = solve(problem(energy, lower, upper), spectrum, start)
    assert converged
    assert p[2] == 12.5
    rest = np.arange(10) != 2
    held = least_squares(
        lambda q: eq1(energy, np.insert(q, 2, 12.5)) - spectrum, p[rest] * 1.02, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert value == pytest.approx(2 * held.cost, rel=1e-8)


def test_a_strong_prior_holds_and_a_weak_one_does_not(grid: Array) -> None:
    energy = grid - 5465.0
    spectrum = eq1(energy, TRUTH)
    centre, precision = np.zeros(10), np.zeros(10)
    centre[3] = 4.0
    for strength, expected in ((1e8, 4.0), (1e-12, 3.0)):
        precision[3] = strength
        p, _, converged = solve(problem(energy, centre=centre, precision=precision), spectrum, TRUTH)
        assert converged
        assert p[3] == pytest.approx(expected, abs=1e-3)


def test_says_when_it_ran_out_of_iterations(grid: Array) -> None:
    energy = grid - 5465.0
    p = TRUTH + np.array([0.0, 0.5, 4.0, 3.0, 0.0, 2.0, 2.0, 0.0, 5.0, 5.0])
    _, iterations, converged = minimise(problem(energy), None, eq1(energy, TRUTH), p, 2, 1e-12, make_workspace(40))
    assert iterations == 2
    assert not converged
