"""Reference spectra: read, normalised, mixed."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError
from tasks.xanes.model import eq1, pre_edge_ratio
from tasks.xanes.references import (
    Reference,
    ReferenceFormatError,
    first_inflection_ev,
    fit_reference,
    linear_combination,
    normalise,
    read_xdi,
)

V_K_EV = 5465.0


def synthetic(name: str, edge: float, ratio: float) -> Reference:
    """A reference on a long, fine axis, on a sloping background."""
    energy = np.arange(5350.0, 6000.0, 0.5)
    p = np.array([0.0, 1.0, edge, 3.0, ratio, edge - 8, 1.2, 0.3, edge + 9, 6.0])
    background = 1.3 - 4e-4 * (energy - V_K_EV)
    return Reference(name, "", energy, 2.5 * eq1(energy, p) + background)


HEADER = """#XDI/1.0 test
# Column.1: energy eV
# Column.2: i0
# Column.3: itrans
# Sample.name: foil || comment
# Sample.formula: V
#----
"""


def rows(n: int = 12) -> str:
    return "\n".join(f"{5460 + i} {1000.0} {1000.0 / np.exp(i)}" for i in range(n))


def test_reads_columns_by_name() -> None:
    reference = read_xdi(HEADER + rows())
    assert (reference.name, reference.formula) == ("foil", "V")
    np.testing.assert_allclose(reference.energy_ev, np.arange(5460, 5472))
    np.testing.assert_allclose(reference.absorption, np.arange(12), atol=1e-12)


def test_reads_bytes_kev_and_named_absorption() -> None:
    table = "\n".join(f"{5.46 + 0.001 * i} {0.1 * i} 1" for i in range(12))
    reference = read_xdi((HEADER.replace("energy eV", "energy keV").replace("i0", "mutrans") + table).encode())
    np.testing.assert_allclose(reference.energy_ev, np.arange(5460, 5472))
    np.testing.assert_allclose(reference.absorption, 0.1 * np.arange(12))


def test_orders_energies_and_averages_repeats() -> None:
    text = "\n".join(reversed(rows().splitlines())) + f"\n5460 1000 {1000.0 / np.exp(4)}\nnan 1 1"
    reference = read_xdi(HEADER + text)
    assert np.all(np.diff(reference.energy_ev) > 0)
    assert reference.absorption[0] == pytest.approx(2.0)


def test_the_fluorescence_is_a_quotient() -> None:
    reference = read_xdi(HEADER.replace("itrans", "ifluor") + rows())
    assert reference.absorption[1] == pytest.approx(np.exp(-1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be XDI"),
        ("energy mu\n1 2", "must be XDI"),
        (HEADER.replace("energy", "theta") + rows(), "column 'energy'"),
        (HEADER.replace("energy eV", "energy degrees") + rows(), "in eV or keV.*degrees"),
        (HEADER.replace("itrans", "clock") + rows(), "i0 with itrans or ifluor"),
        (HEADER + rows(5), "at least 10 finite points, got 5"),
        (HEADER + rows() + "\n1 2", "rows of one length"),
        (HEADER + rows() + "\na b c", "must hold numbers"),
        (HEADER + "\n".join(line.rsplit(" ", 1)[0] for line in rows().splitlines()), "names 3 columns.*has 2"),
    ],
)
def test_what_is_no_spectrum_is_refused(text: str, words: str) -> None:
    with pytest.raises(ReferenceFormatError, match=words):
        read_xdi(text)


def test_normalised_spectrum_goes_from_0_to_1() -> None:
    reference = normalise(synthetic("a", 5478.0, 0.2), V_K_EV)
    before = reference.absorption[(reference.energy_ev > 5370) & (reference.energy_ev < 5445)]
    after = reference.absorption[(reference.energy_ev > 5550) & (reference.energy_ev < 5950)]
    assert np.abs(before).max() < 0.01
    assert np.abs(after - 1).max() < 0.01


def test_normalising_needs_the_edge() -> None:
    with pytest.raises(ReferenceFormatError, match=r"must cover the edge at 7112\.0"):
        normalise(synthetic("a", 5478.0, 0.2), 7112.0)
    falling = synthetic("a", 5478.0, 0.2)
    with pytest.raises(ReferenceFormatError, match="must rise"):
        normalise(Reference("a", "", falling.energy_ev, -falling.absorption), V_K_EV)


def test_the_steepest_rise_is_the_edge_of_a_foil() -> None:
    rng = np.random.default_rng(0)
    energy = np.arange(5400.0, 5600.0, 0.4)
    step = eq1(energy, np.array([0.0, 1.0, 5467.3, 1.5, 0.0, 5460.0, 1.0, 0.2, 5485.0, 8.0]))
    foil = Reference("foil", "V", energy, step + 0.003 * rng.normal(size=energy.size))
    assert first_inflection_ev(foil, V_K_EV) == pytest.approx(5467.3, abs=0.25)
    with pytest.raises(ReferenceFormatError, match="another element"):
        first_inflection_ev(foil, 7112.0)


def test_mixture_of_known_shares(grid: NDArray[np.float64]) -> None:
    references = [normalise(synthetic(n, e, r), V_K_EV) for n, e, r in (("a", 5478.0, 0.1), ("b", 5482.0, 0.6))]
    shares = np.array([[0.0, 0.2, 0.5, 1.0], [1.0, 0.8, 0.5, 0.0]])
    jump = np.array([0.05, 0.1, 0.2, 0.1])
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    mixture = linear_combination(grid, 0.03 + jump * (columns @ shares), references)
    np.testing.assert_allclose(mixture.fraction, shares, atol=1e-9)
    np.testing.assert_allclose(mixture.edge_jump, jump, rtol=1e-9)
    assert np.all(mixture.residual < 1e-12)


def test_mixture_is_never_negative_and_its_errors_are_honest(grid: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(3)
    references = [normalise(synthetic(n, e, 0.3), V_K_EV) for n, e in (("a", 5478.0), ("b", 5480.0), ("c", 5482.0))]
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    shares = np.array([0.3, 0.4, 0.3])[:, None] * np.ones((3, 2000))
    spectra = 0.1 * (columns @ shares) + 0.002 * rng.normal(size=(40, 2000))
    mixture = linear_combination(grid, spectra, references)
    assert mixture.fraction.min() >= 0
    np.testing.assert_allclose(mixture.fraction.sum(axis=0), 1.0, atol=1e-12)
    inside = np.all(mixture.fraction > 0, axis=0)
    within = np.abs(mixture.fraction - shares) < mixture.fraction_sigma
    assert 0.60 < np.mean(within[:, inside]) < 0.75
    assert np.median(mixture.residual) == pytest.approx(0.002, rel=0.05)


def test_nothing_to_explain_is_nan(grid: NDArray[np.float64]) -> None:
    references = [normalise(synthetic(n, e, 0.3), V_K_EV) for n, e in (("a", 5478.0), ("b", 5482.0))]
    falling = -np.interp(grid, references[0].energy_ev, references[0].absorption)
    assert np.all(np.isnan(linear_combination(grid, falling[:, None], references).fraction))


def test_unusable_references_are_refused(grid: NDArray[np.float64]) -> None:
    one = normalise(synthetic("a", 5478.0, 0.1), V_K_EV)
    with pytest.raises(InvalidOptionError, match="2 to 8 references, got 1"):
        linear_combination(grid, np.zeros((40, 1)), [one])
    short = Reference("short", "", one.energy_ev[200:], one.absorption[200:])
    with pytest.raises(InvalidOptionError, match="'short' covers 5450"):
        linear_combination(grid, np.zeros((40, 1)), [one, short])


def test_mixture_of_measured_oxides_is_within_five_percent(
    grid: NDArray[np.float64], reference_text: Callable[[str], str]
) -> None:
    """Jump 0.1, noise 3 % of it."""
    rng = np.random.default_rng(4)
    references = [normalise(read_xdi(reference_text(name)), V_K_EV) for name in ("V2O3", "V2O5")]
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    share = rng.uniform(0, 1, 500)
    spectra = 0.05 + 0.1 * (columns @ np.stack([share, 1 - share])) + 0.003 * rng.normal(size=(40, 500))
    error = linear_combination(grid, spectra, references).fraction[0] - share
    assert np.sqrt(np.mean(error**2)) < 0.05
    assert np.mean(np.abs(error) < 0.05) > 0.95


def test_measured_references_know_their_compound(reference_text: Callable[[str], str]) -> None:
    reference = read_xdi(reference_text("V2O5"))
    assert (reference.name, reference.formula) == ("V2O5", "V2O5")
    assert reference.energy_ev[0] == pytest.approx(5364.995)
    assert len(reference.energy_ev) == 517


@pytest.mark.parametrize(("name", "edge_ev", "ratio_ev"), [("V2O3", 5478.60, 0.61), ("V2O5", 5481.96, 2.48)])
def test_eq1_of_the_measured_oxides(reference_text: Callable[[str], str], name: str, edge_ev: float, ratio_ev: float) -> None:
    """Known: V2O3 5478.60 eV and 0.61 eV, V2O5 5481.96 eV and 2.48 eV; eq. 1 leaves a misfit of 3 % of the jump."""
    found = fit_reference(normalise(read_xdi(reference_text(name)), V_K_EV), V_K_EV)
    assert found.parameters[2, 0] == pytest.approx(edge_ev, abs=0.1)
    assert pre_edge_ratio(found.parameters)[0] == pytest.approx(ratio_ev, abs=0.08)
    assert found.residual[0] < 0.035 * found.parameters[1, 0]
