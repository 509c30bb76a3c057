"""Files of references: the format is found by content, and every spectrum survives as XDI."""

import gzip

import numpy as np
import pytest

from tasks.xanes.references.files import read_spectra, xdi_text
from tasks.xanes.references.xdi import MAX_BYTES, Reference, ReferenceFormatError, read_xdi

ROWS = "\n".join(f"{5400 + 10 * i} {0.1 * i:.3f}" for i in range(12))


def test_xdi_and_columns_are_told_apart() -> None:
    (named,) = read_spectra(
        f"#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# Sample.name: V2O3\n#-\n{ROWS}".encode(), "f"
    )
    (bare,) = read_spectra(f"#XDI/1.0\n# Column.1: energy eV\n# Column.2: norm\n#-\n{ROWS}".encode(), "f")
    (table,) = read_spectra(ROWS.encode(), "f")
    assert [one.name for one in (named, bare, table)] == ["V2O3", "f", "f"]


def test_a_spectrum_is_the_same_as_xdi() -> None:
    given = Reference("a || b\nc", "V2O3", np.linspace(5400, 5550, 20), np.linspace(-0.5, 1.5, 20), "V", "K")
    found = read_xdi(xdi_text(given))
    assert (found.name, found.formula, found.element, found.edge) == ("a b c", "V2O3", "V", "K")
    np.testing.assert_allclose(found.energy_ev, given.energy_ev, atol=1e-4)
    np.testing.assert_allclose(found.absorption, given.absorption, rtol=1e-6)


@pytest.mark.parametrize(
    "content", [b"\0" * 20, bytes(MAX_BYTES + 1), b"", gzip.compress(b"energy mu", mtime=0), b"\x89HDF\r\n\x1a\n\0"]
)
def test_what_is_in_no_format_is_refused(content: bytes) -> None:
    with pytest.raises(ReferenceFormatError):
        read_spectra(content)
