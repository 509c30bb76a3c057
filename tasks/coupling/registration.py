"""One pixel grid for all energies: scale, drift and sub-pixel shift in one interpolation.

The object pixel grows with the wavelength and the specimen moves between energies. Neither turns it, so resampling is
separable: one band-limited interpolation matrix along y and one along x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from tasks.errors import RegistrationError
from tasks.ptycho.scan import Canvas

Array = NDArray[np.float64]

KERNEL_HALF_WIDTH_PX = 16
KAISER_BETA = 8.0
"""Kaiser-windowed sinc: pass-band to 0.86 of Nyquist, ripple below 1e-4."""


@dataclass(frozen=True)
class Grid:
    """A regular grid in the frame of the positions."""

    y_m: Array
    """(Y,) pixel centres, ascending."""
    x_m: Array
    """(X,)."""
    pixel_size_m: float

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return len(self.y_m), len(self.x_m)


def common_grid(canvases: Sequence[Canvas], fields: Sequence[NDArray[np.bool_]]) -> Grid:
    """The finest pixel of all energies, over the box that all fields of view share."""
    pixel = min(canvas.pixel_size_m for canvas in canvases)
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    for canvas, field in zip(canvases, fields, strict=True):
        rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
        origin = np.asarray(canvas.origin_m)
        low = np.maximum(low, origin + np.array([rows[0], columns[0]]) * canvas.pixel_size_m)
        high = np.minimum(high, origin + np.array([rows[-1], columns[-1]]) * canvas.pixel_size_m)
    n_y, n_x = np.floor((high - low) / pixel + 1e-6).astype(int) + 1
    if min(n_y, n_x) < 8:
        raise RegistrationError(
            f"the fields of all energies must share an area, theirs is {n_y} x {n_x} px: "
            "are the positions of one energy in another frame or unit?"
        )
    return Grid(low[0] + np.arange(n_y) * pixel, low[1] + np.arange(n_x) * pixel, pixel)


def interpolation_matrix(target_px: Array, n_source: int) -> Array:
    """(T, n): band-limited interpolation of samples at 0..n-1 at the points ``target_px``; points outside give zero rows.

    A Kaiser-windowed sinc whose rows sum to one, so that constants stay exact.
    """
    distance = target_px[:, None] - np.arange(n_source)
    inside = np.clip(1 - (distance / KERNEL_HALF_WIDTH_PX) ** 2, 0, None)
    kernel = np.sinc(distance) * np.i0(KAISER_BETA * np.sqrt(inside)) * (inside > 0)
    total = kernel.sum(axis=1, keepdims=True)
    within = (target_px >= -0.5) & (target_px <= n_source - 0.5)
    return np.where(within[:, None], kernel / np.where(total == 0, 1, total), 0.0)


def to_grid(image: NDArray[Any], canvas: Canvas, grid: Grid, shift_px: Array, fill: complex = 0.0) -> NDArray[Any]:
    """(Y, X): ``image`` of an energy's canvas on the common grid, its specimen displaced back by ``shift_px``.

    Parameters
    ----------
    image : (Yc, Xc) array
    canvas : Canvas
    grid : Grid
    shift_px : (2,) array
        Where the specimen sits at this energy relative to the reference [grid px].
    fill : complex
        Value outside the canvas, and the constant about which the image is interpolated.
    """
    rows, columns = _matrices(canvas, grid, shift_px)
    return np.asarray(rows @ (image - fill) @ columns.T + fill)


def to_canvas(image: NDArray[Any], grid: Grid, canvas: Canvas, shift_px: Array) -> NDArray[Any]:
    """(Yc, Xc): the way back of `to_grid` for a correction, zero outside the grid."""
    y = ((canvas.origin_m[0] + np.arange(canvas.shape[0]) * canvas.pixel_size_m) - grid.y_m[0]) / grid.pixel_size_m - shift_px[0]
    x = ((canvas.origin_m[1] + np.arange(canvas.shape[1]) * canvas.pixel_size_m) - grid.x_m[0]) / grid.pixel_size_m - shift_px[1]
    rows, columns = interpolation_matrix(y, grid.shape[0]), interpolation_matrix(x, grid.shape[1])
    return np.asarray(rows @ image @ columns.T)


def _matrices(canvas: Canvas, grid: Grid, shift_px: Array) -> tuple[Array, Array]:
    y = (grid.y_m + shift_px[0] * grid.pixel_size_m - canvas.origin_m[0]) / canvas.pixel_size_m
    x = (grid.x_m + shift_px[1] * grid.pixel_size_m - canvas.origin_m[1]) / canvas.pixel_size_m
    return interpolation_matrix(y, canvas.shape[0]), interpolation_matrix(x, canvas.shape[1])


def coarse_shift(reference: Array, moving: Array, weight: Array) -> Array:
    """(2,) whole pixels by which ``moving`` (Y, X) is displaced against ``reference``, by cross-correlation."""
    shift, _, _ = phase_cross_correlation(moving * weight, reference * weight, normalization=None, upsample_factor=1)
    return np.asarray(shift, dtype=float)


def fine_shift(reference: Array, moving: Array, weight: Array) -> Array:
    """(2,) sub-pixel displacement of ``moving`` against ``reference``, both (Y, X), by one Gauss-Newton step.

    Solves ``moving = gain * reference - s . grad reference + offset`` (Lucas & Kanade 1981) with a free gain, as the
    phase contrast changes across the edge, and an offset.
    """
    smooth = ndimage.gaussian_filter(reference, 1.0)
    gradient = np.gradient(smooth)
    target = ndimage.gaussian_filter(moving, 1.0)
    root = np.sqrt(weight).ravel()
    columns = np.stack([smooth.ravel(), -gradient[0].ravel(), -gradient[1].ravel(), np.ones(root.size)], axis=1)
    gain, s_y, s_x, _ = np.linalg.lstsq(columns * root[:, None], target.ravel() * root, rcond=None)[0]
    if not gain > 0:
        raise RegistrationError(
            f"images of neighbouring energies must resemble each other, their correlation is {gain:.2g}: "
            "did the specimen leave the field?"
        )
    return np.asarray(np.array([s_y, s_x]) / gain)
