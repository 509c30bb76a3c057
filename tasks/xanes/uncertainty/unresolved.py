"""What a pixel does not resolve: the error of a map of states where two states meet."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.uncertainty.neighbours import INDEPENDENT, NoiseCorrelation

Array = NDArray[np.float64]

BLUR_PX: Final = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5])
UNRESOLVED: Final = np.array([0.160, 0.191, 0.233, 0.294, 0.371, 0.464, 0.573, 0.699, 0.999, 1.364, 2.036])
"""Sum of the squared errors, over the sum of the squared slopes, of the pixels about a straight border between two states.

A pixel is the mean over its area of an image that a Gaussian of standard deviation `BLUR_PX` [px] has blurred. Sums are over all
directions and places of the border, and follow from geometry alone.
"""


def unresolved_variance(values: Array, variance: Array, noise: NoiseCorrelation = INDEPENDENT) -> Array:
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
        Its squared standard errors.
    noise : NoiseCorrelation
        How the errors of neighbours are correlated, and how far the image is blurred: at most the last of `BLUR_PX`.
    """
    known = np.where(np.isfinite(variance), variance, np.nan)
    padded, own = (np.pad(image, 1, constant_values=np.nan) for image in (values, known))
    slopes = np.zeros(values.shape)
    for before, after in ((np.s_[:-2, 1:-1], np.s_[2:, 1:-1]), (np.s_[1:-1, :-2], np.s_[1:-1, 2:])):
        expected = own[after] + own[before] - 2 * noise.two_apart * np.sqrt(own[after] * own[before])
        squared = ((padded[after] - padded[before]) ** 2 - expected) / 4
        slopes += np.nan_to_num(squared, nan=0.0)
    return np.asarray(np.interp(noise.blur_px, BLUR_PX, UNRESOLVED) * np.maximum(slopes, 0.0))
