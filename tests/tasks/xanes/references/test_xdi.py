"""Spectra read from XDI; what is none is refused with its reason."""

from collections.abc import Callable

import numpy as np
import pytest

from tasks.scattering import Absorber
from tasks.xanes.references.xdi import Reference, ReferenceFormatError, read_xdi, require_absorber

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


@pytest.mark.parametrize("text", [HEADER + rows(), "\ufeff" + HEADER + rows(), ("\ufeff" + HEADER + rows()).encode()])
def test_reads_columns_by_name(text: str | bytes) -> None:
    reference = read_xdi(text)
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


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [([0, 5], "2 of 60 do not"), ([20, 21], "the first is row 21"), (range(60), "60 of 60 do not"), ([3, 4, 5], "remove them")],
)
@pytest.mark.parametrize("value", ["nan", "inf", "0"])
def test_rows_that_are_not_finite_are_refused_unless_they_are_rare(spoilt: list[int], words: str, value: str) -> None:
    """A transmitted intensity of zero has no finite absorption either."""
    lines = rows(60).splitlines()
    for i in spoilt:
        lines[i] = lines[i].rsplit(" ", 1)[0] + f" {value}"
    with pytest.raises(ReferenceFormatError, match=words):
        read_xdi(HEADER + "\n".join(lines))


def test_one_row_of_a_hundred_may_be_missing() -> None:
    lines = rows(100).splitlines()
    lines[40] = "5500 nan 1"
    assert len(read_xdi(HEADER + "\n".join(lines)).energy_ev) == 99


@pytest.mark.parametrize(
    ("element", "edge", "words"), [("La", "L3", "element is 'La'"), ("V", "L3", "edge is 'L3'"), ("Ba", "", "element is 'Ba'")]
)
def test_a_file_of_another_absorber_is_refused(element: str, edge: str, words: str) -> None:
    reference = Reference("a", "", np.arange(3.0), np.arange(3.0), element, edge)
    with pytest.raises(ReferenceFormatError, match=words):
        require_absorber(reference, Absorber("V", "K"))


def test_a_file_that_names_no_absorber_or_ours_is_taken() -> None:
    for element, edge in (("", ""), ("v", "k"), ("V", "")):
        require_absorber(Reference("a", "", np.arange(3.0), np.arange(3.0), element, edge), Absorber("V", "K"))


def test_measured_references_know_their_compound(reference_text: Callable[[str], str]) -> None:
    reference = read_xdi(reference_text("V2O5"))
    assert (reference.name, reference.formula) == ("V2O5", "V2O5")
    assert reference.energy_ev[0] == pytest.approx(5364.995)
    assert len(reference.energy_ev) == 517


@pytest.mark.parametrize("change", [lambda e: e / 1e3, lambda e: 1239.84 / e, lambda e: e * 1e3, lambda e: e - 5450])
def test_energies_that_no_photons_have_are_refused(change: Callable[[np.ndarray], np.ndarray]) -> None:
    energy = np.linspace(5400, 5500, 30)
    rows = "\n".join(f"{one:.6f} {n}" for n, one in enumerate(change(energy)))
    text = "#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n#---\n" + rows
    with pytest.raises(ReferenceFormatError, match="are they in keV"):
        read_xdi(text)
