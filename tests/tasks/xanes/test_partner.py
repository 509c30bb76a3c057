"""The partner of eq. 1 against numerical Kramers-Kronig transforms."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from tasks.coupling.kkr import TAPER_EV, transform_matrix
from tasks.xanes.model import eq1
from tasks.xanes.partner import eq1_partner, mean_logarithm

ENERGY = np.concatenate([[5420.0, 5440.0, 5455.0], np.arange(5460.0, 5500.0, 1.0), [5510.0, 5525.0, 5540.0]])
P = np.array([0.2, 1.0, 5478.0, 3.2, 0.25, 5469.6, 1.1, 0.35, 5484.0, 4.0])


@pytest.mark.parametrize("u", [0.0, 0.3, 1.0, 4.0, 11.9, 12.1, 40.0])
def test_mean_logarithm_is_the_mean_of_the_logarithm(u: float) -> None:
    def integrand(v: float) -> float:
        return float(np.log(abs(v)) * (np.exp(-((u + v) ** 2)) + np.exp(-((u - v) ** 2))) / np.sqrt(np.pi))

    points = sorted({max(u - 3, 0.01), u + 0.01, u + 3})
    value = quad(integrand, 0, u + 12, points=points, limit=400)[0] / np.pi
    assert mean_logarithm(np.array(u)) == pytest.approx(value, abs=2e-7)


def numerically(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Transform of eq. 1 in the window and its taper, on nodes 0.05 eV apart."""
    nodes = np.unique(np.concatenate([np.arange(ENERGY[0] - TAPER_EV, ENERGY[-1] + TAPER_EV + 1e-6, 0.05), ENERGY]))
    taper = np.interp(nodes, [ENERGY[0] - TAPER_EV, ENERGY[0], ENERGY[-1], ENERGY[-1] + TAPER_EV], [0, 1, 1, 0])
    return np.asarray(transform_matrix(ENERGY, nodes) @ (taper * eq1(nodes, parameters)))


@pytest.mark.parametrize("which", ["offset", "edge", "pre-edge", "white line", "all"])
def test_partner_is_the_transform_but_for_the_mirror_pole_and_tails(which: str) -> None:
    p = P.copy()
    keep = {"offset": [0], "edge": [1], "pre-edge": [4], "white line": [7], "all": [0, 1, 4, 7]}[which]
    p[[i for i in (0, 1, 4, 7) if i not in keep]] = 0
    partner = eq1_partner(ENERGY, p[None])[0][0]
    difference = partner - numerically(p)
    # what is constant over the window no one can tell from the light elements
    assert np.ptp(difference) < 2e-3
    assert abs(difference.mean()) < 8e-3
    assert np.ptp(partner) > 0.1


def test_derivatives_are_those_of_the_partner() -> None:
    jacobian = eq1_partner(ENERGY, P[None])[1][0]
    for i in range(10):
        step = np.zeros(10)
        step[i] = 1e-5 * max(1.0, abs(P[i])) if i not in (2, 5, 8) else 1e-4
        slope = (eq1_partner(ENERGY, (P + step)[None])[0] - eq1_partner(ENERGY, (P - step)[None])[0])[0] / (2 * step[i])
        np.testing.assert_allclose(jacobian[:, i], slope, atol=2e-6 * max(1.0, np.abs(slope).max()))
