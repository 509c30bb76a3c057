"""Spectra as columns of text: Athena's ``.nor`` and ``.xmu``, and tables of any origin.

Lines that begin with ``#``, ``%``, ``;`` or ``!`` are comments. The last comment before the numbers names the columns, as Athena
writes it; or their first line does. Without names two columns are energy and absorption.

Source: Ravel & Newville, J. Synchrotron Rad. 2005, 12, 537 (Athena's column files).
"""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.references.xdi import MU, Reference, ReferenceFormatError, absorption_of, ordered

COMMENT: Final = "#%;!"
ENERGIES: Final = ("energy", "e", "ev", "energy_ev", "energy(ev)", "e(ev)")
KEV_BELOW: Final = 150.0
"""Energies that all lie below are keV: no edge of the tables is below, in eV, and above, in keV."""


def read_columns(text: str, name: str = "reference") -> Reference:
    """The spectrum in a table of columns.

    Parameters
    ----------
    text : str
    name : str
        What the spectrum is called.

    Raises
    ------
    ReferenceFormatError
        No table of numbers, or columns that do not say what is energy and what absorption.
    """
    comments: list[list[str]] = []
    rows: list[list[str]] = []
    for line in text.splitlines():
        words = re.split(r"[,\s]+", line.strip(COMMENT + " \t\r"))
        if (line.lstrip()[:1] in COMMENT and line.strip()) or not all(map(_is_number, words)):
            if not rows and words != [""]:
                comments.append([word.lower() for word in words])
        elif line.strip():
            rows.append(words)
    if not rows or len({len(row) for row in rows}) != 1:
        raise ReferenceFormatError(f"the table of a reference must have rows of one length, got {len(rows)} rows")
    table = np.array([[float(word) for word in row] for row in rows])
    energy, absorption = _columns(table, comments[-1] if comments else [])
    return ordered(Reference(name, "", energy * (1e3 if energy.max() < KEV_BELOW else 1.0), absorption))


def _columns(table: NDArray[np.float64], names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energy and absorption (R,) of a table (R, C)."""
    n = table.shape[1]
    if len(names) == n and names[0] in ENERGIES:
        columns = {name: table[:, index] for index, name in reversed([*enumerate(names)])}
        if n == 2 and names[1] not in MU:
            return table[:, 0], table[:, 1]
        return table[:, 0], absorption_of(columns)
    if n != 2:
        raise ReferenceFormatError(
            f"a table of {n} columns must name them above its numbers, energy first and one of {', '.join(MU)}; "
            f"got {' '.join(names)[:60]!r}"
        )
    return table[:, 0], table[:, 1]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word  # which Python takes for a separator of digits
