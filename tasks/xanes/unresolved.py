"""What a pixel does not resolve: the error of a map of states where two states meet."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BLUR_PX: Final = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5])
UNRESOLVED: Final = np.array([0.160, 0.191, 0.233, 0.294, 0.371, 0.464, 0.573, 0.699, 0.999, 1.364, 2.036])
"""Sum of the squared errors, over the sum of the squared slopes, of the pixels about a straight border between two states.

A pixel is the mean over its area of an image that a Gaussian of standard deviation `BLUR_PX` [px] has blurred. Sums are over all
directions and places of the border, and follow from geometry alone.
"""


def unresolved_variance(values: Array, variance: Array, blur_px: float = 0.0) -> Array:
    """Variance of a map of states for what its pixels do not resolve.

    A pixel that a border between two states crosses, or lies next to where the image is blurred, shows a mean of both, and its
    middle is in one of them: an error of up to half their difference. Where the border runs is not known, but pixels near it show
    a slope. Over all places and directions of a straight border, the squared errors of the pixels add up to `UNRESOLVED` times
    their squared slopes, from one neighbour to the other. The slopes' share of noise is taken off.

    Parameters
    ----------
    values : (Y, X) float64 array
        The map, NaN where masked; next to those no slope is known.
    variance : (Y, X) float64 array
        Its squared standard errors, those of neighbours taken as independent.
    blur_px : float
        Standard deviation of the image's blur (`blur_of`) [px]; beyond the last of `BLUR_PX` it counts as that.
    """
    padded, noise = (np.pad(image, 1, constant_values=np.nan) for image in (values, variance))
    slopes = np.zeros(values.shape)
    for before, after in ((np.s_[:-2, 1:-1], np.s_[2:, 1:-1]), (np.s_[1:-1, :-2], np.s_[1:-1, 2:])):
        squared = ((padded[after] - padded[before]) ** 2 - noise[after] - noise[before]) / 4
        slopes += np.nan_to_num(squared, nan=0.0, neginf=0.0)
    return np.asarray(np.interp(blur_px, BLUR_PX, UNRESOLVED) * np.maximum(slopes, 0.0))


def blur_of(images: NDArray[np.floating], kept: Mask) -> float:
    """Standard deviation of the Gaussian blur [px] that white noise would have to be as correlated as that of images.

    What filters an image in its reconstruction filters its noise too. Neighbouring pixels of white noise after a Gaussian of
    standard deviation s have a correlation of exp(-1 / (4 s^2)). Noise is what is left of second differences along the energies,
    where spectra are smooth; the median of the energies' correlations is taken, because where they are not, the specimen shows.

    Parameters
    ----------
    images : (E, Y, X) float array
        In the order of the energies.
    kept : (Y, X) bool array
        Where they are compared.

    Returns
    -------
    float
        0 where neighbours are not correlated, or too few are compared to tell.
    """
    found = []
    for before, image, after in zip(images, images[1:], images[2:], strict=False):
        curvature = before[kept].astype(np.float64) - 2.0 * image[kept] + after[kept]
        found.append(_neighbour_correlation(curvature, kept))
    correlation = float(np.median(found)) if found else 0.0
    return float(np.sqrt(-0.25 / np.log(correlation))) if 0.0 < correlation < 1.0 else 0.0


def error_of_sum(errors: Array, blur_px: float) -> float:
    """Standard error of a sum over pixels whose errors are as correlated as white noise that a Gaussian has blurred.

    Errors of pixels at a distance d have a correlation of exp(-d^2 / (4 s^2)), with the standard deviation s of the Gaussian
    (`blur_of`). Over many pixels the error is 2 sqrt(pi) s times that of independent ones. Errors that are alike over more pixels
    than the blur reaches are not counted.

    Parameters
    ----------
    errors : (Y, X) float64 array
        Standard error of every pixel, 0 of those that are left out.
    blur_px : float
        0 of independent errors.
    """
    if blur_px <= 0.0:
        return float(np.sqrt(np.sum(errors**2)))
    reach = np.arange(-math.ceil(8 * blur_px), math.ceil(8 * blur_px) + 1)
    correlation = np.exp(-(reach**2) / (4 * blur_px**2))
    along_y = ndimage.convolve1d(errors, correlation, axis=0, mode="constant")
    return float(np.sqrt(np.sum(errors * ndimage.convolve1d(along_y, correlation, axis=1, mode="constant"))))


def _neighbour_correlation(values: Array, kept: Mask) -> float:
    """Correlation of values (K,) of the kept pixels (Y, X) with those of the pixels below and beside that are kept too."""
    image = np.full(kept.shape, np.nan)
    image[kept] = values - values.mean() if values.size else values
    pairs = [(image[:-1], image[1:]), (image[:, :-1], image[:, 1:])]
    products = sum(float(np.nansum(one * other)) for one, other in pairs)
    squares = sum(float(np.nansum(np.where(np.isfinite(one * other), one**2 + other**2, 0.0))) / 2 for one, other in pairs)
    return products / squares if squares > 0 else 0.0
