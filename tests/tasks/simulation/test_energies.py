"""The energies are the measurement's, and as many as are asked for."""

import numpy as np
import pytest

from tasks.simulation.energies import energy_grid


def test_forty_energies_are_the_measurements() -> None:
    energies = energy_grid(40, 5465.0)
    assert (energies[0], energies[-1]) == (5420.0, 5540.0)
    assert np.diff(energies).min() == 0.5
    assert (energies < 5465).sum() == 4


@pytest.mark.parametrize("n", [1, 12, 24, 40, 80])
def test_any_number_of_energies_ascends(n: int) -> None:
    energies = energy_grid(n, 7112.0)
    assert len(energies) == n
    assert np.all(np.diff(energies) > 0)
