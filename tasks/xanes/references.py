"""Spectra of known compounds: read from XDI, normalised, and mixed to explain a measured spectrum."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError, TaskError
from tasks.xanes.fit import SpectrumFit, fit_spectra

MAX_BYTES: Final = 16 << 20
"""A larger text is no spectrum."""

MAX_REFERENCES: Final = 8
"""Mixtures of more compounds than this cannot be told apart on forty energies."""

FIELD: Final = re.compile(r"#\s*([A-Za-z]\w*)\.(\w+)\s*:\s*(.*?)\s*(?:\|\|.*)?$")
PRE_EDGE_EV: Final = (-100.0, -15.0)
POST_EDGE_EV: Final = (80.0, 500.0)
"""Windows from the tabulated edge [eV] to which the line before it and the parabola after it are fitted."""

FIT_EV: Final = (-45.0, 75.0)
"""The window of the measurement of the paper, from the tabulated edge [eV]."""

FLATTEN_FROM_EV: Final = 10.0
"""From here on, measured from the tabulated edge, a normalised spectrum is divided by its own smooth background."""


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
        As read, mu t of the intensity; after `normalise`, 0 before the edge and about 1 after it.
    """

    name: str
    formula: str
    energy_ev: NDArray[np.float64]
    absorption: NDArray[np.float64]


def read_xdi(text: str | bytes) -> Reference:
    """Read a spectrum in the XAFS Data Interchange format (XDI 1.0 and 1.1).

    The absorption is a column ``mutrans``, ``mufluor``, ``normtrans``, ``xmu`` or ``mu`` where there is one, else
    ``ln(i0 / itrans)``, else ``ifluor / i0``. Points of one energy are averaged.

    Raises
    ------
    ReferenceFormatError
        Not XDI, no energy in eV, no column of absorption, or fewer than ten finite points.
    """
    if len(text) > MAX_BYTES:
        raise ReferenceFormatError(f"a reference spectrum must be at most {MAX_BYTES} bytes, got {len(text)}")
    lines = (text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text).splitlines()
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
    name = fields.get("sample.name") or fields.get("sample.formula") or "reference"
    energy = columns["energy"] * (1e3 if unit == "kev" else 1.0)
    return _ordered(Reference(name, fields.get("sample.formula", ""), energy, _absorption(columns)))


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


def _absorption(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    for name in ("mutrans", "mufluor", "normtrans", "normfluor", "xmu", "mu"):
        if name in columns:
            return columns[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        if {"i0", "itrans"} <= columns.keys():
            return np.log(columns["i0"] / columns["itrans"])
        if {"i0", "ifluor"} <= columns.keys():
            return columns["ifluor"] / columns["i0"]
    raise ReferenceFormatError(f"a reference needs mutrans, or i0 with itrans or ifluor; got {', '.join(columns)}")


def _ordered(reference: Reference) -> Reference:
    """The finite points by ascending energy, points of one energy averaged."""
    finite = np.isfinite(reference.energy_ev) & np.isfinite(reference.absorption)
    energy, inverse, counts = np.unique(reference.energy_ev[finite], return_inverse=True, return_counts=True)
    if len(energy) < 10:
        raise ReferenceFormatError(f"a reference needs at least 10 finite points, got {len(energy)}")
    absorption = np.bincount(inverse, weights=reference.absorption[finite]) / counts
    return replace(reference, energy_ev=energy, absorption=absorption)


def normalise(reference: Reference, edge_energy_ev: float) -> Reference:
    """Bring a reference to 0 before the edge and 1 after it.

    The line through the points before the edge is taken off; the step is the parabola through those well after it,
    continued to the edge, by which the spectrum is divided (a line, or a constant, where the spectrum is short).

    Raises
    ------
    ReferenceFormatError
        The spectrum does not cover the edge, or does not rise across it.
    """
    relative = reference.energy_ev - edge_energy_ev
    before = (relative >= PRE_EDGE_EV[0]) & (relative <= PRE_EDGE_EV[1])
    after = (relative >= POST_EDGE_EV[0]) & (relative <= POST_EDGE_EV[1])
    if after.sum() < 10:
        after = relative >= min(45.0, 0.75 * relative[-1])
    if before.sum() < 2 or after.sum() < 2 or relative[-1] < FLATTEN_FROM_EV:
        raise ReferenceFormatError(
            f"reference {reference.name!r} must cover the edge at {edge_energy_ev:.1f} eV from 15 eV before to 45 eV "
            f"after; got {reference.energy_ev[0]:.1f} to {reference.energy_ev[-1]:.1f} eV. Is it of another element?"
        )
    line = np.polyfit(relative[before], reference.absorption[before], 1)
    lifted = reference.absorption - np.polyval(line, relative)
    span = np.ptp(relative[after])
    background = np.polyfit(relative[after], lifted[after], 2 if span > 150 else 1 if span > 40 else 0)
    step = float(background[-1])
    if not step > 0:
        raise ReferenceFormatError(f"reference {reference.name!r} must rise across the edge; its step is {step:.3g}")
    divisor = np.where(relative > FLATTEN_FROM_EV, np.polyval(background, relative), step)
    return replace(reference, absorption=lifted / divisor)


def prepare(texts: Sequence[str], edge_energy_ev: float) -> list[Reference]:
    """Read and normalise XDI texts; of compounds with one name the later ones are numbered.

    Raises
    ------
    ReferenceFormatError
    """
    found: list[Reference] = []
    for text in texts:
        reference = normalise(read_xdi(text), edge_energy_ev)
        namesakes = sum(other.name.partition(" (")[0] == reference.name for other in found)
        found.append(replace(reference, name=f"{reference.name} ({namesakes + 1})") if namesakes else reference)
    return found


def fit_reference(reference: Reference, edge_energy_ev: float) -> SpectrumFit:
    """Eq. 1 fitted to a normalised reference, from 45 eV before the tabulated edge to 75 eV after it: one spectrum.

    Raises
    ------
    EnergyGridError
        Too few points in that window.
    """
    relative = reference.energy_ev - edge_energy_ev
    window = (relative >= FIT_EV[0]) & (relative <= FIT_EV[1])
    return fit_spectra(reference.energy_ev[window], reference.absorption[window, None], None, edge_energy_ev)


def first_inflection_ev(reference: Reference, edge_energy_ev: float) -> float:
    """Energy of the steepest rise within 25 eV of the tabulated edge [eV], which for a metal foil is its edge.

    Tabulated edge minus this is what to add to the energies of a beamline on whose axis the foil was measured.

    Raises
    ------
    ReferenceFormatError
        Fewer than five points there.
    """
    near = np.abs(reference.energy_ev - edge_energy_ev) <= 25.0
    energy = reference.energy_ev[near]
    if len(energy) < 5:
        raise ReferenceFormatError(
            f"reference {reference.name!r} must have at least 5 points within 25 eV of {edge_energy_ev:.1f} eV; got "
            f"{len(energy)}. Is it of another element?"
        )
    # a foil's edge is 2 eV wide; a finer axis would make the steepest point one of noise
    grid = np.arange(energy[0], energy[-1], 0.1)
    kernel = np.exp(-0.5 * (np.arange(-30, 31) / 8.0) ** 2)
    smooth = np.convolve(np.interp(grid, energy, reference.absorption[near]), kernel / kernel.sum(), mode="valid")
    return float(grid[30:-30][np.argmax(np.gradient(smooth))])


@dataclass(frozen=True)
class Mixture:
    """Pixels explained as mixtures of references.

    Parameters
    ----------
    fraction : (m, n) float64 array
        Share of each reference, none negative, summing to 1; NaN where no mixture with a positive jump fits.
    fraction_sigma : (m, n) float64 array
        One standard error of each, scaled by the residual; of shares that are zero, as if they were free.
    edge_jump : (n,) float64 array
        Step of the mixture, in the unit of the spectra.
    residual : (n,) float64 array
        Standard deviation of one data point about the mixture, in the unit of the spectra.
    """

    fraction: NDArray[np.float64]
    fraction_sigma: NDArray[np.float64]
    edge_jump: NDArray[np.float64]
    residual: NDArray[np.float64]


def linear_combination(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.floating], references: Sequence[Reference]
) -> Mixture:
    """Explain each spectrum as ``offset + jump * sum_i f_i reference_i(E)`` with ``f_i >= 0`` and ``sum_i f_i = 1``.

    The least-squares solution is exact: every subset of the references is solved without constraint, and of those
    without a negative share the best is kept.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    absorption : (E, n) float array
        One spectrum a column, in any unit; neither offset nor jump need be known.
    references : two to eight `Reference`
        Normalised; interpolated linearly to the energies.

    Raises
    ------
    InvalidOptionError
        Too few or too many references, or one that does not cover the energies.
    """
    columns = _design(energy_ev, references)
    data = np.asarray(absorption, dtype=np.float64)
    m, n = len(references), data.shape[1]
    best = np.full(n, np.inf)
    shares = np.full((m, n), np.nan)
    for size in range(1, m + 1):
        for subset in combinations(range(m), size):
            part = columns[:, [0, *(i + 1 for i in subset)]]
            solution = np.linalg.lstsq(part, data, rcond=None)[0]
            misfit = np.square(data - part @ solution).sum(axis=0)
            better = (misfit < best) & np.all(solution[1:] > 0, axis=0)
            best[better] = misfit[better]
            shares[:, better] = 0.0
            shares[np.ix_(subset, better)] = solution[1:, better]
    jump = shares.sum(axis=0)
    residual = np.sqrt(np.where(np.isfinite(best), best, np.nan) / max(len(columns) - m - 1, 1))
    return Mixture(shares / jump, _share_errors(columns, shares, residual), jump, residual)


def _design(energy_ev: NDArray[np.float64], references: Sequence[Reference]) -> NDArray[np.float64]:
    """A column of ones and one a reference, at the measured energies (E, 1 + m)."""
    energy = np.asarray(energy_ev, dtype=np.float64)
    if not 2 <= len(references) <= MAX_REFERENCES:
        raise InvalidOptionError(f"a mixture needs 2 to {MAX_REFERENCES} references, got {len(references)}")
    for reference in references:
        low, high = reference.energy_ev[0], reference.energy_ev[-1]
        if low > energy[0] or high < energy[-1]:
            raise InvalidOptionError(
                f"reference {reference.name!r} covers {low:.1f} to {high:.1f} eV, the measurement {energy[0]:.1f} to "
                f"{energy[-1]:.1f} eV; it must cover all of it"
            )
    return np.stack([np.ones_like(energy), *(np.interp(energy, r.energy_ev, r.absorption) for r in references)], axis=1)


def _share_errors(
    columns: NDArray[np.float64], shares: NDArray[np.float64], residual: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standard errors (m, n) of the shares c_i / sum c, from the covariance of c."""
    covariance = np.linalg.pinv(columns.T @ columns)[1:, 1:]
    jump = shares.sum(axis=0)
    slope = (np.eye(len(shares))[:, :, None] - (shares / jump)[:, None, :]) / jump
    return np.asarray(residual * np.sqrt(np.einsum("ijn,jk,ikn->in", slope, covariance, slope)))
