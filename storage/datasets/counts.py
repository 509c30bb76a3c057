"""Checks of the counts of a scan before any of them is stored: which readings are counts, and which pixels are good."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.datasets.framing import Framing
from storage.errors import FieldError
from storage.readers.record import DAMAGE, Node, ScanSource, blocks

WHOLE_NUMBER_TOLERANCE: Final = 1e-3
"""A float this near a whole number is a count."""

MAX_COUNT: Final = 2**32 - 2
"""Largest count that is stored; the largest number of an unsigned type means "no count" to detectors, and to us."""

NO_COUNTS: Final = (2.0**31 - 1, 2.0**31, 2.0**32 - 1, 2.0**32)
"""Ends of the range of 32-bit counters, and what they become in float32: no count in a container of any type."""

FULL_SCALES: Final = tuple(2**bits - 1 for bits in (10, 12, 14, 16, 20, 24))
"""Ends of the range of counters with fewer bits than their container."""
SURE_FULL_SCALE: Final = 2**16 - 1
"""A scan whose largest reading is this or a larger full scale is taken to have met it; smaller ones by `MIN_PILED`."""
MIN_PILED: Final = 3
"""Readings that must equal a full scale of less than 16 bits for it to be taken for one."""
MIN_PILED_UNKNOWN: Final = 10
PILED_TO_NEXT: Final = 5
"""Readings at the largest value, and their ratio to those at the next, that make saturation likely at any value."""
MIN_PILED_VALUE: Final = 50
"""Below this, the largest count is a common one."""


@dataclass
class CountReport:
    """Result of checking all frames of a scan.

    Attributes
    ----------
    good : (N, N) bool
        Good pixels, those that saturated in any frame taken out; not yet oriented.
    totals : (P,) float64
        Photons counted in the good pixels of each frame.
    constant : (P,) float64
        What every good pixel of the frame reads, where all read the same; else NaN.
    largest : float
        Largest reading in a good pixel.
    n_largest, next_largest, n_next : numbers
        Readings equal to it, the next largest count, and readings equal to that.
    most : float
        Largest count in a good pixel: the reading, or what a dark and a flat field leave of it.
    saturated : (N, N) bool
        Pixels without a count in any frame, though not masked.
    n_saturated : (N, N) int
        Frames in which each had none.
    sum, hidden : (N, N) float64
        Counts of each pixel over all frames in which it was good, and in which it was masked.
    lowest : (N, N) float64
        Least count of each pixel.
    checksums : (P,) int64
        Of the good pixels of each frame; frames that agree in it and in their total are copies.
    faults : list of FieldError
        At most one of each kind, naming the first frame concerned.
    warnings : list of str
    """

    good: NDArray[np.bool_]
    totals: NDArray[np.float64]
    constant: NDArray[np.float64]
    n_saturated: NDArray[np.int64]
    sum: NDArray[np.float64]
    hidden: NDArray[np.float64]
    lowest: NDArray[np.float64]
    checksums: NDArray[np.int64]
    largest: float = 0.0
    n_largest: int = 0
    next_largest: float = -1.0
    n_next: int = 0
    most: float = 0.0
    faults: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _kinds: set[str] = field(default_factory=set)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest dtype of the layout that holds every count."""
        return np.dtype(np.uint16 if self.most < 2**16 - 1 else np.uint32)

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """(N, N) bool: pixels without a count in at least one frame."""
        return self.n_saturated > 0

    def add_fault(self, kind: str, start: int, bad: NDArray[np.bool_]) -> None:
        """Record a fault with its place, unless one of its kind is recorded already."""
        if kind in self._kinds or not bad.any():
            return
        self._kinds.add(kind)
        frame, row, column = (int(index[0]) for index in np.nonzero(bad))
        self.faults.append(
            FieldError("counts", f"{kind}: {int(bad.sum())} pixels from frame {start + frame}, row {row}, column {column}")
        )

    def add_largest(self, counts: NDArray[Any]) -> None:
        """Count the readings equal to the two largest values."""
        counts = counts[counts >= max(self.next_largest, 1)]
        for value, n in _two_largest(counts):
            if value > self.largest:
                self.next_largest, self.n_next = self.largest, self.n_largest
                self.largest, self.n_largest = value, n
            elif value == self.largest:
                self.n_largest += n
            elif value > self.next_largest:
                self.next_largest, self.n_next = value, n
            elif value == self.next_largest:
                self.n_next += n


def _two_largest(counts: NDArray[Any]) -> Iterator[tuple[float, int]]:
    for _ in range(2):
        if counts.size == 0:
            return
        largest = counts.max()
        yield float(largest), int(np.count_nonzero(counts == largest))
        counts = counts[counts < largest]


def check_counts(source: ScanSource, framing: Framing, saturation_count: float | None = None) -> CountReport:
    """Read every frame once, in blocks, and report what is wrong with the readings of good pixels.

    Masked pixels may hold anything: detectors write NaN or -1 there. A reading at the end of the detector's range is no
    count, and its pixel is masked in all frames. The range ends at ``saturation_count`` where that is known, and at the
    end of the container's or of a 32-bit counter's; where the largest reading is the full scale of a counter with fewer
    bits, the frames are read again with that.

    Parameters
    ----------
    source : ScanSource
        With frames.
    framing : Framing
    saturation_count : float, optional
        Smallest reading that is no count.
    """
    report = _check_all(source, framing, saturation_count)
    full_scale = report.largest if report.largest in FULL_SCALES else None
    sure = report.largest >= SURE_FULL_SCALE or report.n_largest >= MIN_PILED
    if full_scale is None or not sure or report.faults:
        report.warnings += list(_piled_up(report))
        return report
    n_largest = report.n_largest
    report = _check_all(source, framing, full_scale)
    report.warnings.append(
        f"the largest reading, {full_scale:.0f}, is the end of a counter's range and stands {n_largest} times: it is taken for "
        "saturated or missing; if it is a count, give saturation_count"
    )
    return report


def is_piled_up(n_largest: int, n_next: int) -> bool:
    """Whether so many readings equal the largest, beside those that equal the next, that saturation is likely at any value."""
    return n_largest >= MIN_PILED_UNKNOWN and n_largest >= PILED_TO_NEXT * n_next


def _piled_up(report: CountReport) -> Iterator[str]:
    n, n_next = report.n_largest, report.n_next
    if report.largest >= MIN_PILED_VALUE and is_piled_up(n, n_next):
        yield (
            f"{n} readings equal the largest, {report.largest:.0f}, and {n_next} the next: if the detector saturates there, give "
            "it as saturation_count"
        )


def _check_all(source: ScanSource, framing: Framing, saturation_count: float | None) -> CountReport:
    assert source.frames is not None
    shape = (framing.n_pixels, framing.n_pixels)
    n_frames = source.frames.shape[0]
    report = CountReport(
        good=np.ones(shape, bool) if source.mask is None else framing.crop(source.mask).copy(),
        totals=np.zeros(n_frames),
        constant=np.full(n_frames, np.nan),
        n_saturated=np.zeros(shape, np.int64),
        sum=np.zeros(shape),
        hidden=np.zeros(shape),
        lowest=np.full(shape, np.inf),
        checksums=np.zeros(n_frames, np.int64),
    )
    ever_good = np.zeros(shape, bool)
    raw = getattr(source.frames, "readings", None)
    try:
        for start, frames in blocks(source.frames):
            cropped = framing.crop(frames)
            good = np.broadcast_to(report.good, cropped.shape)
            if source.frame_masks is not None:
                good = good & frame_masks_of(source.frame_masks, framing, start, len(cropped))
            ever_good |= good.any(axis=0)
            readings = cropped if raw is None else framing.crop(np.asarray(raw[start : start + len(frames)]))
            _check_block(report, start, cropped, readings, good, saturation_count)
    except DAMAGE as error:
        report.faults.append(FieldError("counts", f"cannot be read to the end: {error}"))
    report.good &= ever_good & ~report.saturated
    if not report.faults and not report.totals.any():
        report.faults.append(FieldError("counts", "every count is zero"))
    return report


def frame_masks_of(masks: Node, framing: Framing, start: int, n_frames: int) -> NDArray[np.bool_]:
    """Return (n, N, N) bool: where the pixels of frames ``start`` and on are good."""
    return framing.crop(np.asarray(masks[start : start + n_frames], bool))


def _check_block(
    report: CountReport,
    start: int,
    frames: NDArray[Any],
    readings: NDArray[Any],
    good: NDArray[np.bool_],
    saturation_count: float | None,
) -> None:
    """Check frames (n, N, N) whose ``readings`` are the detector's, before a dark or a flat field changed them."""
    missing, is_raw = no_counts(readings, saturation_count), readings is frames
    report.n_saturated += np.count_nonzero(missing & good, axis=0)
    readable = ~missing
    if frames.dtype.kind == "f":
        finite = np.isfinite(frames)
        report.add_fault("not finite (mask such pixels)", start, ~finite & good)
        frames = np.where(finite, frames, 0)
        readable &= finite
        fraction = np.abs(frames - np.rint(frames)) > WHOLE_NUMBER_TOLERANCE
        report.add_fault("not whole numbers (give photon counts, not intensities)", start, fraction & good & readable)
    if readings.dtype.kind != "u":
        negative = readings < (0 if readings.dtype.kind == "i" else -WHOLE_NUMBER_TOLERANCE)
        report.add_fault("negative (mask gaps and dead pixels)", start, negative & good & readable)
        readable &= ~negative
    if _end(frames.dtype) > MAX_COUNT:
        report.add_fault("too large for 32 bits", start, (frames > float(MAX_COUNT)) & good & readable)
    counted = good & readable
    kept = frames if counted.all() else np.where(counted, frames, 0)
    block = slice(start, start + len(frames))
    report.totals[block] = kept.sum(axis=(1, 2), dtype=np.float64)
    report.checksums[block] = [zlib.crc32(frame.tobytes()) for frame in kept]
    report.sum += kept.sum(axis=0, dtype=np.float64)
    if not good.all():
        report.hidden += np.where(readable & ~good, frames, 0).sum(axis=0, dtype=np.float64)
    bounded = frames if counted.all() else np.where(counted, frames, _end(frames.dtype))
    report.lowest = np.minimum(report.lowest, bounded.min(axis=0))
    highest = kept.max(axis=(1, 2))
    report.constant[block] = np.where((bounded.min(axis=(1, 2)) == highest) & counted.any(axis=(1, 2)), highest, np.nan)
    report.most = max(report.most, float(highest.max(initial=0)))
    report.add_largest(kept if is_raw else np.where(counted, readings, 0))


def no_counts(frames: NDArray[Any], saturation_count: float | None) -> NDArray[np.bool_]:
    """Return bool, shape of ``frames``: readings at the end of the detector's or the container's range."""
    end = _end(frames.dtype)
    missing = np.zeros(frames.shape, bool) if frames.dtype.kind == "f" else frames == end
    # In float32 the numbers beside 2**32 are far away, so it is compared with what they are rounded to.
    for value in np.array([n for n in NO_COUNTS if n <= end]).astype(frames.dtype):
        if value != end:
            missing |= frames == value
    if saturation_count is not None and saturation_count <= _end(frames.dtype):
        missing |= frames >= np.asarray(np.ceil(saturation_count)).astype(frames.dtype)
    return np.asarray(missing)


def _end(dtype: np.dtype[Any]) -> float | int:
    return float(np.finfo(dtype).max) if dtype.kind == "f" else int(np.iinfo(dtype).max)


def to_counts(frames: NDArray[Any], good: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert checked frames (n, N, N) to counts: 0 where a pixel is masked in all frames (``good`` is (N, N) bool)."""
    kept = np.where(good, frames, 0)
    return (np.rint(kept) if kept.dtype.kind == "f" else kept).astype(dtype)
