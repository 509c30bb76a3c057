"""One look at every frame before any is stored: what is wrong with the counts, and how large they are."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError
from storage.readers.framing import Framing
from storage.readers.record import DAMAGE, ScanSource, blocks

WHOLE_NUMBER_TOLERANCE = 1e-3
"""A float this near a whole number is a count."""

MAX_COUNT = 2**32 - 2
"""Largest count that is stored; the largest number of an unsigned type means "no count" to detectors, and to us."""


@dataclass
class Survey:
    """What was seen in all frames of a scan.

    Attributes
    ----------
    good : (N, N) bool
        Good pixels, those that overflowed in any frame taken out; not yet oriented.
    largest : int
        Largest count in a good pixel.
    faults : list of FieldError
        At most one of each kind, naming the first frame concerned.
    """

    good: NDArray[np.bool_]
    largest: int = 0
    faults: list[FieldError] = field(default_factory=list)
    _kinds: set[str] = field(default_factory=set)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest dtype of the layout that holds every count."""
        return np.dtype(np.uint16 if self.largest < 2**16 - 1 else np.uint32)

    def note(self, kind: str, start: int, bad: NDArray[np.bool_]) -> None:
        """Keep the first fault of a kind, with where it was."""
        if kind in self._kinds or not bad.any():
            return
        self._kinds.add(kind)
        frame, row, column = (int(index[0]) for index in np.nonzero(bad))
        self.faults.append(
            FieldError("counts", f"{kind}: {int(bad.sum())} pixels from frame {start + frame}, row {row}, column {column}")
        )


def survey_counts(source: ScanSource, framing: Framing) -> Survey:
    """Read every frame once, in blocks, and report what is wrong with the good pixels.

    Masked pixels may hold anything: detectors write NaN or -1 there. A pixel that holds the largest number of an unsigned
    type in any frame has overflowed, and is bad in all.
    """
    n = framing.n_pixels
    assert source.frames is not None
    good = np.ones((n, n), bool) if source.mask is None else framing.crop(source.mask).copy()
    survey = Survey(good)
    try:
        for start, frames in blocks(source.frames):
            _survey_block(survey, start, framing.crop(frames))
    except DAMAGE as error:
        survey.faults.append(FieldError("counts", f"cannot be read to the end: {error}"))
    if not survey.faults and survey.largest == 0:
        survey.faults.append(FieldError("counts", "every count is zero"))
    return survey


def _survey_block(survey: Survey, start: int, frames: NDArray[Any]) -> None:
    if frames.dtype.kind == "u":
        survey.good &= ~(frames == np.iinfo(frames.dtype).max).any(axis=0)
    if frames.dtype.kind == "f":
        survey.note("not finite (mask such pixels)", start, ~np.isfinite(frames) & survey.good)
        frames = np.where(np.isfinite(frames), frames, 0)
        fraction = np.abs(frames - np.rint(frames)) > WHOLE_NUMBER_TOLERANCE
        survey.note("not whole numbers (give photon counts, not intensities)", start, fraction & survey.good)
    if frames.dtype.kind != "u":
        survey.note("negative (mask gaps and dead pixels)", start, (frames < -WHOLE_NUMBER_TOLERANCE) & survey.good)
    largest = frames.max(initial=0, where=survey.good)
    if largest > MAX_COUNT:
        survey.note("too large for 32 bits", start, (frames > MAX_COUNT) & survey.good)
    survey.largest = max(survey.largest, round(float(largest)))


def counts_of(frames: NDArray[Any], good: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn surveyed (n, N, N) frames into counts, 0 where the pixel is masked."""
    kept = np.where(good, frames, 0)
    return (np.rint(kept) if kept.dtype.kind == "f" else kept).astype(dtype)
