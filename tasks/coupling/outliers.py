"""Energies that stand out: a reconstruction that stuck, a specimen that jumped, a spectrum that breaks the relation.

Every energy is told apart from its neighbours, because figures of merit change slowly over an edge. A measure of scatter
that outliers cannot move decides what is far (median absolute deviation; Hampel, JASA 69, 383 (1974)).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.arrays import robust_sd
from tasks.gauge import ripple_of

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NEIGHBOURS = 2
"""An energy is compared with so many on either side."""
FAR_SIGMAS = 6.0
"""An outlier lies further out than this many standard deviations of the scatter, matter than so many of the vacuum's noise."""
LEAST_ENERGIES = 5
"""Of fewer energies the scatter is not known."""
LEAST_FACTOR = 1.5
"""An outlier's R or residual is this many times its neighbours' at least."""
LEAST_JUMP_PX = 3.0
"""An outlier's place differs by this much from the median of all at least."""
MOST_NOISE = 3.0
"""R this many times what photon noise leaves: a measured Siemens star ends at 1.5, simulated specimens at 1.1 to 2."""
MOST_STEP_RAD = 2.4
LEAST_STEPS = 10
"""So many steps of the phase from pixel to pixel above `MOST_STEP_RAD` leave open which whole turn the pixels beyond are in."""
RELATION_SLOPES = 0.65, 1.5
"""Slopes of the measured phase on the one that the absorption predicts; simulated specimens have 0.9 to 1.1."""
LEAST_LIKENESS = 0.9
"""Correlation of the two below which their slope says little."""
FAR_NOISIER = 5.0
"""The phase of an energy is this many times noisier than that of most where its beam was lost; doses differ by less."""
MOST_NAMED = 5
"""Noisy energies that a message names, at most."""
MOST_WITHOUT_PHASE = 0.1
"""Share of the absorbing pixels whose phase is less than their absorption; matter's is several times as large."""


def coupling_warnings(energy_ev: Array, r_factor: Array, noise_error: Array, kk_residual: Array, shift_px: Array) -> list[str]:
    """What a user should look at, one sentence an energy and figure; none where all energies are alike.

    Parameters
    ----------
    energy_ev : (E,) float64 array, ascending
    r_factor : (E,) float array
        Of each energy's last cycle.
    noise_error : (E,) float array
        R that photon noise alone would leave.
    kk_residual : (E,) float array
    shift_px : (E, 2) float array
        Where the specimen sits relative to its mean place.
    """
    diverged = ~np.isfinite(r_factor)
    found = [f"{e:.1f} eV: the reconstruction diverged, its R is not a number" for e in energy_ev[diverged]]
    found += unexplained(r_factor, noise_error)
    for name, values in (("R", r_factor), ("Kramers-Kronig residual", kk_residual)):
        logarithm = np.log(np.maximum(values, np.finfo(np.float32).tiny))
        excess = logarithm - neighbours(logarithm)
        found += [
            f"{energy_ev[e]:.1f} eV: {name} {values[e]:.3g} is {np.exp(excess[e]):.1f} times its neighbours'"
            for e in np.flatnonzero(is_far(excess, np.log(LEAST_FACTOR)) & (excess > 0))
        ]
    return found + shift_warnings(energy_ev, shift_px)


def shift_warnings(energy_ev: Array, shift_px: Array) -> list[str]:
    """One sentence for each energy (E,) [eV] whose specimen jumped away from its place at the others, by shifts (E, 2) [px]."""
    excess = shift_px - np.median(shift_px, axis=0)
    length = np.hypot(excess[:, 0], excess[:, 1])
    jumped = is_far(excess[:, 0], LEAST_JUMP_PX) | is_far(excess[:, 1], LEAST_JUMP_PX)
    return [
        f"{energy_ev[e]:.1f} eV: the specimen sits {length[e]:.1f} px from its place at the other energies"
        for e in np.flatnonzero(jumped)
    ]


def phase_warnings(energy_ev: Array, absorption: NDArray[np.float32], phase: NDArray[np.float32], vacuum: Mask) -> list[str]:
    """One sentence where the phase may be off by whole turns, which an edge of more than half a turn within a pixel hides.

    Another where what lies deepest in the phase absorbs less than the vacuum: matter was taken for vacuum, or the sign is wrong.

    Parameters
    ----------
    energy_ev : (E,) float64 array
    absorption, phase : (E, Y, X) float32 arrays
        NaN outside the field.
    vacuum : (Y, X) bool array
    """
    steep = np.array([count_steep(image) for image in phase])
    doubt = (
        ": it may be off by whole turns (2 pi) where the specimen is thick. Reconstruct with finer pixels, or compare with the "
    )
    doubt += "absorption"
    if steep.max() >= LEAST_STEPS:
        worst = int(np.argmax(steep))
        return [
            f"{energy_ev[worst]:.1f} eV: the phase changes by more than {MOST_STEP_RAD:g} rad from one pixel to the next at "
            f"{steep[worst]} places{doubt}"
        ]
    field = np.logical_and.reduce([np.isfinite(image) for image in phase])
    mean_absorption, mean_phase = (
        ndimage.gaussian_filter(np.where(field, images.mean(axis=0), 0.0), 1.0) for images in (absorption, phase)
    )
    deep = field & (-mean_phase > FAR_SIGMAS * np.std(mean_phase[vacuum]))
    least = -FAR_SIGMAS * ripple_of(mean_absorption, vacuum)
    if deep.any() and np.median(mean_absorption[deep]) < least:
        return [
            f"where the phase is lowest the absorption is {np.median(mean_absorption[deep]):.2g}, less than in the area taken "
            "for empty: either the sign of the phase is wrong, which matter makes negative, or matter was taken for empty, such "
            "as a wedge, whose phase looks like a ramp. Name an empty box (align.vacuum_box)"
        ]
    absorbing = field & (mean_absorption > FAR_SIGMAS * np.std(mean_absorption[vacuum]))
    share = np.mean(-mean_phase[absorbing] < mean_absorption[absorbing]) if absorbing.any() else 0.0
    if share < MOST_WITHOUT_PHASE:
        return []
    return [f"{share:.0%} of the absorbing pixels have next to no phase, or a positive one{doubt}"]


def count_steep(phase: NDArray[np.float32]) -> int:
    """How often a phase (Y, X) [rad] changes by more than `MOST_STEP_RAD` from one pixel to the next."""
    return sum(int(np.count_nonzero(np.abs(np.diff(phase, axis=axis)) > MOST_STEP_RAD)) for axis in (0, 1))


def relation_warnings(measured: Array, predicted: Array) -> list[str]:
    """One sentence where the phase (E,) follows the one that the absorption predicts (E,), but by another factor than 1."""
    if len(measured) < LEAST_ENERGIES or not (np.ptp(measured) > 0 and np.ptp(predicted) > 0):
        return []
    if abs(np.corrcoef(measured, predicted)[0, 1]) < LEAST_LIKENESS:
        return []
    slope = float(np.polyfit(predicted, measured, 1)[0])
    if RELATION_SLOPES[0] < slope < RELATION_SLOPES[1]:
        return []
    return [
        f"the phase changes over the edge {slope:.2g} times as much as the Kramers-Kronig relation predicts from the "
        "absorption: 0.5 tells an intensity taken for an amplitude, a negative number a wrong sign of the phase, 2 an absorption "
        "that is halved"
    ]


def unexplained(r_factor: Array, noise_error: Array) -> list[str]:
    """One sentence where the model misses much of what the patterns (E energies) say, none where it explains them."""
    times = r_factor / noise_error
    times = times[np.isfinite(times)]
    if not len(times) or np.median(times) < MOST_NOISE:
        return []
    return [
        f"R is {np.median(times):.1f} times what photon noise leaves (median over energies): the model does not explain the "
        "patterns. Usual causes: wrong positions (reconstruct.position_refinement), drifting flux (reconstruct.frame_flux), "
        "bad pixels missing in the mask, background, too few cycles"
    ]


def neighbours(values: Array) -> Array:
    """(E,) float64: median of the neighbours of each of ``values`` (E,), itself left out; fewer at the ends."""
    near = [np.r_[values[max(0, e - NEIGHBOURS) : e], values[e + 1 : e + 1 + NEIGHBOURS]] for e in range(len(values))]
    return np.array([np.median(part) if part.size else value for part, value in zip(near, values, strict=True)])


def is_far(excess: Array, least: float) -> NDArray[np.bool_]:
    """(E,) bool: beyond `FAR_SIGMAS` of the scatter of ``excess`` (E,) and beyond ``least``; never of too few."""
    is_enough = len(excess) >= LEAST_ENERGIES
    return np.abs(excess) > max(FAR_SIGMAS * robust_sd(excess), least) if is_enough else np.zeros(len(excess), bool)


def noisiest(energy_ev: Sequence[float] | Array, sigma_phase: Array) -> str:
    """The energies whose phase is far noisier in the vacuum than that of most, to end a sentence with; "" where there is none.

    Parameters
    ----------
    energy_ev, sigma_phase : (E,) array [eV], [rad]
    """
    usual = float(np.median(sigma_phase))
    bad = np.flatnonzero(sigma_phase > FAR_NOISIER * usual)
    if not len(bad):
        return ""
    named = ", ".join(f"{energy_ev[index]:.1f} eV ({sigma_phase[index]:.2g} rad)" for index in bad[:MOST_NAMED])
    noise = f" The noise is that of {named}, of the others {usual:.2g} rad"
    return f"{noise}: if the beam was lost there, leave it out (align.leave_out_ev)"
