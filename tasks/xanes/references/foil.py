"""The edge of a metal foil, by which the energies of a beamline are calibrated."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.arrays import robust_sd
from tasks.scattering import Absorber
from tasks.xanes.references.files import read_spectra
from tasks.xanes.references.xdi import Reference, ReferenceFormatError, require_absorber

REACH_EV: Final = 25.0
"""How far the axis of a beamline may be off [eV]; less where another edge of the element is nearer than twice this."""

GRID_EV: Final = 0.1
SMOOTHING_EV: Final = 0.8
"""Standard deviation of the weights of the local lines [eV]; a foil's edge is 2 eV wide. Coarse scans take their own step."""

RISE_SHARE: Final = 0.5
"""An inflection counts where the spectrum rises at least this fast, over the fastest rise."""

SURE_SIGMAS: Final = 4.0
"""Standard errors by which a slope is surely more than another."""
LEAST_DIP: Final = 0.1
"""A slope that falls by less than this share of its top, or by noise, still climbs."""
MIN_POINTS: Final = 5
"""Of a spectrum within reach."""
MOST_STEP_EV: Final = 1.5
"""Wider steps pass over the first of two inflections, or find it by chance."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FoilCalibration:
    """What a foil's spectrum says of the axis it was measured on."""

    edge_ev: float
    """The foil's edge on the beamline's axis [eV]."""
    tabulated_ev: float
    """The edge in the tables [eV]."""

    @property
    def offset_ev(self) -> float:
        """What to add to the beamline's energies [eV], the option ``align.energy_offset_ev``."""
        return round(self.tabulated_ev - self.edge_ev, 3)


def calibrate(content: str | bytes, absorber: Absorber) -> FoilCalibration:
    """Find the edge of a foil of the absorber in a file: XDI, columns of text, or a project of Athena with one spectrum.

    Raises
    ------
    ReferenceFormatError
        In no such format, several spectra of the absorber, or as for `first_inflection_ev`.
    """
    found = read_spectra(content.encode() if isinstance(content, str) else content, "foil")
    ours = [one for one in found if one.element.lower() == absorber.element.lower()] or found
    if len(ours) != 1:
        names = ", ".join(repr(one.name[:40]) for one in ours[:5])
        raise ReferenceFormatError(
            f"a foil's file must hold one spectrum, this one holds {len(ours)}: {names}. Export the foil's alone"
        )
    return FoilCalibration(first_inflection_ev(ours[0], absorber), absorber.edge_energy_ev)


def first_inflection_ev(reference: Reference, absorber: Absorber) -> float:
    """Energy of the first inflection of a spectrum near the tabulated edge [eV], which for a metal foil is its edge.

    It is the first maximum of the derivative that reaches half of the greatest: foils of iron or nickel rise twice, 8 to 12
    eV apart and equally fast. The derivative is that of local lines. Tabulated edge minus this is what to add to the energies
    of a beamline on whose axis the foil was measured.

    Raises
    ------
    ReferenceFormatError
        Another element or edge, fewer than five points there or too wide apart, no rise within reach, a fall steeper than the
        rise, or noise or a single point that could make another inflection the first.
    """
    require_absorber(reference, absorber)
    edge = absorber.edge_energy_ev
    below, above = (abs(neighbour - edge) / 2 for neighbour in absorber.neighbours_ev)
    energy, absorption = reference.energy_ev, reference.absorption
    inside = (energy >= edge - min(REACH_EV, below)) & (energy <= edge + min(REACH_EV, above))
    energy, absorption = _apart(energy[inside], absorption[inside])
    if len(energy) < MIN_POINTS:
        raise ReferenceFormatError(
            f"reference {reference.name!r} must have at least {MIN_POINTS} points within {REACH_EV:g} eV of {edge:.1f} eV; got "
            f"{len(energy)}. Is it of another element?"
        )
    if np.median(np.diff(energy)) > MOST_STEP_EV:
        raise ReferenceFormatError(
            f"the foil {reference.name!r} must be measured in steps of at most {MOST_STEP_EV:g} eV about its edge; got "
            f"{np.median(np.diff(energy)):.1f} eV"
        )
    # Few points tell their noise badly: the whole spectrum's counts where it is the larger.
    noise = max(point_noise(energy, absorption), point_noise(reference.energy_ev, reference.absorption))
    found = _inflection(energy, absorption, noise, reference.name)
    _require_many_points(energy, absorption, noise, found, reference.name)
    return found


def _apart(energy_ev: Array, absorption: Array) -> tuple[Array, Array]:
    """Points of which those within one step of the `GRID_EV` are one: a point measured twice makes no scan a fine one."""
    _, owner, n_points = np.unique(np.floor(energy_ev / GRID_EV), return_inverse=True, return_counts=True)
    energy, values = (np.bincount(owner, weights=one) / n_points for one in (energy_ev, absorption))
    return energy, values


def _inflection(energy_ev: Array, absorption: Array, noise: float, name: str) -> float:
    grid = np.arange(energy_ev[0], energy_ev[-1], GRID_EV)
    slope, sigma = local_slopes(energy_ev, absorption, grid, noise)
    return float(grid[_first_peak(slope, sigma, grid, name)])


def _require_many_points(energy_ev: Array, absorption: Array, noise: float, found_ev: float, name: str) -> None:
    """Raise where the inflection moves with any one of the points near it, as a glitch of the monochromator makes it."""
    step = float(np.median(np.diff(energy_ev)))
    for i in np.flatnonzero(np.abs(energy_ev - found_ev) < 2 * max(SMOOTHING_EV, step)):
        without = _inflection(np.delete(energy_ev, i), np.delete(absorption, i), noise, name)
        if abs(without - found_ev) > 2 * max(SMOOTHING_EV, step):
            raise ReferenceFormatError(
                f"the first inflection of the foil {name!r} must not rest on one point; it is at {found_ev:.1f} eV, and without "
                f"the point at {energy_ev[i]:.1f} eV at {without:.1f} eV. Is that point a glitch? Leave it out"
            )


def local_slopes(energy_ev: Array, absorption: Array, grid_ev: Array, noise: float) -> tuple[Array, Array]:
    """Slopes of lines fitted about each energy of a grid (G,), and their standard errors.

    Parameters
    ----------
    energy_ev, absorption : (R,) float64 array
    grid_ev : (G,) float64 array [eV]
    noise : float
        Standard deviation of one point.
    """
    width = max(SMOOTHING_EV, float(np.median(np.diff(energy_ev))))
    distance = energy_ev - grid_ev[:, None]
    weight = np.exp(-0.5 * (distance / width) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    centred = distance - np.sum(weight * distance, axis=1, keepdims=True)
    row = weight * centred
    row /= np.sum(row * centred, axis=1, keepdims=True)
    return row @ absorption, noise * np.linalg.norm(row, axis=1)


def point_noise(energy_ev: Array, absorption: Array) -> float:
    """Standard deviation of one point of a spectrum (R,), at least five, from its distance to the cubic through four neighbours.

    What is smooth follows the cubics, and the median passes over the edge and glitches.
    """
    energy = np.lib.stride_tricks.sliding_window_view(energy_ev, 5)
    value = np.lib.stride_tricks.sliding_window_view(absorption, 5)
    around = energy[:, (0, 1, 3, 4)]
    weight = np.stack(
        [
            np.prod(np.delete(energy[:, 2, None] - around, i, axis=1) / np.delete(around[:, i, None] - around, i, axis=1), axis=1)
            for i in range(4)
        ],
        axis=1,
    )
    residual = (value[:, 2] - np.sum(weight * value[:, (0, 1, 3, 4)], axis=1)) / np.sqrt(1 + np.sum(weight**2, axis=1))
    return robust_sd(residual, centre=0.0)


def _first_peak(slope: Array, sigma: Array, grid_ev: Array, name: str) -> int:
    """Index of the first maximum of ``slope`` (G,) that reaches `RISE_SHARE` of the greatest."""
    greatest = int(np.argmax(slope))
    level = RISE_SHARE * slope[greatest]
    doubt = SURE_SIGMAS * sigma
    if not level > doubt[greatest]:
        raise ReferenceFormatError(
            f"the foil {name!r} must rise clearly above its noise; its steepest rise is {slope[greatest]:.2g} per eV, known to "
            f"{sigma[greatest]:.1g}. Measure it longer"
        )
    if -slope.min() > slope[greatest] + doubt[greatest]:
        raise ReferenceFormatError(
            f"the absorption of the foil {name!r} must rise faster at its edge than it falls anywhere near; it falls by "
            f"{-slope.min():.2g} and rises by {slope[greatest]:.2g} per eV at most. Is it a transmission, or has it a glitch?"
        )
    surely, perhaps = slope >= level + doubt, (slope >= level - doubt) & (slope >= doubt)
    peak = _top_of(slope, int(np.argmax(surely)), doubt)
    # A dip that the noise may hide is no dip to the one, and the end of a first rise to the other.
    early = _top_of(slope, int(np.argmax(perhaps)), doubt / 4)
    if grid_ev[peak] - grid_ev[early] > 2 * SMOOTHING_EV:
        raise ReferenceFormatError(
            f"the foil {name!r} rises at {grid_ev[early]:.1f} and at {grid_ev[peak]:.1f} eV, and noise could make either its "
            "first inflection. Measure it longer, or give the offset itself (align.energy_offset_ev)"
        )
    if peak in (0, len(slope) - 1):
        raise ReferenceFormatError(
            f"the first inflection of the foil {name!r} must lie within {REACH_EV:g} eV of the tabulated edge; the spectrum "
            f"rises towards {grid_ev[peak]:.1f} eV. Is it of another element?"
        )
    return peak


def _top_of(slope: Array, begin: int, doubt: Array) -> int:
    """Index of the maximum that the slope climbs to from ``begin``, lesser dips of noise on the way passed over."""
    top = begin
    for i in range(begin, len(slope)):
        if slope[i] > slope[top]:
            top = i
        elif slope[top] - slope[i] > max(doubt[i], LEAST_DIP * slope[top]):
            break
    return top
