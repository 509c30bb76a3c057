"""References go from 0 to 1 over their edge, and eq. 1 is fitted to them, within the range where the edge stands alone."""

from collections.abc import Callable

import numpy as np
import pytest
from synthetic_reference import synthetic

from tasks.scattering import Absorber
from tasks.xanes.model import pre_edge_ratio
from tasks.xanes.references.normalisation import fit_reference, normalise, prepare
from tasks.xanes.references.xdi import Reference, ReferenceFormatError, read_xdi

V = Absorber("V", "K")


def test_normalised_spectrum_goes_from_0_to_1() -> None:
    reference = normalise(synthetic("a", 5478.0, 0.2), V)
    before = reference.absorption[(reference.energy_ev > 5370) & (reference.energy_ev < 5445)]
    after = reference.absorption[(reference.energy_ev > 5550) & (reference.energy_ev < 5950)]
    assert np.abs(before).max() < 0.01
    assert np.abs(after - 1).max() < 0.01


def test_normalising_needs_the_edge() -> None:
    with pytest.raises(ReferenceFormatError, match=r"must cover the edge at 7112\.0"):
        normalise(synthetic("a", 5478.0, 0.2), Absorber("Fe"))
    falling = synthetic("a", 5478.0, 0.2)
    with pytest.raises(ReferenceFormatError, match="must rise"):
        normalise(Reference("a", "", falling.energy_ev, -falling.absorption), V)


@pytest.mark.parametrize("spectrum", [np.ones(1300), np.zeros(1300), np.full(1300, -3.0), 1e308 * np.linspace(0.1, 1, 1300)])
def test_a_spectrum_without_a_step_is_refused(spectrum: np.ndarray) -> None:
    """Of rounding alone a constant rose to 3 times its step."""
    with pytest.raises(ReferenceFormatError, match="must rise"):
        normalise(Reference("a", "", synthetic("a", 5478.0, 0.2).energy_ev, spectrum), V)


def with_edges(absorber: Absorber, others: dict[float, float]) -> Reference:
    """A spectrum of unit jump at the edge and given jumps at other energies."""
    edge = absorber.edge_energy_ev
    energy = np.arange(edge - 150, edge + 400, 0.5)
    jumps = {edge: 1.0, **others}
    absorption = sum(jump / (1 + np.exp(-(energy - at) / 1.5)) for at, jump in jumps.items())
    return Reference("a", "", energy, 0.2 + np.asarray(absorption))


@pytest.mark.parametrize(("element", "edge"), [("Mo", "L2"), ("Mo", "L3"), ("Ag", "L2"), ("Nb", "L3")])
def test_a_neighbouring_edge_is_no_part_of_the_step(element: str, edge: str) -> None:
    absorber = Absorber(element, edge)
    previous, following = absorber.neighbours_ev
    reference = normalise(with_edges(absorber, {previous: 2.0, following: 0.5}), absorber)
    beyond = (reference.energy_ev > absorber.edge_energy_ev + 30) & (reference.energy_ev < absorber.lone_range_ev[1])
    assert np.abs(reference.absorption[beyond] - 1).max() < 0.03


@pytest.mark.parametrize(
    ("element", "edge", "beside"), [("Fe", "L3", "719.9 eV"), ("Ti", "L2", "453.8 eV"), ("Ni", "L3", "870.0 eV")]
)
def test_where_neighbours_leave_no_room_a_reference_is_refused(element: str, edge: str, beside: str) -> None:
    absorber = Absorber(element, edge)
    previous, following = absorber.neighbours_ev
    with pytest.raises(ReferenceFormatError, match=f"next edge of {element} at {beside}"):
        normalise(with_edges(absorber, {previous: 1.0, following: 0.5}), absorber)


def test_names_are_told_apart_and_other_elements_refused() -> None:
    spectrum = synthetic("a", 5478.0, 0.2)
    table = "\n".join(f"{e:.2f} {m:.6f}" for e, m in zip(spectrum.energy_ev, spectrum.absorption, strict=True))
    head = "#XDI/1.0\n# Element.symbol: {}\n# Sample.name: VO2\n# Column.1: energy eV\n# Column.2: mutrans\n#---\n"
    assert [one.name for one in prepare([head.format("V") + table] * 3, V)] == ["VO2", "VO2 (2)", "VO2 (3)"]
    with pytest.raises(ReferenceFormatError, match="must be of the V K edge, its element is 'La'"):
        prepare([head.format("La") + table], V)


@pytest.mark.parametrize(("name", "edge_ev", "ratio_ev"), [("V2O3", 5478.60, 0.61), ("V2O5", 5481.96, 2.48)])
def test_eq1_of_the_measured_oxides(reference_text: Callable[[str], str], name: str, edge_ev: float, ratio_ev: float) -> None:
    """Known: V2O3 5478.60 eV and 0.61 eV, V2O5 5481.96 eV and 2.48 eV; eq. 1 leaves a misfit of 3 % of the jump."""
    found = fit_reference(normalise(read_xdi(reference_text(name)), V), V)
    assert found.parameters[2, 0] == pytest.approx(edge_ev, abs=0.1)
    assert pre_edge_ratio(found.parameters)[0] == pytest.approx(ratio_ev, abs=0.08)
    assert found.residual[0] < 0.035 * found.parameters[1, 0]
