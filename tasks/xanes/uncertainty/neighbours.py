"""How the errors of neighbouring pixels are correlated, and what that makes of the error of a sum over them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class NoiseCorrelation:
    """Correlation of the noise of two pixels."""

    beside: float = 0.0
    """Of pixels next to each other."""
    two_apart: float = 0.0
    """Of pixels with one between them, which need not follow from the other: ringing has both signs."""

    @property
    def blur_px(self) -> float:
        """Standard deviation of the Gaussian blur [px] that white noise would have to be as correlated as pixels side by side.

        What filters an image in its reconstruction filters its noise too. Neighbouring pixels of white noise after a Gaussian of
        standard deviation s have a correlation of exp(-1 / (4 s^2)). 0 where neighbours are not correlated.
        """
        return float(np.sqrt(-0.25 / np.log(self.beside))) if 0.0 < self.beside < 1.0 else 0.0


INDEPENDENT: Final = NoiseCorrelation()


def noise_correlation(images: NDArray[np.floating], kept: Mask) -> NoiseCorrelation:
    """How the noise of the images of all energies is correlated between pixels, in the median over the energies.

    Noise is what is left of second differences along the energies, where spectra are smooth; the median is taken, because where
    they are not, the specimen shows. Where too few pixels are compared to tell, 0.

    Parameters
    ----------
    images : (E, Y, X) float array
        In the order of the energies.
    kept : (Y, X) bool array
        Where they are compared.
    """
    found = []
    for before, image, after in zip(images, images[1:], images[2:], strict=False):
        noise = np.full(kept.shape, np.nan)
        noise[kept] = before[kept].astype(np.float64) - 2.0 * image[kept] + after[kept]
        noise[kept] -= noise[kept].mean() if kept.any() else 0.0
        found.append([_correlation(noise, distance) for distance in (1, 2)])
    return NoiseCorrelation(*np.median(found, axis=0).tolist()) if found else INDEPENDENT


def error_of_sum(errors: Array, blur_px: float) -> float:
    """Standard error of a sum over pixels whose errors are as correlated as white noise that a Gaussian has blurred.

    Errors of pixels at a distance d have a correlation of exp(-d^2 / (4 s^2)), with the standard deviation s of the Gaussian
    (`NoiseCorrelation.blur_px`). Over many pixels the error is 2 sqrt(pi) s times that of independent ones. Errors that are alike
    over more pixels than the blur reaches are not counted.

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


def _correlation(image: Array, distance: int) -> float:
    """Correlation of the pixels (Y, X), NaN outside, with those ``distance`` pixels below and beside them; 0 without pairs."""
    pairs = [(image[:-distance], image[distance:]), (image[:, :-distance], image[:, distance:])]
    products = sum(float(np.nansum(one * other)) for one, other in pairs)
    squares = sum(float(np.nansum(np.where(np.isfinite(one * other), one**2 + other**2, 0.0))) / 2 for one, other in pairs)
    return products / squares if squares > 0 else 0.0
