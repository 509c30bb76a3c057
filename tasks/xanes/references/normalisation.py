"""Reference spectra of one absorber: read, checked, brought to an edge jump of 1, and fitted by eq. 1."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from tasks.scattering import Absorber
from tasks.xanes.fit import SpectrumFit, fit_spectra
from tasks.xanes.references.xdi import Reference, ReferenceFormatError, read_xdi, require_absorber

PRE_EDGE_EV: Final = (-100.0, -15.0)
POST_EDGE_EV: Final = (80.0, 500.0)
"""Windows from the tabulated edge [eV] to which the line before it and the parabola after it are fitted."""

SHORT_POST_EDGE_EV: Final = 45.0
SHORT_POST_EDGE_SHARE: Final = 0.75
"""Where a short spectrum's window after the edge begins [eV], or at this share of the spectrum's reach where that is less."""
FEWEST_AFTER: Final = 10
"""A spectrum with fewer points in `POST_EDGE_EV` is short."""
PARABOLA_SPAN_EV: Final = 150.0
LINE_SPAN_EV: Final = 40.0
"""Windows after the edge wider than these get a parabola, or a line; else a constant."""

FIT_EV: Final = (-45.0, 75.0)
"""The window of the measurement of the paper, from the tabulated edge [eV]."""

FLATTEN_FROM_EV: Final = 10.0
"""From here on, measured from the tabulated edge, a normalised spectrum is divided by its own smooth background."""

LEAST_STEP: Final = 1e-6
"""Step across the edge over the greatest absorption; what is less is rounding."""


def prepare(texts: Sequence[str], absorber: Absorber) -> list[Reference]:
    """Read, check and normalise XDI texts; of compounds with one name the later ones are numbered.

    Raises
    ------
    ReferenceFormatError
    """
    found: list[Reference] = []
    for text in texts:
        reference = read_reference(text, absorber)
        namesakes = sum(other.name.partition(" (")[0] == reference.name for other in found)
        found.append(replace(reference, name=f"{reference.name} ({namesakes + 1})") if namesakes else reference)
    return found


def read_reference(text: str, absorber: Absorber) -> Reference:
    """The normalised spectrum that an XDI text holds.

    Raises
    ------
    ReferenceFormatError
        The text is no spectrum, names another element or edge, or cannot be normalised.
    """
    reference = read_xdi(text)
    require_absorber(reference, absorber)
    return normalise(reference, absorber)


def normalise(reference: Reference, absorber: Absorber) -> Reference:
    """Bring a reference to 0 before the edge and 1 after it.

    The line through the points before the edge is taken off; the step is the parabola through those well after it,
    continued to the edge, by which the spectrum is divided (a line, or a constant, where the spectrum is short). Neither
    window reaches to the absorber's next edges.

    Raises
    ------
    ReferenceFormatError
        The spectrum does not cover the edge, does not rise across it, or the next edge leaves no room after it.
    """
    edge = absorber.edge_energy_ev
    relative = reference.energy_ev - edge
    first, last = (limit - edge for limit in absorber.lone_range_ev)
    before = (relative >= max(PRE_EDGE_EV[0], first)) & (relative <= PRE_EDGE_EV[1])
    after = (relative >= POST_EDGE_EV[0]) & (relative <= min(POST_EDGE_EV[1], last))
    if after.sum() < FEWEST_AFTER:
        after = (relative >= min(SHORT_POST_EDGE_EV, SHORT_POST_EDGE_SHARE * relative[-1])) & (relative <= last)
    if before.sum() < 2 or after.sum() < 2 or relative[-1] < FLATTEN_FROM_EV:
        raise ReferenceFormatError(_no_room(reference, absorber))
    line = np.polyfit(relative[before], reference.absorption[before], 1)
    lifted = reference.absorption - np.polyval(line, relative)
    span = np.ptp(relative[after])
    background = np.polyfit(relative[after], lifted[after], 2 if span > PARABOLA_SPAN_EV else 1 if span > LINE_SPAN_EV else 0)
    step = float(background[-1])
    if not (LEAST_STEP * float(np.abs(reference.absorption).max()) < step < np.inf):
        raise ReferenceFormatError(f"reference {reference.name!r} must rise across the edge; its step is {step:.3g}")
    divisor = np.where(relative > FLATTEN_FROM_EV, np.polyval(background, relative), step)
    return replace(reference, absorption=lifted / divisor)


def _no_room(reference: Reference, absorber: Absorber) -> str:
    """Why a reference has too few points before or after the edge."""
    edge, (low, high) = absorber.edge_energy_ev, absorber.lone_range_ev
    beside = [f"{limit:.1f} eV" for limit in absorber.neighbours_ev if abs(limit - edge) < POST_EDGE_EV[0]]
    near = f"; the next edge of {absorber.element} at {' and '.join(beside)} is too close" if beside else ""
    return (
        f"reference {reference.name!r} must cover the edge at {edge:.1f} eV from {-PRE_EDGE_EV[1]:g} eV before to "
        f"{SHORT_POST_EDGE_EV:g} eV after, between {low:.1f} and {high:.1f} eV where it stands alone; got "
        f"{reference.energy_ev[0]:.1f} to {reference.energy_ev[-1]:.1f} eV{near or '. Is it of another element?'}"
    )


def fit_reference(reference: Reference, absorber: Absorber) -> SpectrumFit:
    """Eq. 1 fitted to a normalised reference, from 45 eV before the tabulated edge to 75 eV after it: one spectrum.

    Raises
    ------
    EnergyGridError
        Too few points in that window, which ends at the absorber's next edges.
    """
    edge = absorber.edge_energy_ev
    first, last = (limit - edge for limit in absorber.lone_range_ev)
    relative = reference.energy_ev - edge
    window = (relative >= max(FIT_EV[0], first)) & (relative <= min(FIT_EV[1], last))
    return fit_spectra(reference.energy_ev[window], reference.absorption[window, None], None, edge)
