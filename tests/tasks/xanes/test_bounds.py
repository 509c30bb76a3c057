"""Bounds follow the edge."""

import numpy as np

from tasks.xanes.bounds import LIMITS, RELATIVE, bounds
from tasks.xanes.model import PARAMETERS


def test_every_parameter_has_limits_in_order() -> None:
    assert tuple(LIMITS) == PARAMETERS
    assert [name for name, is_energy in zip(PARAMETERS, RELATIVE, strict=True) if is_energy] == [
        "edge_energy",
        "pre_edge_energy",
        "white_line_energy",
    ]


def test_only_energies_move_with_the_edge() -> None:
    lower, upper = bounds(7112.0)
    at_zero = bounds(0.0)
    np.testing.assert_allclose(lower[1:] - at_zero[0][1:], RELATIVE[1:] * 7112.0, atol=1e-9)
    np.testing.assert_allclose(upper[[2, 5, 8]] - at_zero[1][[2, 5, 8]], 7112.0)
    assert np.all(lower < upper)
