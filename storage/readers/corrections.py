"""Frames that are computed from those of a file: dark and flat field, squared amplitudes.

What the detector adds without light is subtracted, and what is left is divided by the flat field and rounded to whole
counts. Where the flat field is not a positive number, or a frame without light was not read, the pixel is bad. A monitor is
not divided by, because the noise of the frames is that of the counts themselves; where it changes, a warning names the option
that finds the flux of every frame.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.readers.fields import Fields
from storage.readers.record import Node, unwritten_frames

STEADY: Final = 0.01
"""Relative spread of a monitor up to which the flux is called constant."""

SAMPLED_FRAMES: Final = 16
"""Frames, evenly spread over the scan, in which the beam is looked for."""

LEAST_NO_COUNT: Final = 2**31 - 1
"""What detectors write where nothing was read is this or the largest number of an integer type."""

CLEARLY: Final = 1.5
"""Counts in the corners over those in the middle from which on the beam is there."""


class ComputedFrames:
    """Frames (P, ny, nx), each a function of the file's own; only the slices asked for are computed.

    Where the file's own are readings of a detector they are ``readings``, in which alone the end of its range can be recognised.
    """

    def __init__(
        self, frames: Node, compute: Callable[[NDArray[np.float64]], NDArray[np.float64]], readings: Node | None = None
    ) -> None:
        self._frames, self._compute, self.readings = frames, compute, readings
        self.shape, self.dtype = tuple(frames.shape), np.dtype(np.float64)
        self.chunks = getattr(frames, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        """Read and compute a slice of frames."""
        return self._compute(np.asarray(self._frames[key], np.float64))

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: frames of which a part was never written."""
        return unwritten_frames(self._frames)


def corrected(
    fields: Fields, frames: Node | None, mask: NDArray[np.bool_] | None, *, dark: tuple[str, ...], flat: tuple[str, ...]
) -> tuple[Node | None, NDArray[np.bool_] | None]:
    """Frames without what the detector adds, and with equal pixels; the mask, bad where the flat field has no meaning.

    Parameters
    ----------
    fields : Fields
    frames : Node, (P, ny, nx)
    mask : (ny, nx) bool, optional
        True where good.
    dark, flat : tuple of str
        Paths of either field, (ny, nx), or (n, ny, nx), whose mean is taken.
    """
    if frames is None:
        return None, mask
    shape = (int(frames.shape[1]), int(frames.shape[2]))
    added, gain = _mean_field(fields, "dark", dark, shape), _mean_field(fields, "flat", flat, shape)
    if added is None and gain is None:
        return frames, mask
    offset = np.zeros(shape) if added is None else added
    scale = np.ones(shape) if gain is None else gain
    meant = np.isfinite(scale) & (scale > 0) & np.isfinite(offset)
    if not meant.any():
        fields.fault("dark" if gain is None else "flat", "is nowhere a number that frames could be corrected by")
        return frames, mask
    scale = np.where(meant, scale / np.median(scale[meant]), 1.0)
    offset = np.where(meant, offset, 0.0)
    done = " and ".join(name for name, field in (("dark field", added), ("flat field", gain)) if field is not None)
    fields.warnings.append(f"frames are corrected by the file's {done}, and rounded to whole counts")

    def correct(raw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.rint(np.maximum(raw - offset, 0) / scale))

    good = meant if mask is None or mask.shape != shape else mask & meant
    return ComputedFrames(frames, correct, readings=frames), mask if meant.all() else good


def squared(amplitudes: Node | None, is_shifted: bool = False) -> Node | None:
    """Counts (P, ny, nx) of square roots of counts, rounded to whole ones.

    Where the amplitudes are ``is_shifted``, so that the beam is in their corners, it is in the middle of the counts.
    """

    def counts(values: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = np.rint(values**2)
        return np.asarray(np.fft.ifftshift(squares, axes=(-2, -1)) if is_shifted else squares)

    return None if amplitudes is None else ComputedFrames(amplitudes, counts)


def is_beam_in_corners(frames: Node) -> bool:
    """Whether the beam of frames (P, ny, nx) is at their first pixel and the other corners, as a Fourier transform has it."""
    n_frames, ny, nx = frames.shape
    step = max(1, n_frames // SAMPLED_FRAMES)
    mean = np.sum([np.asarray(frames[index : index + 1], np.float64)[0] for index in range(0, n_frames, step)], axis=0)
    middle = slice(ny // 4, ny - ny // 4), slice(nx // 4, nx - nx // 4)
    return bool(np.fft.fftshift(mean)[middle].sum() > CLEARLY * mean[middle].sum())


def told_of_monitor(fields: Fields, *paths: str) -> None:
    """Warn where the monitor's readings of the frames differ."""
    spread = monitor_spread(fields, *paths)
    if spread > STEADY:
        fields.warnings.append(f"the monitor varies by {spread:.1%} over the frames; reconstruct.frame_flux finds their flux")


def monitor_spread(fields: Fields, *paths: str) -> float:
    """Standard deviation of the monitor's readings over their median; 0 where the file has none."""
    values = fields.values("monitor", *paths, required=False)
    if values is None or values.dtype.kind not in "iuf" or values.size < 2:
        return 0.0
    finite = values[np.isfinite(values)]
    middle = float(np.median(finite)) if finite.size else 0.0
    return float(np.std(finite)) / middle if middle > 0 else 0.0


def _mean_field(fields: Fields, name: str, paths: tuple[str, ...], shape: tuple[int, int]) -> NDArray[np.float64] | None:
    values = fields.values(name, *paths, required=False)
    if values is None:
        return None
    if values.dtype.kind not in "iuf" or values.ndim < 2 or values.shape[-2:] != shape or 0 in values.shape:
        fields.fault(name, f"must be {shape} numbers as the frames, or several such, got {values.shape} of {values.dtype}")
        return None
    read = values.reshape(-1, *shape)
    end = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else LEAST_NO_COUNT
    return np.asarray(np.where((read >= min(end, LEAST_NO_COUNT)).any(axis=0), np.nan, read.mean(axis=0, dtype=np.float64)))
