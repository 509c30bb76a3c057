"""What every reader of measurements returns: one energy's measurement, its frames still in the file."""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError

DAMAGE: Final = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, SyntaxError, SystemError, struct.error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What the libraries raise when they read a damaged file."""

BLOCK_BYTES = 16 * 2**20
"""Frames are read in blocks of about this size [bytes]; a scan is never in memory whole."""


MAX_ASPECT: Final = 32
"""Columns a row that no area detector has; spectra of fluorescence have thousands of bins in one to ten channels."""


class Node(Protocol):
    """An array in a file: an HDF5 dataset, a Zarr array or a member of an archive.

    It may also have ``chunks``, ``attrs`` and ``unwritten_frames()``, see `unwritten_frames`.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""

    def __getitem__(self, key: Any, /) -> Any:
        """Read a part; ``[()]`` reads all of it."""


@dataclass(frozen=True)
class BeamCentre:
    """Where the direct beam meets the detector: the index of the pixel, not rounded, or metres from the first pixel."""

    y: float
    x: float
    is_length: bool = False

    def in_pixels(self, pixel_size_m: float | None) -> tuple[float, float]:
        """Return (y, x) [px].

        Raises
        ------
        ValueError
            It is a length, and the pixel size is not known.
        """
        if not self.is_length:
            return self.y, self.x
        if pixel_size_m is None:
            raise ValueError(f"beam centre is ({self.y:g}, {self.x:g}) m and the pixel size is unknown; give it in pixels")
        return self.y / pixel_size_m, self.x / pixel_size_m


@dataclass(frozen=True)
class ScanSource:
    """One energy's measurement as a file holds it; None where the file does not state it.

    Attributes
    ----------
    label : str
        Which part of the file it is, for messages.
    frames : Node, (P, ny, nx)
        Counts, read lazily.
    positions_m : (P, 2) float64 [m]
        Probe positions (y, x).
    energy_ev, distance_m, detector_pixel_size_m : float
    mask : (ny, nx) bool
        True where the pixel is good.
    frame_masks : Node, (P, ny, nx) bool
        True where the pixel is good in that frame; read lazily.
    probe : (M, ny, nx) complex64
        Guess of the probe.
    beam_centre : BeamCentre
    saturation_count : float
        Smallest reading of a pixel that is no count, as the detector states it.
    faults : tuple of FieldError
        Everything the reader found wrong; the fields concerned are None.
    warnings : tuple of str
        What the reader decided and the user should know, one sentence each.
    """

    label: str
    frames: Node | None = None
    positions_m: NDArray[np.float64] | None = None
    energy_ev: float | None = None
    distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    mask: NDArray[np.bool_] | None = None
    frame_masks: Node | None = None
    probe: NDArray[np.complex64] | None = None
    beam_centre: BeamCentre | None = None
    saturation_count: float | None = None
    faults: tuple[FieldError, ...] = ()
    warnings: tuple[str, ...] = ()


def not_beside(detector: str, linked: Sequence[str]) -> str:
    """Warning that the frames are those of one detector, while others are linked to whose files were not sent with it."""
    return (
        f"the frames are those of {detector}; {', '.join(linked)} is in another file, which is not beside this one: if the "
        f"diffraction patterns are there, send that file in the same ZIP, and leave {detector} out"
    )


def is_of_spectra(shape: tuple[int, ...]) -> bool:
    """Whether an array (..., channels, bins) is of a fluorescence detector, rather than frames (..., ny, nx) of pixels."""
    return shape[-1] > MAX_ASPECT * shape[-2]


def frames_per_block(frames: Node) -> int:
    """Frames in a block of about 16 MiB, in whole chunks of the file where it has any."""
    n, *frame = frames.shape
    per_block = max(1, BLOCK_BYTES // max(1, int(np.prod(frame, dtype=np.int64)) * frames.dtype.itemsize))
    chunk = (getattr(frames, "chunks", None) or (1,))[0]
    if 1 < chunk < per_block:
        per_block -= per_block % chunk
    return min(max(n, 1), per_block)


def blocks(frames: Node) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first frame, (n, ny, nx) array) from first to last."""
    step = frames_per_block(frames)
    for start in range(0, frames.shape[0], step):
        yield start, np.asarray(frames[start : start + step])


def unwritten_frames(array: Node) -> NDArray[np.bool_]:
    """Return (P,) bool: entries of the first axis of which a part was never written, so that it reads as fill value."""
    find = getattr(array, "unwritten_frames", None)
    return np.zeros(array.shape[:1], bool) if find is None else np.asarray(find(), bool)
