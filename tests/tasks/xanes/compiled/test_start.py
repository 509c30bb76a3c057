"""The table of shapes: its scores are those of least squares."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.xanes.bounds import RELATIVE, bounds
from tasks.xanes.compiled.solver import Problem, make_workspace, minimise
from tasks.xanes.compiled.start import begin, project, score, shape_table
from tasks.xanes.fit import fit_spectra
from tasks.xanes.model import eq1


def test_score_is_the_chi2_least_squares_removes(grid: NDArray[np.float64]) -> None:
    energy, weight = grid - 5465.0, np.linspace(0.5, 2.0, 40)
    table = shape_table(energy, weight)
    p = np.array([0.3, 1.0, 13.5, 3.0, 0.3, 5.5, 1.3, 0.4, 24.0, 6.0])
    spectrum = eq1(energy, p) + 0.01 * np.random.default_rng(0).normal(size=40)
    products = np.empty(table.basis.shape[1], dtype=np.float32)
    gain, workspace = np.empty(len(table.pre_edges), dtype=np.float32), np.empty((3, table.pre_edges.shape[1]), np.float32)
    project(spectrum * weight, table.basis, products)
    score(table, products, gain, workspace)
    best = int(np.argmax(gain))
    start = np.empty(10)
    begin(table, energy, spectrum, weight, best, products, workspace, start, np.empty((7, 40)), np.empty(40))
    ones = np.ones_like(energy)
    shapes = eq1(energy, np.array([[0, 1, *start[2:4], 0, *start[5:7], 0, *start[8:]]] * 1).T)[:, 0]
    pre = 1 / (1 + ((energy - start[5]) / start[6]) ** 2)
    white = 1 / (1 + ((energy - start[8]) / start[9]) ** 2)
    columns = weight[:, None] * np.stack([ones, shapes, pre, white], axis=1)
    solution, left, *_ = np.linalg.lstsq(columns, weight * spectrum, rcond=None)
    mean = np.average(spectrum, weights=weight**2)
    before = np.sum((weight * (spectrum - mean)) ** 2)
    assert gain[best] == pytest.approx(before - left[0], rel=1e-3)
    np.testing.assert_allclose(start[[1, 4, 7]], solution[1:], rtol=0.02)


def test_the_best_start_is_near_the_truth(grid: NDArray[np.float64]) -> None:
    energy, weight = grid - 5465.0, np.ones(40)
    table = shape_table(energy, weight)
    products = np.empty(table.basis.shape[1], dtype=np.float32)
    gain, workspace = np.empty(len(table.pre_edges), dtype=np.float32), np.empty((3, table.pre_edges.shape[1]), np.float32)
    start = np.empty(10)
    for edge in np.arange(9.0, 20.0, 0.7):
        spectrum = eq1(energy, np.array([0.0, 1.0, edge, 3.5, 0.2, edge - 8, 1.2, 0.5, edge + 9, 6.0]))
        project(spectrum, table.basis, products)
        score(table, products, gain, workspace)
        begin(table, energy, spectrum, weight, int(np.argmax(gain)), products, workspace, start, np.empty((7, 40)), np.empty(40))
        assert abs(start[2] - edge) < 3.1


def test_a_spectrum_without_peaks_gets_none(grid: NDArray[np.float64]) -> None:
    energy, weight = grid - 5465.0, np.ones(40)
    table = shape_table(energy, weight)
    products = np.empty(table.basis.shape[1], dtype=np.float32)
    gain, workspace = np.empty(len(table.pre_edges), dtype=np.float32), np.empty((3, table.pre_edges.shape[1]), np.float32)
    start = np.empty(10)
    spectrum = eq1(energy, np.array([0.0, 1.0, 12.0, 1.8, 0.0, 5.0, 1.0, 0.0, 25.0, 5.0]))
    project(spectrum, table.basis, products)
    score(table, products, gain, workspace)
    begin(table, energy, spectrum, weight, int(np.argmax(gain)), products, workspace, start, np.empty((7, 40)), np.empty(40))
    assert start[1] == pytest.approx(1.0, abs=1e-3)
    assert np.all(np.abs(start[[4, 7]]) < 1e-3)
    assert np.all(np.isfinite(start))


@pytest.mark.parametrize(("noise", "ours"), [(0.01, 1.0), (0.03, 0.98), (0.1, 0.9)])
def test_a_start_from_the_data_is_needed(
    grid: NDArray[np.float64], simulate: Callable[..., Any], noise: float, ours: float
) -> None:
    """From the tabulated edge with textbook widths the same minimiser ends in the best minimum on 1 to 5 % of pixels."""
    truth = simulate(150, noise, seed=4)
    found = fit_spectra(grid, truth.absorption, None, 5465.0)
    jump, one = truth.absorption[-6:].mean(axis=0) - truth.absorption[:4].mean(axis=0), np.ones(150)
    naive = [truth.absorption[:4].mean(axis=0), jump, 0 * one, 3 * one, 0.1 * jump, 0 * one, one, 0.1 * jump, 15 * one, 3 * one]
    ends = [minimised(grid, truth.absorption, np.stack(naive)), minimised(grid, truth.absorption, relative(truth.parameters))]
    best = np.minimum(found.chi2, np.minimum(*ends))
    assert np.mean(found.chi2 <= best * (1 + 1e-6)) >= ours
    assert np.mean(ends[0] <= best * (1 + 1e-6)) < 0.1


def relative(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(parameters - 5465.0 * RELATIVE[:, None])


def minimised(grid: NDArray[np.float64], absorption: NDArray[np.float64], starts: NDArray[np.float64]) -> np.ndarray:
    """Chi2 of the compiled minimiser begun at ``starts`` (10, n), energies from the edge."""
    lower, upper = bounds(0.0)
    problem = Problem(grid - 5465.0, np.ones(len(grid)), lower, upper, np.zeros(10), np.zeros(10))
    workspace = make_workspace(len(grid))
    columns = zip(np.ascontiguousarray(absorption.T), np.clip(starts, lower[:, None], upper[:, None]).T.copy(), strict=True)
    return np.array([minimise(problem, None, spectrum, start, 500, 1e-12, workspace)[0] for spectrum, start in columns])
