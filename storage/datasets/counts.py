"""Checks of the counts of a scan before any of them is stored."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.datasets.framing import Framing
from storage.errors import FieldError
from storage.readers.record import DAMAGE, ScanSource, blocks

WHOLE_NUMBER_TOLERANCE = 1e-3
"""A float this near a whole number is a count."""

MAX_COUNT = 2**32 - 2
"""Largest count that is stored; the largest number of an unsigned type means "no count" to detectors, and to us."""


@dataclass
class CountReport:
    """Result of checking all frames of a scan.

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

    def add_fault(self, kind: str, start: int, bad: NDArray[np.bool_]) -> None:
        """Record a fault with its place, unless one of its kind is recorded already."""
        if kind in self._kinds or not bad.any():
            return
        self._kinds.add(kind)
        frame, row, column = (int(index[0]) for index in np.nonzero(bad))
        self.faults.append(
            FieldError("counts", f"{kind}: {int(bad.sum())} pixels from frame {start + frame}, row {row}, column {column}")
        )


def check_counts(source: ScanSource, framing: Framing) -> CountReport:
    """Read every frame once, in blocks, and report what is wrong with the good pixels.

    Masked pixels may hold anything: detectors write NaN or -1 there. A pixel that holds the largest number of an unsigned
    type in any frame has overflowed, and is bad in all.
    """
    n = framing.n_pixels
    assert source.frames is not None
    good = np.ones((n, n), bool) if source.mask is None else framing.crop(source.mask).copy()
    report = CountReport(good)
    try:
        for start, frames in blocks(source.frames):
            _check_block(report, start, framing.crop(frames))
    except DAMAGE as error:
        report.faults.append(FieldError("counts", f"cannot be read to the end: {error}"))
    if not report.faults and report.largest == 0:
        report.faults.append(FieldError("counts", "every count is zero"))
    return report


def _check_block(report: CountReport, start: int, frames: NDArray[Any]) -> None:
    if frames.dtype.kind == "u":
        report.good &= ~(frames == np.iinfo(frames.dtype).max).any(axis=0)
    if frames.dtype.kind == "f":
        report.add_fault("not finite (mask such pixels)", start, ~np.isfinite(frames) & report.good)
        frames = np.where(np.isfinite(frames), frames, 0)
        fraction = np.abs(frames - np.rint(frames)) > WHOLE_NUMBER_TOLERANCE
        report.add_fault("not whole numbers (give photon counts, not intensities)", start, fraction & report.good)
    if frames.dtype.kind != "u":
        report.add_fault("negative (mask gaps and dead pixels)", start, (frames < -WHOLE_NUMBER_TOLERANCE) & report.good)
    largest = frames.max(initial=0, where=report.good)
    if largest > MAX_COUNT:
        report.add_fault("too large for 32 bits", start, (frames > MAX_COUNT) & report.good)
    report.largest = max(report.largest, round(float(largest)))


def to_counts(frames: NDArray[Any], good: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert checked frames (n, N, N) to counts, 0 where the pixel is masked."""
    kept = np.where(good, frames, 0)
    return (np.rint(kept) if kept.dtype.kind == "f" else kept).astype(dtype)
