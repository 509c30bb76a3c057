"""Photon energies: which are possible, which are joules, and why a number is none."""

import numpy as np
import pytest

from storage.readers.photon_energy import impossible_energy, in_ev, is_photon_energy
from storage.readers.units import JOULE_EV


@pytest.mark.parametrize(
    ("energy_ev", "is_one"), [(29.9, False), (30.0, True), (5465.0, True), (2e5, True), (3e9, False), (np.nan, False)]
)
def test_photons_of_ptychography_have_30_ev_to_200_kev(energy_ev: float, is_one: bool) -> None:
    assert is_photon_energy(energy_ev) == is_one


def test_energies_in_joules_are_recognised_by_their_size() -> None:
    found = in_ev(np.array([5465 * JOULE_EV, 5465.0, 0.0, -1.0]))
    np.testing.assert_allclose(found, [5465.0, 5465.0, 0.0, -1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "unit", "cause"),
    [
        (5.465, "", "looks like keV"),
        (3e9, "eV", "the storage ring's"),
        (-1.0, "", "neither joules (< 1e-12)"),
        (1.0, "eV", "30 to 200000"),
    ],
)
def test_a_number_that_is_no_photon_energy_is_given_its_cause(value: float, unit: str, cause: str) -> None:
    assert cause in impossible_energy(value, unit)
