"""The square part of a detector frame that is stored, and its orientation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLIP_ROWS, FLIP_COLUMNS, TRANSPOSE = 1, 2, 4
"""Bits of ``orientation``; the transpose comes last."""


@dataclass(frozen=True)
class Framing:
    """Which pixels of a frame are stored, and how they are flipped and transposed.

    Attributes
    ----------
    rows, columns : slice
        Square part of the detector, the beam centre at index ``N // 2`` of both.
    orientation : int
        0-7, sum of 1 (flip rows), 2 (flip columns), 4 (then transpose).
    """

    rows: slice
    columns: slice
    orientation: int

    @property
    def n_pixels(self) -> int:
        """Side N of the square."""
        return int(self.rows.stop - self.rows.start)

    def crop(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Cut the square out of (..., ny, nx) frames."""
        return frames[..., self.rows, self.columns]

    def orient(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Apply the orientation to frames (..., N, N)."""
        return reorient(frames, self.orientation)

    def crop_probe(self, probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Crop a probe (M, ny, nx), given in the specimen's plane, to the sampling of the frames, as (M, N, N) complex64.

        Its far field is cropped: about the beam centre where it lies there, as that of a probe which was reconstructed from
        whole frames does; else about the middle, where the far field of a beam along the axis is.
        """
        far = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(probe, (-2, -1)), norm="ortho"), (-2, -1))
        half, middle = self.n_pixels // 2, np.array(probe.shape[-2:]) // 2
        beam = np.array([self.rows.start, self.columns.start]) + half
        place = _centre_of_power(far)
        if np.linalg.norm(place - middle) < np.linalg.norm(place - beam):
            beam = middle
        first, left = beam - half
        cropped = far[..., first : first + self.n_pixels, left : left + self.n_pixels]
        near = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(cropped, (-2, -1)), norm="ortho"), (-2, -1))
        return near.astype(np.complex64)


def _centre_of_power(waves: NDArray[Any]) -> NDArray[np.float64]:
    """(row, column) of the mean place of the power of waves (M, ny, nx); NaN where there is none, or it is not finite."""
    power = (np.abs(waves.astype(np.complex128)) ** 2).sum(axis=0)
    if not 0 < power.sum() < np.inf:
        return np.full(2, np.nan)
    places = [np.average(np.arange(n), weights=power.sum(axis=1 - axis)) for axis, n in enumerate(power.shape)]
    return np.array(places)


def reorient(frames: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Flip and transpose frames (..., N, N) so that index ``N // 2`` stays in place."""
    if orientation & FLIP_ROWS:
        frames = _flip(frames, -2)
    if orientation & FLIP_COLUMNS:
        frames = _flip(frames, -1)
    if orientation & TRANSPOSE:
        frames = np.swapaxes(frames, -2, -1)
    return np.ascontiguousarray(frames)


def _flip(frames: NDArray[Any], axis: int) -> NDArray[Any]:
    flipped = np.flip(frames, axis)
    # The centre of an even frame is one past its middle, so index k goes to -k modulo N, as in a Fourier transform.
    return np.roll(flipped, 1, axis) if frames.shape[axis] % 2 == 0 else flipped


def frame_about(
    shape: tuple[int, int], centre_px: tuple[float, float] | None, orientation: int, n_pixels: int | None = None
) -> Framing:
    """Find the largest square about the beam centre, or one of side ``n_pixels`` where that is smaller.

    Square frames of unknown centre are kept whole; others are taken to be centred at ``n // 2``.

    Raises
    ------
    ValueError
        The beam centre is off the detector, so near its edge that less than a quarter of the shorter side is left, or
        no pixel is left; or the orientation is not 0-7.
    """
    if orientation not in range(8):
        raise ValueError(f"orientation must be 0 to 7, got {orientation}")
    ny, nx = shape
    if centre_px is None and ny == nx and (n_pixels or ny) >= ny:
        return Framing(slice(0, ny), slice(0, nx), orientation)
    cy, cx = (ny // 2, nx // 2) if centre_px is None else (round(centre_px[0]), round(centre_px[1]))
    half = min(cy, cx, ny - cy, nx - cx)
    if 8 * half < min(ny, nx):
        raise ValueError(
            f"beam centre (y, x) = ({cy}, {cx}) leaves {max(0, 2 * half)} of {ny} by {nx} pixels around it; "
            "give it in pixels from the first"
        )
    half = min(half, (2 * half if n_pixels is None else n_pixels) // 2)
    if half < 1:
        raise ValueError(f"frames of {ny} by {nx} pixels cropped to {n_pixels} about the beam centre leave none")
    return Framing(slice(cy - half, cy + half), slice(cx - half, cx + half), orientation)
