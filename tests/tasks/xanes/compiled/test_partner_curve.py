"""The compiled partner of eq. 1 equals the plain one."""

import numpy as np
import pytest

from tasks.xanes.compiled.partner_curve import PhaseTerms, differentiate_partner, evaluate_partner, phase_terms
from tasks.xanes.partner import LAST_U, eq1_partner, mean_logarithm

ENERGY = np.linspace(5420.0, 5540.0, 40)
P = np.array([0.1, 2.0, 5478.0, 3.0, 0.5, 5470.0, 1.5, 0.8, 5490.0, 6.0])


def evaluated(terms: PhaseTerms, data: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Chi2, residual (E,) and derivatives (10, E) at `P`."""
    pieces, residual, jacobian = np.empty((7, 40)), np.empty(40), np.empty((10, 40))
    chi2 = evaluate_partner(ENERGY, data, terms, P, pieces, residual)
    differentiate_partner(terms, P, pieces, jacobian)
    return chi2, residual, jacobian


def test_equals_the_plain_partner_and_its_jacobian_off_the_columns() -> None:
    rng = np.random.default_rng(0)
    sigma, columns, data = rng.uniform(0.5, 2, 40), rng.normal(size=(40, 2)), rng.normal(size=40)
    terms = phase_terms(ENERGY, sigma, columns)
    chi2, residual, jacobian = evaluated(terms, data)
    off = np.eye(40) - terms.columns.T @ terms.columns
    partner, slopes = eq1_partner(ENERGY, P[None])
    np.testing.assert_allclose(residual, off @ (partner[0] / sigma) - data, atol=1e-10)
    np.testing.assert_allclose(jacobian, (slopes[0] / sigma[:, None]).T @ off, atol=1e-8)
    assert chi2 == pytest.approx(np.sum(residual**2), rel=1e-12)
    # columns of the tables leave no trace
    np.testing.assert_allclose(off @ (columns / sigma[:, None]), 0, atol=1e-12)


def test_tabulated_logarithm_is_that_of_the_plain_form_near_and_far() -> None:
    """A step alone, one width wide: its partner against u is the mean logarithm."""
    u = np.concatenate([np.linspace(-LAST_U - 30, LAST_U + 30, 4001), [0.0, LAST_U - 1e-9, LAST_U + 1e-9]])
    p = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    ones, zeros = np.ones_like(u), np.zeros_like(u)
    pieces, residual = np.empty((7, u.size)), np.empty(u.size)
    evaluate_partner(u, zeros, PhaseTerms(ones, zeros, zeros, np.zeros((0, u.size))), p, pieces, residual)
    np.testing.assert_allclose(residual, mean_logarithm(u), atol=2e-7)
    middle = slice(1, 4000)
    slope = np.gradient(mean_logarithm(u[:4001]), u[1] - u[0])[middle]
    np.testing.assert_allclose(pieces[1, :4001][middle], slope, atol=2e-4)
