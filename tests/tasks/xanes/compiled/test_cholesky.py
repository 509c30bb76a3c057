"""The small solver against LAPACK."""

import numpy as np

from tasks.xanes.compiled.cholesky import factorise, substitute


def test_solves_on_the_free_parameters() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(10, 30))
    matrix, damping, right = root @ root.T, rng.uniform(0, 1, 10), rng.normal(size=10)
    free = np.array([True, False, True, True, True, False, True, True, True, True])
    factor, x = np.full((10, 10), np.nan), np.where(free, right, 0.0)
    assert factorise(matrix, damping, free, factor)
    substitute(factor, x)
    block = (matrix + np.diag(damping))[np.ix_(free, free)]
    np.testing.assert_allclose(x[free], np.linalg.solve(block, right[free]), rtol=1e-10)
    np.testing.assert_array_equal(x[~free], 0.0)


def test_refuses_what_is_not_positive_definite() -> None:
    matrix = np.diag([1.0] * 9 + [-1.0])
    assert not factorise(matrix, np.zeros(10), np.ones(10, dtype=bool), np.empty((10, 10)))
