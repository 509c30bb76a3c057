"""Scattering factors, formulas, and the complex object."""

import numpy as np
import pytest

from tasks.errors import FormulaError
from tasks.scattering import (
    Absorber,
    absorption_and_phase,
    composition,
    electron_densities,
    relativistic_charge,
    tabulated_f1,
    tabulated_f2,
    transmission,
)
from tasks.units import electrons_per_absorption


def test_edge_energies_come_from_the_tables() -> None:
    assert Absorber("V", "K").edge_energy_ev == pytest.approx(5465.0)
    assert Absorber("Fe", "K").edge_energy_ev == pytest.approx(7112.0)


@pytest.mark.parametrize(("element", "edge", "names"), [("Xx", "K", "element"), ("V", "Q7", "edge")])
def test_unknown_absorber_names_the_field_and_value(element: str, edge: str, names: str) -> None:
    with pytest.raises(FormulaError, match=names):
        _ = Absorber(element, edge).edge_energy_ev


def test_fractions_in_formulas() -> None:
    atoms = composition("Li10/7V6/7O2")
    assert atoms == pytest.approx({"Li": 10 / 7, "V": 6 / 7, "O": 2.0})


@pytest.mark.parametrize("formula", ["", "LiXx2", "not a formula!"])
def test_unreadable_formula(formula: str) -> None:
    with pytest.raises(FormulaError, match="formula"):
        composition(formula)


def test_one_energy_and_many_agree() -> None:
    many = tabulated_f2("V", np.array([5420.0, 5500.0]))
    assert tabulated_f2("V", np.array([5420.0])) == pytest.approx(many[:1])
    assert tabulated_f1("V", np.array([5420.0]))[0] == pytest.approx(-4.618, abs=0.02)


def test_relativistic_charge_of_vanadium() -> None:
    assert relativistic_charge("V") == pytest.approx(23 - (23 / 82.5) ** 2.37)


def test_transmission_and_back() -> None:
    rng = np.random.default_rng(0)
    absorption, phase = rng.uniform(0, 0.3, (4, 5)), rng.uniform(-2, 0, (4, 5))
    back = absorption_and_phase(transmission(absorption, phase))
    np.testing.assert_allclose(back[0], absorption, atol=1e-6)
    np.testing.assert_allclose(back[1], phase, atol=1e-6)


def test_electron_densities_undo_the_refraction_of_known_matter() -> None:
    energy = np.array([5420.0, 5540.0])
    density, f1, f2 = 3e22, 18.0, 4.0
    scale = electrons_per_absorption(energy)[:, None]
    g2, g1 = electron_densities(scale * density * f2 * np.ones((2, 3)), -scale * density * f1 * np.ones((2, 3)), energy)
    np.testing.assert_allclose(g2, density * f2)
    np.testing.assert_allclose(g1, density * f1)
