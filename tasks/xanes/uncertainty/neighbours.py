"""How the errors of neighbouring pixels are correlated, and what that makes of the error of a sum over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

REACH_PX: Final = 15
"""Largest distance at which noise is compared [px]; beyond it, the correlation is taken as zero."""
DISTANCE_PX: Final = np.hypot(*np.mgrid[-REACH_PX : REACH_PX + 1, -REACH_PX : REACH_PX + 1])
"""(31, 31) distances of the pixels that are compared."""
LEAST_PAIRS: Final = 50
"""Fewer pairs of pixels tell no correlation."""


@dataclass(frozen=True)
class NoiseCorrelation:
    """Correlation of the noise of two pixels."""

    blur_px: float = 0.0
    """Standard deviation of the Gaussian blur [px] that white noise would have to be as correlated as pixels side by side."""
    two_apart: float = 0.0
    """Of pixels with one between them, which need not follow from the other: ringing has both signs."""
    by_distance: tuple[float, ...] = (1.0,)
    """In the mean over all directions, at 0, 1, 2 ... pixels; zero beyond the last."""

    @property
    def attributes(self) -> dict[str, Any]:
        """What results state of it: ``blur_px``, and ``noise_correlation`` by distance."""
        return {"blur_px": self.blur_px, "noise_correlation": list(self.by_distance)}


INDEPENDENT: Final = NoiseCorrelation()


def blurred(blur_px: float) -> NoiseCorrelation:
    """That of white noise which a Gaussian of standard deviation ``blur_px`` [px] has blurred."""
    if blur_px <= 0.0:
        return INDEPENDENT
    by_distance = np.exp(-(np.arange(REACH_PX + 1) ** 2) / (4 * blur_px**2))
    return NoiseCorrelation(blur_px, float(by_distance[2]), tuple(by_distance.tolist()))


def stated(attributes: Mapping[str, Any]) -> NoiseCorrelation:
    """What the `NoiseCorrelation.attributes` of results state, but for ``two_apart``; older ones state ``blur_px`` alone."""
    blur_px, by_distance = float(attributes.get("blur_px", 0.0)), attributes.get("noise_correlation")
    if by_distance is None:
        return blurred(blur_px)
    return NoiseCorrelation(blur_px, by_distance=tuple(float(one) for one in by_distance))


def noise_correlation(images: NDArray[np.floating], kept: Mask) -> NoiseCorrelation:
    """How the noise of the images of all energies is correlated between pixels, in the median over the energies.

    Noise is what is left of second differences along the energies, where spectra are smooth; the median is taken, because where
    they are not, the specimen shows. Noise that energies have in common is not seen, nor what all pixels have in common.

    Parameters
    ----------
    images : (E, Y, X) float array
        In the order of the energies.
    kept : (Y, X) bool array
        Where they are compared, if finite at all energies.

    Returns
    -------
    NoiseCorrelation
        `INDEPENDENT` where too few pixels are compared to tell.
    """
    known = kept & np.isfinite(images).all(axis=0)
    if not known.any():
        return INDEPENDENT
    (window,) = ndimage.find_objects(known.astype(np.int8))
    known = known[window]
    shape = _padded(known.shape)
    mask = fft.rfft2(known.astype(np.float64), shape)
    too_few = np.rint(_products(mask, mask, shape)) < LEAST_PAIRS
    along_axes, everywhere = [], []
    for middle in range(1, len(images) - 1):
        before, image, after = (one[window][known].astype(np.float64) for one in images[middle - 1 : middle + 2])
        noise = np.zeros(known.shape)
        noise[known] = before - 2.0 * image + after
        noise[known] -= noise[known].mean()
        if noise.any():
            transform = fft.rfft2(noise, shape)
            products, one_way = _products(transform, transform, shape), _products(fft.rfft2(noise**2, shape), mask, shape)
            squares = (one_way + one_way[::-1, ::-1]) / 2
            squares[too_few] = np.inf
            along_axes.append([_along_axes(products, distance) / _along_axes(squares, distance) for distance in (1, 2)])
            everywhere.append(products / squares)
    if not everywhere:
        return INDEPENDENT
    beside, two_apart = np.median(along_axes, axis=0)
    return NoiseCorrelation(_blur_px(float(beside)), float(two_apart), _by_distance(np.median(everywhere, axis=0)))


def error_of_sum(errors: Array, noise: NoiseCorrelation = INDEPENDENT) -> float:
    """Standard error of a sum over pixels whose errors are correlated, but no less than if they were not.

    Parameters
    ----------
    errors : (Y, X) float64 array
        Standard error of every pixel, 0 of those that are left out; where one is not finite, neither is that of the sum.
    noise : NoiseCorrelation
        Its correlation by distance, between whole pixels linear in the distance.
    """
    independent = float(np.sum(errors**2))
    if len(noise.by_distance) == 1 or not np.isfinite(independent):
        return float(np.sqrt(independent))
    correlation = np.interp(DISTANCE_PX, np.arange(len(noise.by_distance)), noise.by_distance, right=0.0)
    shape = _padded(errors.shape)
    transform = fft.rfft2(errors, shape)
    return float(np.sqrt(max(float(np.sum(correlation * _products(transform, transform, shape))), independent)))


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of images that are padded by `REACH_PX` at least, whose transforms are fast."""
    return tuple(fft.next_fast_len(n + REACH_PX, real=True) for n in shape)


def _products(one: NDArray[np.complexfloating], other: NDArray[np.complexfloating], shape: tuple[int, ...]) -> Array:
    """Sums over two images of the products of one with the other displaced by up to `REACH_PX` either way, (31, 31).

    They are given by their transforms, padded to ``shape`` (`_padded`).
    """
    products = fft.irfft2(one * np.conj(other), shape)
    reach = np.arange(-REACH_PX, REACH_PX + 1)
    return np.asarray(products[np.ix_(reach, reach)])


def _blur_px(beside: float) -> float:
    """Standard deviation of the Gaussian blur [px] after which neighbours in white noise are so correlated.

    What filters an image in its reconstruction filters its noise too. Neighbouring pixels of white noise after a Gaussian of
    standard deviation s have a correlation of exp(-1 / (4 s^2)). 0 where neighbours are not correlated.
    """
    return float(np.sqrt(-0.25 / np.log(beside))) if 0.0 < beside < 1.0 else 0.0


def _along_axes(products: Array, distance: int) -> float:
    """Sum over both axes of what `_products` gives of pixels so far apart [px]."""
    return float(products[REACH_PX + distance, REACH_PX] + products[REACH_PX, REACH_PX + distance])


def _by_distance(correlation: Array) -> tuple[float, ...]:
    """Correlation at 0, 1, ... `REACH_PX` pixels from which, linear in between, that of all displacements differs least."""
    inside = (DISTANCE_PX > 0) & (DISTANCE_PX <= REACH_PX)
    weights = np.maximum(1 - np.abs(DISTANCE_PX[inside][:, None] - np.arange(1, REACH_PX + 1)), 0.0)
    found = np.linalg.lstsq(weights, correlation[inside])[0]
    return (1.0, *found.tolist())
