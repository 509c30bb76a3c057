"""The compiled eq. 1 equals the plain one."""

import numpy as np
import pytest
from scipy.special import erf

from tasks.xanes.compiled.curve import differentiate, evaluate, normal_equations
from tasks.xanes.model import eq1, jacobian


def test_equals_the_plain_model_and_its_jacobian() -> None:
    rng = np.random.default_rng(1)
    energy, spectrum, weight = np.linspace(-45.0, 75.0, 40), rng.normal(size=40), rng.uniform(0.5, 2, 40)
    p = np.array([0.1, 2.0, 13.0, 3.0, 0.5, 5.0, 1.5, 0.8, 25.0, 6.0])
    pieces, residual, rows = np.empty((7, 40)), np.empty(40), np.empty((10, 40))
    chi2 = evaluate(energy, spectrum, weight, p, pieces, residual)
    expected = weight * (eq1(energy, p) - spectrum)
    np.testing.assert_allclose(residual, expected, atol=1e-14)
    assert chi2 == pytest.approx(np.sum(expected**2), rel=1e-13)
    differentiate(weight, p, pieces, rows)
    np.testing.assert_allclose(rows.T, weight[:, None] * jacobian(energy, p), atol=1e-11)
    normal, gradient = np.empty((10, 10)), np.empty(10)
    normal_equations(rows, residual, normal, gradient)
    np.testing.assert_allclose(np.tril(normal), np.tril(rows @ rows.T), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradient, rows @ residual, rtol=1e-11, atol=1e-13)


def test_tabulated_erf_is_exact_and_saturates() -> None:
    u = np.concatenate([np.linspace(-7, 7, 9999), [-1e6, 1e6]])
    p = np.array([0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    pieces, residual = np.empty((7, u.size)), np.empty(u.size)
    evaluate(u, np.zeros_like(u), np.ones_like(u), p, pieces, residual)
    np.testing.assert_allclose(residual - 1.0, erf(u), atol=3e-14)
    inside = np.abs(u) < 6
    np.testing.assert_allclose(pieces[1][inside], np.exp(-(u[inside] ** 2)) / np.sqrt(np.pi), atol=5e-12)
