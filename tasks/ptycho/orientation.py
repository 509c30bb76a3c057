"""The orientation of the detector, found from the patterns themselves by a few cycles in every orientation.

Eight orientations (flips and transpose) form four pairs. Frames rotated by half a turn, both axes flipped, are those of
the complex conjugate of object and probe at the same positions: R is exactly the same. So R decides between
the pairs; within a pair the specimen decides, as its phase falls where its absorption rises (phi < 0 in matter).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.errors import OrientationError
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import advance
from tasks.ptycho.reconstruction import OnCycle, Reconstruction
from tasks.ptycho.scan import Scan, illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State

FLIP_ROWS, FLIP_COLUMNS, TRANSPOSE = 1, 2, 4
"""Bits of an orientation; the transpose is applied last."""

HALF_TURN = FLIP_ROWS | FLIP_COLUMNS

TRIAL = ReconstructOptions(cycles=12, probe_update="position", settle=0, subpixel=False)
"""Options of a trial: the probe is updated at every position, which converges first."""

LONGER_TRIAL = ReconstructOptions(cycles=40)
"""Options of the reconstruction in the best orientation, long enough to separate the object's absorption from the probe."""

MOST_FRAMES = 100
"""Number of frames of a trial, the nearest to the middle of the scan."""

CLEAR_RATIO = 1.3
"""R of the next best pair over that of the best must be larger: 2.2 on the Siemens star, 25 to 79 simulated."""

CONTRADICTION_RATIO = 1.6
"""The same before a given orientation is contradicted, with two random orders of visits: 2.2 on the star."""

CONTRADICTION_ERROR = 0.03
"""Largest R with which another orientation contradicts the given one: 0.021 on the star; frames that show nothing, under a
wrong probe, leave 0.02 to 0.09."""

MIN_CONTRAST = 0.2
"""Correlation of absorption and phase above which the sign of the phase is known: 0.5 to 0.9 on the star and simulated."""

GOOD_ERROR = 0.01
"""An R below which no other orientation is tried: wrong ones reached 0.012 to 0.05 in a trial."""

FEWEST_CYCLES = 4 * TRIAL.max_cycles
"""A shorter reconstruction is not checked: it costs less than the check."""


@dataclass(frozen=True)
class Verdict:
    """The result of trials in all orientations."""

    best: int
    """The orientation of least R in which the phase is negative in matter."""
    errors: dict[int, float]
    """R after the trial in each of the eight orientations."""
    contrast: float
    """Correlation of absorption and phase in the best orientation: negative in matter, near 0 where undetermined."""

    @property
    def is_clear(self) -> bool:
        """Whether the best pair fits clearly better than all others."""
        return self.lead > CLEAR_RATIO

    @property
    def lead(self) -> float:
        """R of the next best pair over that of the best."""
        rest = [error for one, error in self.errors.items() if one not in (self.best, self.best ^ HALF_TURN)]
        return float(min(rest) / self.errors[self.best])

    @property
    def is_sign_known(self) -> bool:
        """Whether the object absorbs enough to tell an orientation from its half turn."""
        return abs(self.contrast) > MIN_CONTRAST


def find_orientation(scan: Scan, probe: NDArray[np.complex64], on_cycle: OnCycle | None = None) -> Verdict:
    """Try all orientations of the scan's frames.

    Parameters
    ----------
    scan : Scan
        Frames in any orientation; positions (y, x).
    probe : (M, N, N) complex64 array
        Initial probe, in the frames' own orientation.
    on_cycle : callable, optional
        As of `tasks.ptycho.reconstruction.Reconstruction`: an exception it raises ends the trials.
    """
    part = middle_frames(scan)
    tried = {one: _trial(part, probe, one, TRIAL, on_cycle) for one in range(8) if not one & FLIP_COLUMNS}
    best = min(tried, key=lambda one: tried[one].errors[-1])
    contrast = phase_contrast(*_object_and_field(part, probe, best, on_cycle))
    errors = {one: float(tried[one if one in tried else one ^ HALF_TURN].errors[-1]) for one in range(8)}
    if contrast > MIN_CONTRAST:
        best, contrast = best ^ HALF_TURN, -contrast
    return Verdict(best, errors, contrast)


def require_clear(verdict: Verdict) -> int:
    """The orientation found, where it is determined.

    Raises
    ------
    OrientationError
        Two pairs fit equally well, or the specimen absorbs too little to tell an orientation from its half turn.
    """
    table = ", ".join(f"{one}: {error:.3g}" for one, error in sorted(verdict.errors.items()))
    if not verdict.is_clear:
        raise OrientationError(
            f'orientation "auto" needs one orientation whose R is at least {CLEAR_RATIO} times below the others\', got {table} '
            f"after {TRIAL.cycles} cycles; give it (0-7), or look for another cause: the positions' unit, distance_m, the overlap"
        )
    if not verdict.is_sign_known:
        raise OrientationError(
            f'orientation "auto" found {verdict.best} and its half turn {verdict.best ^ HALF_TURN}, which differ in the sign of '
            f"the phase alone, and the specimen absorbs too little to tell (correlation {verdict.contrast:.2f}): give one of them"
        )
    return verdict.best


def require_fit(scan: Scan, probe: NDArray[np.complex64], given: int, on_cycle: OnCycle | None = None) -> None:
    """Check in a few cycles that frames already brought into the orientation ``given`` do not fit another one far better.

    Raises
    ------
    OrientationError
        Another orientation fits; the message names both.
    """
    part = middle_frames(scan)
    found = float(_trial(part, probe, 0, TRIAL, on_cycle).errors[-1])
    if found < GOOD_ERROR:
        return
    verdict = find_orientation(scan, probe, on_cycle)
    if verdict.best in (0, HALF_TURN) or verdict.lead < CONTRADICTION_RATIO or verdict.errors[verdict.best] > CONTRADICTION_ERROR:
        return
    other_order = replace(TRIAL, seed=TRIAL.seed + 1)
    now, then = (float(_trial(part, probe, one, other_order, on_cycle).errors[-1]) for one in (0, verdict.best))
    if now > CONTRADICTION_RATIO * then and then < CONTRADICTION_ERROR:
        best = composed(given, verdict.best)
        raise OrientationError(
            f"the frames do not fit the positions: R {found:.3g} after {TRIAL.cycles} cycles with orientation {given}, "
            f"{verdict.errors[verdict.best]:.3g} with orientation {best}; they are flipped or transposed on their way from the "
            f'detector: make the dataset again with orientation {best}, or "auto"'
        )


def composed(first: int, then: int) -> int:
    """The orientation equal to ``first`` followed by ``then``."""
    if first & TRANSPOSE:  # flipping rows after a transpose equals flipping columns before it
        then = then & TRANSPOSE | bool(then & FLIP_ROWS) * FLIP_COLUMNS | bool(then & FLIP_COLUMNS) * FLIP_ROWS
    return first ^ then


def middle_frames(scan: Scan) -> Scan:
    """The `MOST_FRAMES` frames nearest to the middle of the scan."""
    middle = np.median(scan.positions_m, axis=0)
    nearest = np.argsort(np.sum((scan.positions_m - middle) ** 2, axis=1), kind="stable")[:MOST_FRAMES]
    return replace(scan, counts=scan.counts[nearest], positions_m=scan.positions_m[nearest])


def positions_on_detector(positions_m: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """(P, 2) float64: positions along the axes of frames to which ``orientation`` has not been applied."""
    turned = positions_m[:, ::-1] if orientation & TRANSPOSE else positions_m
    return turned * [-1 if orientation & FLIP_ROWS else 1, -1 if orientation & FLIP_COLUMNS else 1]


def _trial(
    scan: Scan, probe: NDArray[np.complex64], orientation: int, options: ReconstructOptions, on_cycle: OnCycle | None
) -> State:
    """The state after a reconstruction on the assumption that the frames need ``orientation``."""
    turned = replace(scan, positions_m=positions_on_detector(scan.positions_m, orientation))
    canvas = plan_canvas(turned.positions_m, scan.pixel_size_m, scan.n_pixels)
    return advance(Reconstruction(turned, canvas, init(canvas, probe, options), options.max_cycles, options, on_cycle))


def _object_and_field(
    scan: Scan, probe: NDArray[np.complex64], orientation: int, on_cycle: OnCycle | None
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """The object (Y, X) after `LONGER_TRIAL`, and a (Y, X) mask of its illuminated pixels."""
    state = _trial(scan, probe, orientation, LONGER_TRIAL, on_cycle)
    positions_m = positions_on_detector(scan.positions_m, orientation)
    canvas = plan_canvas(positions_m, scan.pixel_size_m, scan.n_pixels)
    dose = illumination(canvas, positions_m, np.asarray(state.probe))
    return np.asarray(state.object), dose > 0.1 * dose.max()


def phase_contrast(object_: NDArray[np.complex64], illuminated: NDArray[np.bool_]) -> float:
    """Correlation of absorption and phase of an object (Y, X) over ``illuminated`` pixels, its phase ramp removed.

    It is negative in matter, and 0 where either is constant.
    """
    flat = object_
    for axis in (0, 1):
        neighbours = np.roll(flat, 1, axis).conj() * (illuminated & np.roll(illuminated, 1, axis))
        along = np.exp(-1j * np.angle(np.sum(flat * neighbours)) * np.arange(object_.shape[axis]))
        flat = flat * (along[:, None] if axis == 0 else along)
    seen = flat[illuminated & (np.abs(object_) > 0)]
    absorption, phase = -np.log(np.abs(seen)), np.angle(seen / seen.mean())
    if not absorption.std() * phase.std() > 0:
        return 0.0
    return float(np.corrcoef(absorption, phase)[0, 1])
