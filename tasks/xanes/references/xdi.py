"""Spectra in the XAFS Data Interchange format (XDI): text to energies and absorption."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import TaskError
from tasks.scattering import Absorber

MAX_BYTES: Final = 16 << 20
"""A larger text is no spectrum."""

FIELD: Final = re.compile(r"#\s*([A-Za-z]\w*)\.(\w+)\s*:\s*(.*?)\s*(?:\|\|.*)?$")

MU: Final = ("mutrans", "mufluor", "normtrans", "normfluor", "xmu", "mu", "norm", "flat")
"""Names of columns that are the absorption, measured or normalised, in the order of preference."""
UNNAMED: Final = "reference"
"""What a spectrum is called whose file does not say."""
MIN_POINTS: Final = 10
MIN_PHOTON_EV: Final = 30.0
MAX_PHOTON_EV: Final = 2e5
"""Photon energies [eV] from where the tables begin; a number outside is none."""
MOST_MISSING: Final = 0.02
"""Share of the rows, and one in any case, that may hold no finite absorption; no two of them beside each other."""


class ReferenceFormatError(TaskError, ValueError):
    """A text that is not the spectrum of a compound in XDI."""


@dataclass(frozen=True)
class Reference:
    """One spectrum.

    Parameters
    ----------
    name : str
    formula : str
        Empty where the file does not say.
    energy_ev : (R,) float64 array [eV]
        Ascending.
    absorption : (R,) float64 array
        As read, mu t of the intensity; after `tasks.xanes.references.normalisation.normalise`, 0 before the edge and about 1
        after it.
    element, edge : str
        The absorber as the file names it; empty where it does not.
    """

    name: str
    formula: str
    energy_ev: NDArray[np.float64]
    absorption: NDArray[np.float64]
    element: str = ""
    edge: str = ""


def read_xdi(text: str | bytes) -> Reference:
    """Read a spectrum in the XAFS Data Interchange format (XDI 1.0 and 1.1).

    The absorption is the first column of `MU` that there is, else ``ln(i0 / itrans)``, else ``ifluor / i0``. Points of one
    energy are averaged.

    Raises
    ------
    ReferenceFormatError
        Not XDI, no energy in eV, no column of absorption, rows that are not finite, or fewer than ten that are.
    """
    if len(text) > MAX_BYTES:
        raise ReferenceFormatError(f"a reference spectrum must be at most {MAX_BYTES} bytes, got {len(text)}")
    # Spreadsheets write a byte order mark.
    lines = (text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text).removeprefix("\ufeff").splitlines()
    if not lines or not lines[0].startswith("#") or "XDI/" not in lines[0]:
        seen = lines[0][:40] if lines else ""
        raise ReferenceFormatError(f"a reference must be XDI, its first line '#XDI/1.0'; got {seen!r}")
    fields, table = _fields(lines), _table(lines)
    named = {n: fields[f"column.{n}"].split() for n in range(1, 100) if fields.get(f"column.{n}")}
    if max(named, default=0) > table.shape[1]:
        raise ReferenceFormatError(f"the header names {max(named)} columns, the table has {table.shape[1]}")
    columns = {words[0].lower(): table[:, n - 1] for n, words in named.items()}
    unit = next((words[1].lower() for words in named.values() if words[0].lower() == "energy" and words[1:]), "ev")
    if "energy" not in columns or unit not in ("ev", "kev"):
        raise ReferenceFormatError(
            f"a reference must name a column 'energy' in eV or keV; got {', '.join(columns) or 'no names'} in {unit}"
        )
    name = fields.get("sample.name") or fields.get("sample.formula") or UNNAMED
    energy = columns["energy"] * (1e3 if unit == "kev" else 1.0)
    element, edge = fields.get("element.symbol", ""), fields.get("element.edge", "")
    return ordered(Reference(name, fields.get("sample.formula", ""), energy, absorption_of(columns), element, edge))


def require_absorber(reference: Reference, absorber: Absorber) -> None:
    """Raise `ReferenceFormatError` where the file names another element or edge than the absorber's."""
    for what, own, wanted in (("element", reference.element, absorber.element), ("edge", reference.edge, absorber.edge)):
        if own and own.lower() != wanted.lower():
            raise ReferenceFormatError(
                f"reference {reference.name!r} must be of the {absorber.element} {absorber.edge} edge, its {what} is {own[:20]!r}"
            )


def _fields(lines: list[str]) -> dict[str, str]:
    """Header fields ``family.member`` in lower case; of a repeated one the first."""
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith("#") and (match := FIELD.match(line)):
            found.setdefault(f"{match[1]}.{match[2]}".lower(), match[3])
    return found


def _table(lines: list[str]) -> NDArray[np.float64]:
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not rows or len({len(row) for row in rows}) != 1:
        raise ReferenceFormatError(f"the table of a reference must have rows of one length, got {len(rows)} rows")
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise ReferenceFormatError(f"the table of a reference must hold numbers: {error}") from error


def absorption_of(columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The absorption (R,) of a table's columns by their names in small letters.

    Raises
    ------
    ReferenceFormatError
        None of them says it.
    """
    for name in MU:
        if name in columns:
            return columns[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        if {"i0", "itrans"} <= columns.keys():
            return np.log(columns["i0"] / columns["itrans"])
        if {"i0", "ifluor"} <= columns.keys():
            return columns["ifluor"] / columns["i0"]
    raise ReferenceFormatError(f"a reference needs mutrans, or i0 with itrans or ifluor; got {', '.join(columns)}")


def ordered(reference: Reference) -> Reference:
    """The finite points by ascending energy, points of one energy averaged; its texts without control characters."""
    finite = np.isfinite(reference.energy_ev) & np.isfinite(reference.absorption)
    missing = np.flatnonzero(~finite)
    if missing.size > max(1.0, MOST_MISSING * finite.size) or np.any(np.diff(missing) == 1):
        raise ReferenceFormatError(
            f"the rows of a reference must hold finite numbers, {missing.size} of {finite.size} do not, the first is row "
            f"{missing[0] + 1}: remove them, or measure there again"
        )
    energy, inverse, counts = np.unique(reference.energy_ev[finite], return_inverse=True, return_counts=True)
    if len(energy) and not (energy[0] >= MIN_PHOTON_EV and energy[-1] <= MAX_PHOTON_EV):
        raise ReferenceFormatError(
            f"energies of a reference must be {MIN_PHOTON_EV:g} to {MAX_PHOTON_EV:g} eV, got {energy[0]:g} to {energy[-1]:g}: "
            "are they in keV, which the unit of the column must say, or are the columns the wrong way round?"
        )
    if len(energy) < MIN_POINTS:
        raise ReferenceFormatError(f"a reference needs at least {MIN_POINTS} finite points, got {len(energy)}")
    absorption = np.bincount(inverse, weights=reference.absorption[finite]) / counts
    texts = {name: _line(getattr(reference, name)) for name in ("name", "formula", "element", "edge")}
    return replace(reference, energy_ev=energy, absorption=absorption, **{**texts, "name": texts["name"] or UNNAMED})


def _line(text: str) -> str:
    """One line of text that can be stored and shown: what is no character of a text becomes a space."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
