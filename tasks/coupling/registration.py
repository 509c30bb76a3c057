"""One pixel grid for all energies: scale, drift and sub-pixel shift in one interpolation.

The object pixel grows with the wavelength and the specimen moves between energies. Neither turns it, so resampling is
separable: one band-limited interpolation along y and one along x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from tasks.errors import RegistrationError
from tasks.gauge import Box
from tasks.ptycho.scan import Canvas

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

KERNEL_HALF_WIDTH_PX = 16
KAISER_BETA = 8.0
"""Kaiser-windowed sinc: pass-band to 0.86 of Nyquist, ripple below 1e-4."""
STRIP_PX = 32
"""Points that are interpolated by one matrix product, of the samples near them."""
INSIDE = 0.9
"""A resampled mask holds the pixels of more than this much."""
SMOOTHING_PX = 1.0
"""Standard deviation of the Gaussian that takes single pixels' noise from images whose drift is sought [px]."""
DETAIL_PX = 15
"""Side of the square whose mean, taken twice, tells slow waves from details [px]: a Gaussian of 6 px at a sixth of the cost."""
LEAST_WEIGHT = 1e-6
"""Smoothed weights below this divide nothing."""
SLOW_SHARE = 0.1
"""Share of the slow waves that takes part in the search of the drift, for specimens without details."""


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


def common_grid(canvases: Sequence[Canvas], boxes: Sequence[Box]) -> Grid:
    """The finest pixel of all energies, over the area that the boxes of all fields of view (`tasks.gauge.field_box`) share.

    Raises
    ------
    RegistrationError
    """
    pixel = min(canvas.pixel_size_m for canvas in canvases)
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    for canvas, (first_row, last_row, first_column, last_column) in zip(canvases, boxes, strict=True):
        origin = np.asarray(canvas.origin_m)
        low = np.maximum(low, origin + np.array([first_row, first_column]) * canvas.pixel_size_m)
        high = np.minimum(high, origin + np.array([last_row, last_column]) * canvas.pixel_size_m)
    n_y, n_x = np.floor((high - low) / pixel + 1e-6).astype(int) + 1
    if min(n_y, n_x) < 8:
        raise RegistrationError(
            f"the fields of all energies must share an area, theirs is {n_y} x {n_x} px: "
            "are the positions of one energy in another frame or unit?"
        )
    return Grid(low[0] + np.arange(n_y) * pixel, low[1] + np.arange(n_x) * pixel, pixel)


@dataclass(frozen=True)
class Interpolation:
    """Band-limited interpolation along one axis: every point is a weighted mean of the samples near it.

    A Kaiser-windowed sinc whose weights sum to one, so that constants stay exact.
    """

    first: NDArray[np.int64]
    """(T,): the first of the samples that a point is made of; it and others may lie off the array, with weight 0."""
    weights: Array
    """(T, W): of that sample and those after it; zero for points off the array."""
    n_source: int

    @classmethod
    def at(cls, target_px: Array, n_source: int) -> "Interpolation":
        """Interpolation of samples at 0..n-1 at the points ``target_px`` (T,)."""
        first = np.floor(target_px).astype(np.int64) - (KERNEL_HALF_WIDTH_PX - 1)
        sample = first[:, None] + np.arange(2 * KERNEL_HALF_WIDTH_PX)
        distance = target_px[:, None] - sample
        window = np.clip(1 - (distance / KERNEL_HALF_WIDTH_PX) ** 2, 0, None)
        kernel = np.sinc(distance) * np.i0(KAISER_BETA * np.sqrt(window)) * (window > 0)
        kernel *= (sample >= 0) & (sample < n_source)
        total = kernel.sum(axis=1, keepdims=True)
        within = (target_px >= -0.5) & (target_px <= n_source - 0.5)
        return cls(first, np.where(within[:, None], kernel / np.where(total == 0, 1, total), 0.0), n_source)

    def __call__(self, samples: NDArray[Any]) -> NDArray[Any]:
        """(T, K): values at the points of K arrays of samples (n, K), in the precision of the samples.

        As products with the strips of a banded matrix.
        """
        result = np.empty((len(self.first), samples.shape[1]), samples.dtype)
        real, found = real_view(np.ascontiguousarray(samples)), real_view(result)
        for begin in range(0, len(self.first), STRIP_PX):
            here = slice(begin, begin + STRIP_PX)
            near, strip = self._strip(here)
            np.matmul(strip.astype(real.dtype), real[near], out=found[here])
        return result

    def matrix(self) -> Array:
        """(T, n): the same as a dense matrix."""
        whole = np.zeros((len(self.first), self.n_source))
        near, strip = self._strip(slice(None))
        whole[:, near] = strip
        return whole

    def _strip(self, points: slice) -> tuple[slice, Array]:
        """The samples that some points are made of, and the matrix of their weights."""
        first, weights = self.first[points], self.weights[points]
        low, high = int(first.min()), int(first.max()) + weights.shape[1]
        strip = np.zeros((len(first), high - low))
        np.put_along_axis(strip, (first - low)[:, None] + np.arange(weights.shape[1]), weights, axis=1)
        begin = min(max(low, 0), self.n_source)
        end = max(begin, min(high, self.n_source))
        return slice(begin, end), strip[:, begin - low : end - low]


def real_view(values: NDArray[Any]) -> NDArray[Any]:
    """Complex values (n, K) as real ones (n, 2 K) in the same memory; real values as they are."""
    return values.view(values.real.dtype) if np.iscomplexobj(values) else values


@dataclass(frozen=True)
class Resampling:
    """Where the points of a grid lie on an energy's canvas; any number of images may be resampled by it."""

    rows: Interpolation
    columns: Interpolation

    @classmethod
    def of(cls, canvas: Canvas, grid: Grid, shift_px: Array) -> "Resampling":
        """That of a specimen which sits displaced by ``shift_px`` (2,) [grid px] relative to the fixed energy."""
        y = (grid.y_m + shift_px[0] * grid.pixel_size_m - canvas.origin_m[0]) / canvas.pixel_size_m
        x = (grid.x_m + shift_px[1] * grid.pixel_size_m - canvas.origin_m[1]) / canvas.pixel_size_m
        return cls(Interpolation.at(y, canvas.shape[0]), Interpolation.at(x, canvas.shape[1]))

    def __call__(self, image: NDArray[Any], fill: complex = 0.0) -> NDArray[Any]:
        """(Y, X): ``image`` (Yc, Xc) at the points of the grid, in its precision; ``fill`` outside the canvas.

        It is also the constant about which the image is interpolated.
        """
        return np.ascontiguousarray(self.columns(self.rows(image - fill).T).T) + fill


def to_grid(image: NDArray[Any], canvas: Canvas, grid: Grid, shift_px: Array, fill: complex = 0.0) -> NDArray[Any]:
    """(Y, X): ``image`` of an energy's canvas on the common grid, its specimen displaced back by ``shift_px``.

    Parameters
    ----------
    image : (Yc, Xc) array of floats or complex numbers
        Their precision is kept.
    canvas : Canvas
    grid : Grid
    shift_px : (2,) array
        Where the specimen sits at this energy relative to the fixed energy [grid px].
    fill : complex
        Value outside the canvas, and the constant about which the image is interpolated.
    """
    return Resampling.of(canvas, grid, shift_px)(image, fill)


def to_canvas(image: NDArray[Any], grid: Grid, canvas: Canvas, shift_px: Array) -> NDArray[Any]:
    """(Yc, Xc): the way back of `to_grid` for a correction, zero outside the grid."""
    y_m, x_m = canvas.axes_m
    y, x = ((y_m - grid.y_m[0]) / grid.pixel_size_m - shift_px[0], (x_m - grid.x_m[0]) / grid.pixel_size_m - shift_px[1])
    return Resampling(Interpolation.at(y, image.shape[0]), Interpolation.at(x, image.shape[1]))(image)


def require_shared(field: Mask, shifts_px: Array) -> None:
    """Raise `RegistrationError` where the fields of all energies, displaced back by (E, 2) [grid px], share no pixel (Y, X)."""
    if not field.any():
        raise RegistrationError(
            "the fields of all energies must share an area, theirs have no pixel in common once the drift is undone: "
            f"it is up to {np.abs(shifts_px).max():.0f} px. Did the stage lose its place, or was another field scanned?"
        )


def coarse_shift(fixed: Array, moving: Array, weight: Array) -> Array:
    """(2,) whole pixels by which ``moving`` (Y, X) is displaced against ``fixed``, by cross-correlation; 0 of nothing.

    What `skimage.registration.phase_cross_correlation` finds without normalisation. By real transforms it takes half the time,
    a twentieth of the registration of an energy.
    """
    if not ((fixed * weight).any() and (moving * weight).any()):
        return np.zeros(2)
    spectrum = fft.rfft2(moving * weight)
    spectrum *= fft.rfft2(fixed * weight).conj()
    correlation = np.abs(fft.irfft2(spectrum, fixed.shape))
    peak, size = np.array(np.unravel_index(np.argmax(correlation), correlation.shape)), np.array(correlation.shape)
    return np.where(peak > size // 2, peak - size, peak).astype(float)


class FixedImage:
    """An image against which others are found displaced by fractions of a pixel; what they share is computed once.

    Slow waves are what a reconstruction finds last: those of the phase differ between energies by more than its noise, and look
    like a displacement of whatever is as wide as they are. So details tell the drift, and slow waves little (`SLOW_SHARE`).

    Parameters
    ----------
    image : (Y, X) float array
        In any unit, such as the phase [rad].
    weight : (Y, X) float array
        How much each pixel tells of the drift; 0 where nothing.
    """

    def __init__(self, image: Array, weight: Array) -> None:
        self._weight, self._near = weight, np.maximum(_slow_part(weight), LEAST_WEIGHT)
        smooth = ndimage.gaussian_filter(image, SMOOTHING_PX)
        slopes = (self._details(slope) for slope in np.gradient(smooth))
        columns = np.stack([self._details(smooth).ravel(), *(-slope.ravel() for slope in slopes), np.ones(smooth.size)])
        self._weighted = columns * weight.ravel()
        # the normal equations, as the columns are few and unlike each other: a tenth of the time of an SVD of them
        self._normal = self._weighted @ columns.T

    def _details(self, image: Array) -> Array:
        """(Y, X): an image without its slow waves, but for their share; pixels without weight are not looked at."""
        slow = _slow_part(self._weight * image) / self._near
        return np.asarray(image - (1 - SLOW_SHARE) * slow)

    def shift_of(self, moving: Array) -> Array:
        """(2,) sub-pixel displacement of ``moving`` (Y, X), by one Gauss-Newton step.

        Solves ``moving = gain * fixed - s . grad fixed + offset`` (Lucas & Kanade 1981) with a free gain, as the
        phase contrast changes across the edge, and an offset.

        Raises
        ------
        RegistrationError
        """
        target = self._details(ndimage.gaussian_filter(moving, SMOOTHING_PX))
        gain, s_y, s_x, _ = np.linalg.lstsq(self._normal, self._weighted @ target.ravel(), rcond=None)[0]
        if not gain > 0:
            raise RegistrationError(
                f"images of neighbouring energies must resemble each other, their correlation is {gain:.2g}: "
                "did the specimen leave the field?"
            )
        return np.asarray(np.array([s_y, s_x]) / gain)


def _slow_part(image: Array) -> Array:
    """(Y, X) float64: the mean of the surroundings of each pixel, nearer ones counting more."""
    return np.asarray(ndimage.uniform_filter(ndimage.uniform_filter(image, DETAIL_PX), DETAIL_PX))
