"""Every state absorbs at its own edge, and scatters as the tables say far from it."""

import numpy as np
import pytest

from tasks.errors import FormulaError
from tasks.scattering import Absorber, tabulated_f1
from tasks.simulation.chemical_states import ABSORPTION_JUMP, STATES, electrons_per_formula, reference_text, scattering_factors
from tasks.simulation.energies import energy_grid
from tasks.xanes.references.normalisation import read_reference

V = Absorber("V", "K")


def test_absorption_steps_at_each_states_own_edge() -> None:
    energy = np.arange(5440.0, 5520.0, 0.5)
    f2 = scattering_factors(STATES[:3], energy, V).imag
    for state, spectrum in zip(STATES, f2.T, strict=False):
        white_line = state.white_line_height / (1 + ((energy - 5465 - state.white_line_ev) / state.white_line_width_ev) ** 2)
        pre_edge = state.pre_edge_height / (1 + ((energy - 5465 - state.pre_edge_ev) / state.pre_edge_width_ev) ** 2)
        assert energy[np.argmax(np.gradient(spectrum - white_line - pre_edge))] == pytest.approx(5465 + state.edge_ev, abs=0.6)
        assert spectrum[-1] - spectrum[0] == pytest.approx(ABSORPTION_JUMP, rel=0.02)


def test_far_from_the_edge_the_phase_is_the_tables() -> None:
    energy = np.array([5200.0, 5900.0])
    ours = scattering_factors(STATES[:1], energy, V).real[:, 0] - 23
    np.testing.assert_allclose(ours, tabulated_f1("V", energy), atol=0.25)


def test_light_elements_add_their_electrons() -> None:
    energy = energy_grid(3, 5465.0)
    bare, whole = scattering_factors(STATES[:1], energy, V), electrons_per_formula(STATES[:1], energy, V)
    assert (whole - bare).real[:, 0] == pytest.approx(3 + 2 * 8, abs=0.2)


def test_the_powder_of_a_state_is_a_reference_of_its_edge_and_formula() -> None:
    powder = read_reference(reference_text(STATES[2], Absorber("Fe", "K")), Absorber("Fe", "K"))
    assert powder.name == "LiFeO3"
    near = (powder.energy_ev > 7112 + 8) & (powder.energy_ev < 7112 + 18)
    slope = np.gradient(powder.absorption, powder.energy_ev)
    assert powder.energy_ev[near][np.argmax(slope[near])] == pytest.approx(7112 + STATES[2].edge_ev, abs=1.0)


@pytest.mark.parametrize(("element", "edge", "neighbour"), [("Fe", "L3", "719.9"), ("Ti", "L2", "453.8"), ("Ni", "L3", "870.0")])
def test_an_edge_among_whose_energies_another_lies_is_refused(element: str, edge: str, neighbour: str) -> None:
    absorber = Absorber(element, edge)
    with pytest.raises(FormulaError, match=f"hold another of {element} at {neighbour}"):
        scattering_factors(STATES, energy_grid(40, absorber.edge_energy_ev), absorber)
