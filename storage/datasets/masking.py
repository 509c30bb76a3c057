"""What a detector mask hides, and pixels that no mask names although they count no photons."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from storage.datasets.counts import CountReport
from storage.errors import FieldError

MIN_GOOD_FRACTION: Final = 0.1
"""A mask that leaves less of the frame than this has its meaning the wrong way round."""
MAX_HIDDEN_COUNTS: Final = 0.9
"""A mask that hides more of the counted photons than this hides what was measured."""
HIDDEN_COUNTS: Final = 0.05
"""Share of the counted photons that may be masked without a word."""
HIDDEN_BEAM: Final = 0.5
"""Share of the beam, as its surroundings let expect it, that may be masked without a word."""
BRIGHTEST: Final = 0.002
"""Fraction of the pixels that are the brightest of the mean pattern."""

HOT: Final = 10.0
"""A pixel whose mean is this many times that of the third brightest of its neighbours, and whose least count is above it,
is hot: an oversampled pattern cannot change so fast, for its speckles are two pixels wide or more."""

GATHERED: Final = 0.3
"""Resultant length of the mean on the circle from which on the light of a pattern has a place."""
OFF_CENTRE: Final = 0.15
IN_CORNERS: Final = 0.4
"""Shares of the frame's side by which the light lies off its middle: told, and as in a pattern that begins in its middle."""

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def mask_faults(report: CountReport, mask: Mask) -> Iterator[FieldError]:
    """Yield what is wrong with a mask (N, N), true where good, given the counts on both sides of it."""
    left = float(report.good.mean())
    share = hidden_counts(report)
    if left < MIN_GOOD_FRACTION:
        yield FieldError("mask", f"leaves {left:.1%} of the pixels; is its meaning inverted?")
    elif share > MAX_HIDDEN_COUNTS and not mask.all():
        yield FieldError(
            "mask", f"hides {share:.1%} of the counted photons, the brightest pixels among them; is its meaning inverted?"
        )


def mask_warnings(report: CountReport, mask: Mask) -> Iterator[str]:
    """Yield what the user should know of the masked pixels, one sentence each."""
    share, beam = hidden_counts(report), hidden_beam(report)
    bright = _brightest(report.sum + report.hidden)
    n_hidden = int(np.count_nonzero(bright & (report.hidden > report.sum)))
    if share > HIDDEN_COUNTS or n_hidden:
        yield (
            f"the mask hides {share:.1%} of the counted photons, with {n_hidden} of the {int(bright.sum())} brightest pixels of "
            "the mean pattern: check that it marks bad pixels only"
        )
    elif beam > HIDDEN_BEAM:
        yield f"the mask hides about {beam:.0%} of the beam, judged by the pixels around it: is it a beam stop?"
    lost = report.saturated & mask
    if lost.any() and (report.n_saturated[lost] < len(report.totals)).any():
        photons = float(report.sum[lost].sum() / max(report.sum.sum(), 1.0))
        most = int(report.n_saturated[lost].max())
        yield (
            f"{int(lost.sum())} pixels reach the end of the detector's range, in up to {most} frames each, and are masked in "
            f"all; their other readings are {photons:.1%} of the photons"
        )


def hidden_counts(report: CountReport) -> float:
    """Share of the counted photons that lie in masked pixels."""
    hidden = float(report.hidden.sum())
    return hidden / max(hidden + float(report.sum.sum()), 1.0)


def hidden_beam(report: CountReport) -> float:
    """Share of the beam expected in the pixels that are never good, from the mean count at their distance from the middle.

    Nearer to the middle than any good pixel, the nearest good ones are taken, so the share is the least to be expected.
    """
    if report.good.all():
        return 0.0
    n = len(report.good)
    radius = np.hypot(*(np.indices((n, n)) - n // 2)).astype(int)
    photons = np.bincount(radius[report.good], report.sum[report.good], radius.max() + 1)
    n_pixels = np.bincount(radius[report.good], minlength=radius.max() + 1)
    known = np.flatnonzero(n_pixels)
    if len(known) == 0:
        return 1.0
    profile = np.interp(np.arange(len(n_pixels)), known, photons[known] / n_pixels[known])
    expected = float(profile[radius[~report.good]].sum())
    return expected / max(expected + float(report.sum[report.good].sum()), 1.0)


def _brightest(pattern: Array) -> Mask:
    n_brightest = max(4, round(BRIGHTEST * pattern.size))
    level = np.partition(pattern.ravel(), -n_brightest)[-n_brightest]
    return np.asarray((pattern >= level) & (pattern > 0))


def hot_pixels(report: CountReport, n_frames: int) -> Mask:
    """(N, N) bool: good pixels far above their neighbours in every frame.

    A masked neighbour counts as bright as its own good neighbours are (their median), so that a beam of few pixels with a dead
    one among them is not hot.
    """
    mean = np.where(report.good, report.sum / max(n_frames, 1), np.nan)
    around = _neighbours(mean)
    n_known = np.isfinite(around).sum(axis=0)
    filled, masked = np.nan_to_num(mean), ~report.good & (n_known > 0)
    filled[masked] = np.nanmedian(around[:, masked], axis=0)
    third = np.maximum(np.sort(np.nan_to_num(_neighbours(filled)), axis=0)[-3], 0.1)
    return np.asarray(report.good & (n_known >= 3) & (filled > HOT * third) & (report.lowest > np.maximum(third, 1.0)))


def beam_warnings(report: CountReport, offset: tuple[int, int]) -> Iterator[str]:
    """Yield a sentence where the light of the mean pattern (N, N) is centred far from the middle, or in the corners.

    The place is a mean on a circle, for a pattern that was shifted as by a Fourier transform begins in its middle. Light that
    is spread over the whole frame has none.

    Parameters
    ----------
    report : CountReport
    offset : (row, column)
        Of the stored square in the file's frames.
    """
    n = len(report.sum)
    turns = np.exp(2j * np.pi * (np.arange(n) - n // 2) / n)
    moments = [complex((report.sum.sum(axis=1 - axis) * turns).sum()) for axis in (0, 1)]
    total = max(float(report.sum.sum()), 1.0)
    away = [n * float(np.angle(moment)) / (2 * np.pi) if abs(moment) > GATHERED * total else 0.0 for moment in moments]
    if max(map(abs, away)) <= OFF_CENTRE * n:
        return
    y, x = ((n // 2 + step) % n + first for step, first in zip(away, offset, strict=True))
    in_corners = min(map(abs, away)) > IN_CORNERS * n
    cause = "is the beam in the corners, as a Fourier transform leaves it?" if in_corners else "give the dataset beam_centre_px"
    yield (
        f"the light is centred at (row, column) ({y:.0f}, {x:.0f}), {math.hypot(*away):.0f} pixels from the frame's middle, "
        f"where the beam must be: {cause}"
    )


def _neighbours(image: Array) -> Array:
    """(8, N, N): the eight pixels around each, NaN beyond the rim."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 1, constant_values=np.nan), (3, 3))
    return np.delete(windows.reshape(*image.shape, 9), 4, axis=2).transpose(2, 0, 1)


def hot_warning(hot: Mask, offset: tuple[int, int]) -> str:
    """Return the sentence that names hot pixels by their place in the file's frames.

    Parameters
    ----------
    hot : (N, N) bool array
        With at least one.
    offset : (row, column)
        Of the stored square in the file's frames.
    """
    places = [f"({row + offset[0]}, {column + offset[1]})" for row, column in np.argwhere(hot)[:5]]
    more = f" and {int(hot.sum()) - 5} more" if hot.sum() > 5 else ""
    return (
        f"hot pixels, over {HOT:.0f} times their neighbours in every frame, are masked: (row, column) {', '.join(places)}{more}"
    )
