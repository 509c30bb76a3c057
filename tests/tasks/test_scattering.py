"""Scattering factors, formulas, and the complex object."""

import numpy as np
import pytest

from tasks.errors import FormulaError
from tasks.scattering import (
    Absorber,
    clear_windows,
    electron_densities,
    relativistic_charge,
    tabulated_f1,
    tabulated_f2,
    tabulated_step,
)
from tasks.units import electrons_per_absorption


def test_edge_energies_come_from_the_tables() -> None:
    assert Absorber("V", "K").edge_energy_ev == pytest.approx(5465.0)
    assert Absorber("Fe", "K").edge_energy_ev == pytest.approx(7112.0)


@pytest.mark.parametrize(("element", "edge", "names"), [("Xx", "K", "element"), ("V", "Q7", "edge")])
def test_unknown_absorber_names_the_field_and_value(element: str, edge: str, names: str) -> None:
    with pytest.raises(FormulaError, match=names):
        _ = Absorber(element, edge).edge_energy_ev


def test_one_energy_and_many_agree() -> None:
    many = tabulated_f2("V", np.array([5420.0, 5500.0]))
    assert tabulated_f2("V", np.array([5420.0])) == pytest.approx(many[:1])
    assert tabulated_f1("V", np.array([5420.0]))[0] == pytest.approx(-4.618, abs=0.02)


@pytest.mark.parametrize(
    ("element", "edge", "step"),
    [
        ("V", "K", 3.5), ("Mo", "L2", 3.9), ("Nb", "L2", 4.0), ("Rh", "L2", 3.7), ("Pd", "L2", 3.5), ("Ag", "L2", 3.5),
        ("Cd", "L2", 3.5), ("Mo", "L3", 8.1), ("Fe", "L3", 9.6), ("Ni", "L3", 9.7), ("Fe", "L2", 4.7), ("Ti", "L3", 9.0),
        ("C", "K", 3.8), ("B", "K", 3.8), ("Be", "K", 4.0), ("Li", "K", 2.55), ("Ca", "L3", 9.2), ("Ca", "L2", 4.6),
        ("Zn", "L3", 10.0), ("Zn", "L2", 4.8),
    ],
)  # fmt: skip
def test_the_step_of_an_edge_is_its_own_whatever_edges_are_beside_it(element: str, edge: str, step: float) -> None:
    """Expected: differences of the tables read off by hand at both sides of the edge alone."""
    assert tabulated_step(Absorber(element, edge)) == pytest.approx(step, rel=0.05)


@pytest.mark.parametrize(
    ("element", "edge"),
    [
        ("Sc", "L3"), ("La", "M5"), ("Al", "L3"), ("Si", "L2"), ("H", "K"), ("He", "K"), ("S", "L2"), ("S", "L3"), ("P", "L3"),
        ("Si", "L3"), ("Al", "L2"), ("Mg", "L2"), ("Ar", "L3"), ("Cl", "L2"), ("Se", "M4"), ("Br", "M5"), ("V", "M3"),
    ],
)  # fmt: skip
def test_edges_without_a_step_of_their_own_in_the_tables_are_refused(element: str, edge: str) -> None:
    """Of a pair less than 3 eV apart either edge took the step of both: S L2 had 12.5 electrons, three times its own."""
    with pytest.raises(FormulaError, match="next edges lie at"):
        tabulated_step(Absorber(element, edge))


def test_windows_beside_an_edge_end_at_its_neighbours() -> None:
    absorber = Absorber("Mo", "L2")
    (low, below), (above, high) = clear_windows(absorber)
    assert absorber.neighbours_ev == pytest.approx((2520.0, 2866.0))
    assert 2520 < low < below < 2625 < above < high < 2866


def test_relativistic_charge_of_vanadium() -> None:
    assert relativistic_charge("V") == pytest.approx(23 - (23 / 82.5) ** 2.37)


def test_electron_densities_undo_the_refraction_of_known_matter() -> None:
    energy = np.array([5420.0, 5540.0])
    density, f1, f2 = 3e22, 18.0, 4.0
    scale = electrons_per_absorption(energy)[:, None]
    g2, g1 = electron_densities(scale * density * f2 * np.ones((2, 3)), -scale * density * f1 * np.ones((2, 3)), energy)
    np.testing.assert_allclose(g2, density * f2)
    np.testing.assert_allclose(g1, density * f1)
