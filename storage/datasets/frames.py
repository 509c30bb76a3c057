"""Frames of a scan that no reconstruction can use: dark, far too bright, never written, or of unknown position."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

BadFrames = Literal["refuse", "leave_out", "keep"]
"""What becomes of such frames: the scan is refused, it is stored without them, or with them."""

DARK: Final = 0.01
BRIGHT: Final = 10.0
SIGMAS: Final = 10.0
"""A frame stands apart with less than `DARK` or more than `BRIGHT` times the usual photons, if they differ by `SIGMAS` standard
deviations of the photon noise."""
USUAL_QUANTILE: Final = 0.8
"""The usual number of photons is the median of those frames that have a hundredth of this quantile or more."""
MAX_HIDDEN: Final = 0.3
"""Where the mask hides more of the beam than this, photons depend on what the specimen scatters: only dark frames count."""

MIN_FILL: Final = 2
"""A frame whose pixels all read this or more was filled, not measured; single photons in every pixel are let pass."""

MIN_COPIED: Final = 50
"""Frames of fewer photons may be equal by chance."""

STUCK: Final = 3
"""A position that repeats in this many frames, and in this many times as many as is usual, is a reading that stuck."""
STUCK_AXIS: Final = 10
STUCK_AXIS_SHARE: Final = 0.1
"""One axis that rests for so many frames, and this share of the scan, is a reading that stuck; stages that read coarsely, or
move along the other axis, rest for less."""
SAME_POSITION: Final = 1e-3
"""Positions nearer than this fraction of the usual step are the same."""
ISOLATED: Final = 20.0
"""A frame whose nearest neighbour is further than this many times the usual distance shares no light with another."""

MAX_LEFT_OUT: Final = 0.5
"""Share of the frames above which a scan is refused rather than stored without them."""
MAX_NAMED: Final = 10


@dataclass(frozen=True)
class FrameFinding:
    """Frames that stand apart for one reason.

    Attributes
    ----------
    field : str
        "counts" or "positions_m".
    frames : (n,) int
        Their indices, ascending.
    reason : str
        What is unusual, without their names.
    """

    field: str
    frames: NDArray[np.intp]
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}: {len(self.frames)} ({named(self.frames)})"


def named(frames: NDArray[np.intp]) -> str:
    """Return the indices of frames as text, runs as "first-last", at most `MAX_NAMED` of them."""
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    runs = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in np.split(frames, breaks)]
    more = f" and {len(runs) - MAX_NAMED} more runs" if len(runs) > MAX_NAMED else ""
    return f"frame{'s' if len(frames) > 1 else ''} {', '.join(runs[:MAX_NAMED])}{more}"


def find_bad_frames(
    totals: NDArray[np.float64],
    constant: NDArray[np.float64],
    unwritten: NDArray[np.bool_],
    positions_m: NDArray[np.float64] | None,
    hidden: float = 0.0,
) -> list[FrameFinding]:
    """Find the frames of a scan that stand apart from its others.

    Parameters
    ----------
    totals : (P,) float64 array
        Photons in the good pixels of each frame.
    constant : (P,) float64 array
        What every pixel of the frame reads, NaN where they differ.
    unwritten : (P,) bool array
        Frames of which a part was never written.
    positions_m : (P, 2) float64 array, optional
        Positions (y, x) [m]; None where they do not belong to the frames.
    hidden : float
        Share of the beam that the mask hides.
    """
    filled = ~unwritten & (constant >= MIN_FILL)
    others = ~unwritten & ~filled
    found = [
        FrameFinding("counts", np.flatnonzero(unwritten), "frames that were never written, or only in part"),
        FrameFinding(
            "counts", np.flatnonzero(filled), f"frames in which every pixel reads {_value(constant, filled)}, as unwritten"
        ),
        *_by_photons(totals, others, hidden),
    ]
    if positions_m is not None and len(positions_m) > STUCK:
        found += _by_position(positions_m)
    return [finding for finding in found if len(finding.frames)]


def _value(constant: NDArray[np.float64], filled: NDArray[np.bool_]) -> str:
    values = np.unique(constant[filled])
    return f"{values[0]:g}" if len(values) == 1 else "the same"


def _by_photons(totals: NDArray[np.float64], others: NDArray[np.bool_], hidden: float) -> Iterator[FrameFinding]:
    if not totals[others].any():
        return
    typical = usual_photons(totals[others])
    judged = others & (np.abs(totals - typical) > SIGMAS * np.sqrt(typical))
    low = 0.0 if hidden > MAX_HIDDEN else DARK * typical
    dark = judged & (totals <= low)
    yield FrameFinding("counts", np.flatnonzero(dark), f"frames (nearly) without light, where {typical:.3g} photons are usual")
    if hidden <= MAX_HIDDEN:
        # Where the specimen absorbs much, the brightest fifth of the frames is beside it.
        brightest = float(np.quantile(totals[others], USUAL_QUANTILE))
        bright = judged & (totals > BRIGHT * brightest)
        times = totals[bright].max(initial=0.0) / typical
        reason = f"frames up to {times:.0f} times as bright as the usual {typical:.3g} photons"
        yield FrameFinding("counts", np.flatnonzero(bright), reason)


def usual_photons(totals: NDArray[np.float64]) -> float:
    """Return the median number of photons of the frames that have light, also where half of them are dark."""
    floor = DARK * float(np.quantile(totals, USUAL_QUANTILE))
    lit = totals[totals > floor]
    return float(np.median(lit if len(lit) else totals))


def _by_position(positions_m: NDArray[np.float64]) -> Iterator[FrameFinding]:
    steps = np.abs(np.diff(positions_m, axis=0))
    moved = np.hypot(*steps.T)
    if not moved.any():
        return
    same = SAME_POSITION * float(np.median(moved[moved > 0]))
    stuck = long_runs(moved <= same)
    yield FrameFinding("positions_m", np.flatnonzero(stuck), "frames whose position repeats, as if an encoder stuck")
    for axis, name in enumerate("yx"):
        other = steps[:, 1 - axis]
        if (steps[:, axis] > same).any():
            shortest = max(STUCK_AXIS, round(STUCK_AXIS_SHARE * len(positions_m)))
            held = long_runs(steps[:, axis] <= same, shortest, stuck)
            # While one axis rests the other must move, else the position repeats as a whole.
            moving = np.concatenate([other > same, [True]])
            reason = f"frames in which {name} rests far longer than elsewhere, as if its encoder stuck"
            yield FrameFinding("positions_m", np.flatnonzero(held & (moving | np.roll(moving, 1))), reason)
    yield FrameFinding("positions_m", np.flatnonzero(_isolated(positions_m)), "frames far from all others, as if misread")


def long_runs(rests: NDArray[np.bool_], shortest: int = STUCK, ignored: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """Return (P,) bool: frames of runs that are `STUCK` times as long as the median run, and at least ``shortest`` frames.

    Parameters
    ----------
    rests : (P - 1,) bool array
        Whether a frame is where the one before it was.
    shortest : int
    ignored : (P,) bool array, optional
        Frames that do not count.
    """
    starts = np.concatenate([[0], np.flatnonzero(~rests) + 1])
    lengths = np.diff(np.concatenate([starts, [len(rests) + 1]]))
    long_enough = max(shortest, STUCK * float(np.median(lengths)))
    counted = lengths if ignored is None else lengths - np.add.reduceat(ignored.astype(np.int64), starts)
    long = np.repeat(counted >= long_enough, lengths)
    return long if ignored is None else long & ~ignored


def _isolated(positions_m: NDArray[np.float64]) -> NDArray[np.bool_]:
    distances = _nearest_distances(positions_m)
    usual = float(np.median(distances[distances > 0])) if distances.any() else 0.0
    return np.asarray((usual > 0) & (distances > ISOLATED * usual))


def _nearest_distances(positions_m: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    tree: Any = cKDTree(positions_m)
    return np.asarray(tree.query(positions_m, k=2)[0][:, 1], np.float64)


def revisited(positions_m: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the frames (n,) that share their position with at least `STUCK` - 1 others and far more than is usual."""
    _, group, sizes = np.unique(positions_m, axis=0, return_inverse=True, return_counts=True)
    often = sizes >= max(STUCK, STUCK * float(np.median(sizes)))
    return np.flatnonzero(often[group.reshape(-1)])


def copies(totals: NDArray[np.float64], checksums: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the frames (n,) that equal an earlier one count by count, which photon noise does not let happen.

    Parameters
    ----------
    totals : (P,) float64 array
        Photons of each frame; frames of fewer than `MIN_COPIED` may be equal by chance.
    checksums : (P,) int64 array
        Of the counts of each frame.
    """
    _, first, group = np.unique(np.stack([totals, checksums]), axis=1, return_index=True, return_inverse=True)
    repeats = first[group.reshape(-1)] < np.arange(len(totals))
    return np.flatnonzero(repeats & (totals >= MIN_COPIED))
