"""Tables of columns, as Athena and others write them."""

import numpy as np
import pytest

from tasks.xanes.references.columns import read_columns
from tasks.xanes.references.xdi import ReferenceFormatError

ENERGIES_EV = np.linspace(5400, 5550, 12)
NOR = "# Athena data file -- Athena version 0.9.26\n# Athena parameters\n#------------------------\n#  energy  norm  nbkg  flat\n"


def rows(*columns: np.ndarray) -> str:
    return "\n".join(" ".join(f"{value:.6f}" for value in row) for row in zip(ENERGIES_EV, *columns, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        NOR + rows(np.arange(12.0), np.zeros(12), np.ones(12)),
        "Energy,i0,xmu\n" + rows(np.ones(12), np.arange(12.0)).replace(" ", ","),
        "% e i0 itrans\n" + rows(np.exp(np.arange(12.0)), np.ones(12)),
        rows(np.arange(12.0)),
        "energy  intensity\r\n" + rows(np.arange(12.0)).replace("\n", "\r\n"),
    ],
)
def test_energy_and_absorption_are_found_by_their_names(text: str) -> None:
    found = read_columns(text, "powder")
    assert found.name == "powder"
    np.testing.assert_allclose(found.energy_ev, ENERGIES_EV)
    np.testing.assert_allclose(found.absorption, np.arange(12.0), atol=1e-5)


def test_kilo_electronvolts_are_told_by_their_size() -> None:
    text = "\n".join(f"{energy / 1e3:.6f} 1.0" for energy in ENERGIES_EV)
    np.testing.assert_allclose(read_columns(text).energy_ev, ENERGIES_EV, atol=1e-2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "rows of one length, got 0"),
        ("1 2\n1 2 3\n", "rows of one length"),
        (rows(np.ones(12), np.ones(12)), "must name them"),
        ("# energy a b\n" + rows(np.ones(12), np.ones(12)), "needs mutrans"),
        ("5400 1\n5401 nan\n5402 1\n", "finite"),
        ("<html>\n<p>1 2</p>", "rows of one length"),
        (rows(np.arange(12.0)).replace(".", "_"), "rows of one length, got 0"),
        ("\n".join(f"{energy:.0f} \u0661\u0662" for energy in ENERGIES_EV[:5]), "at least 10 finite points"),
        ("1e999 1\n" * 12, "finite"),
    ],
)
def test_what_says_too_little_is_refused(text: str, words: str) -> None:
    with pytest.raises(ReferenceFormatError, match=words):
        read_columns(text)
