"""Which way up the detector is, found from the patterns themselves: a few cycles in every orientation.

Eight orientations (flips and transpose) fall in four pairs. Frames turned by half a turn, both axes flipped, are those of
the complex conjugate of object and probe at the same positions: R is the same to the last photon. So R decides between
the pairs; within one, matter does: its phase falls where its absorption rises (DESIGN conventions: phi < 0).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.errors import OrientationError
from tasks.options import ReconstructOptions
from tasks.ptycho.engine import run_cycles
from tasks.ptycho.scan import Scan, illumination, plan_canvas
from tasks.ptycho.state import State, start

OnCycle = Callable[[int, float], None]

FLIP_ROWS, FLIP_COLUMNS, TRANSPOSE = 1, 2, 4
"""Bits of an orientation; the transpose comes last."""

HALF_TURN = FLIP_ROWS | FLIP_COLUMNS

TRIAL = ReconstructOptions(cycles=12, probe_update="position", settle=0, subpixel=False)
"""Cycles of a trial: the probe is corrected at every position, which finds its place soonest."""

SECOND_LOOK = ReconstructOptions(cycles=40)
"""Cycles of the best, until its absorption is no longer that of the probe."""

MOST_FRAMES = 100
"""Frames of a trial: the nearest to the middle of the scan."""

CLEARLY = 1.3
"""R of the best orientation must be so many times smaller than the next pair's: 2.2 on the Siemens star, 25 to 79 simulated."""

SURELY = 1.6
"""R must be so many times smaller, in two orders of visits, before a given orientation is contradicted: 2.2 on the star."""

FITS = 0.03
"""And at most this: 0.021 on the star. Frames that show nothing, under a wrong probe, leave 0.02 to 0.09, by chance."""

LEAST_CONTRAST = 0.2
"""Correlation of absorption and phase above which the sign of the phase is known: 0.5 to 0.9 on the same."""

GOOD_ERROR = 0.01
"""An R that no wrong orientation was seen to reach in a trial (0.012 to 0.05): nothing else needs to be tried."""

FEWEST_CYCLES = 4 * TRIAL.cycles
"""A shorter reconstruction costs less than to find out that its orientation is wrong."""


@dataclass(frozen=True)
class Verdict:
    """What the trials say."""

    best: int
    """The orientation that fits best, its phase negative in matter."""
    errors: dict[int, float]
    """R after the trial in each of the eight orientations."""
    contrast: float
    """Correlation of absorption and phase in the best orientation: negative in matter, near 0 where unknown."""

    @property
    def is_clear(self) -> bool:
        """Whether the best pair fits clearly better than all others."""
        return self.lead > CLEARLY

    @property
    def lead(self) -> float:
        """How many times larger R is in the next best pair."""
        rest = [error for one, error in self.errors.items() if one not in (self.best, self.best ^ HALF_TURN)]
        return float(min(rest) / self.errors[self.best])

    @property
    def is_sign_known(self) -> bool:
        """Whether the object absorbs enough to tell an orientation from its half turn."""
        return abs(self.contrast) > LEAST_CONTRAST


def find_orientation(scan: Scan, probe: NDArray[np.complex64], on_cycle: OnCycle | None = None) -> Verdict:
    """Try all orientations of the scan's frames.

    Parameters
    ----------
    scan : Scan
        Frames as they are; positions (y, x).
    probe : (M, N, N) complex64 array
        First guess, in the frames' own orientation.
    on_cycle : callable, optional
        As of `engine.run_cycles`: what it raises ends the trials.
    """
    part = middle_of(scan)
    tried = {one: _trial(part, probe, one, TRIAL, on_cycle) for one in range(8) if not one & FLIP_COLUMNS}
    best = min(tried, key=lambda one: tried[one].errors[-1])
    contrast = phase_contrast(*_lit(part, probe, best, on_cycle))
    errors = {one: float(tried[one if one in tried else one ^ HALF_TURN].errors[-1]) for one in range(8)}
    if contrast > LEAST_CONTRAST:
        best, contrast = best ^ HALF_TURN, -contrast
    return Verdict(best, errors, contrast)


def require_clear(verdict: Verdict) -> int:
    """The orientation found.

    Raises
    ------
    OrientationError
        Two pairs fit alike, or nothing tells an orientation from its half turn.
    """
    table = ", ".join(f"{one}: {error:.3g}" for one, error in sorted(verdict.errors.items()))
    if not verdict.is_clear:
        raise OrientationError(
            f'orientation "auto" needs one orientation whose R is at least {CLEARLY} times below the others\', got {table} after '
            f"{TRIAL.cycles} cycles; give it (0-7), or look for another cause: the positions' unit, distance_m, the overlap"
        )
    if not verdict.is_sign_known:
        raise OrientationError(
            f'orientation "auto" found {verdict.best} and its half turn {verdict.best ^ HALF_TURN}, which differ in the sign of '
            f"the phase alone, and the specimen absorbs too little to tell (correlation {verdict.contrast:.2f}): give one of them"
        )
    return verdict.best


def require_fit(scan: Scan, probe: NDArray[np.complex64], given: int, on_cycle: OnCycle | None = None) -> None:
    """Find out in a few cycles whether frames that ``given`` has turned already fit another orientation, and that far better.

    Raises
    ------
    OrientationError
        Naming both.
    """
    part = middle_of(scan)
    found = float(_trial(part, probe, 0, TRIAL, on_cycle).errors[-1])
    if found < GOOD_ERROR:
        return
    verdict = find_orientation(scan, probe, on_cycle)
    if verdict.best in (0, HALF_TURN) or verdict.lead < SURELY or verdict.errors[verdict.best] > FITS:
        return
    other_order = replace(TRIAL, seed=TRIAL.seed + 1)
    now, then = (float(_trial(part, probe, one, other_order, on_cycle).errors[-1]) for one in (0, verdict.best))
    if now > SURELY * then and then < FITS:
        best = composed(given, verdict.best)
        raise OrientationError(
            f"the frames do not fit the positions: R {found:.3g} after {TRIAL.cycles} cycles with orientation {given}, "
            f"{verdict.errors[verdict.best]:.3g} with orientation {best}; they are flipped or transposed on their way from the "
            f'detector: make the dataset again with orientation {best}, or "auto"'
        )


def composed(first: int, then: int) -> int:
    """The one orientation that does what ``first`` does, and ``then`` upon it."""
    if first & TRANSPOSE:  # rows that are flipped after a transpose were columns before it
        then = then & TRANSPOSE | bool(then & FLIP_ROWS) * FLIP_COLUMNS | bool(then & FLIP_COLUMNS) * FLIP_ROWS
    return first ^ then


def middle_of(scan: Scan) -> Scan:
    """The `MOST_FRAMES` frames nearest to the middle of the scan."""
    middle = np.median(scan.positions_m, axis=0)
    nearest = np.argsort(np.sum((scan.positions_m - middle) ** 2, axis=1), kind="stable")[:MOST_FRAMES]
    return replace(scan, counts=scan.counts[nearest], positions_m=scan.positions_m[nearest])


def positions_on_detector(positions_m: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """(P, 2): the positions along the axes of frames that ``orientation`` would turn into those of the positions."""
    turned = positions_m[:, ::-1] if orientation & TRANSPOSE else positions_m
    return turned * [-1 if orientation & FLIP_ROWS else 1, -1 if orientation & FLIP_COLUMNS else 1]


def _trial(
    scan: Scan, probe: NDArray[np.complex64], orientation: int, options: ReconstructOptions, on_cycle: OnCycle | None
) -> State:
    """What the scan gives if its frames need ``orientation``."""
    turned = replace(scan, positions_m=positions_on_detector(scan.positions_m, orientation))
    canvas = plan_canvas(turned.positions_m, scan.pixel_size_m, scan.n_pixels)
    return run_cycles(turned, canvas, start(canvas, probe, options), options.cycles, options, on_cycle)


def _lit(
    scan: Scan, probe: NDArray[np.complex64], orientation: int, on_cycle: OnCycle | None
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """The object after a second look, and where it was lit."""
    state = _trial(scan, probe, orientation, SECOND_LOOK, on_cycle)
    positions_m = positions_on_detector(scan.positions_m, orientation)
    dose = illumination(plan_canvas(positions_m, scan.pixel_size_m, scan.n_pixels), positions_m, state.probe)
    return state.object, dose > 0.1 * dose.max()


def phase_contrast(image: NDArray[np.complex64], lit: NDArray[np.bool_]) -> float:
    """Correlation of absorption and phase of an object (Y, X) where it was ``lit``, without a ramp: negative in matter."""
    flat = image
    for axis in (0, 1):
        neighbours = np.roll(flat, 1, axis).conj() * (lit & np.roll(lit, 1, axis))
        along = np.exp(-1j * np.angle(np.sum(flat * neighbours)) * np.arange(image.shape[axis]))
        flat = flat * (along[:, None] if axis == 0 else along)
    seen = flat[lit & (np.abs(image) > 0)]
    absorption, phase = -np.log(np.abs(seen)), np.angle(seen / seen.mean())
    if not absorption.std() * phase.std() > 0:
        return 0.0
    return float(np.corrcoef(absorption, phase)[0, 1])
