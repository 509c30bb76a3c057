"""Resolution: the phase-retrieval transfer function of one energy, and the Fourier ring correlation of two.

The PRTF of an energy is the share of the measured amplitudes that the reconstruction reproduces, ring by ring on the detector.
The FRC compares neighbouring energies, which are independent measurements of nearly the same specimen, so that what they
have in common is signal. Resolution is the full period at which a curve meets its threshold: 1/e, and half a bit.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

PRTF_THRESHOLD = 1 / np.e
WINDOW_MARGIN_PX = 6
"""Margin of the ring correlation's window around the specimen; it fades out over half as much again."""
RINGS_BELOW = 2
"""A curve meets its threshold where this many successive rings lie below it."""


def detector_frequencies(n_pixels: int, pixel_size_m: float) -> Array:
    """(N // 2 + 1,) float64: spatial frequency of the rings about the beam, from 0 to Nyquist [1/m]."""
    return np.arange(n_pixels // 2 + 1) / (n_pixels * pixel_size_m)


def ring_numbers(shape: tuple[int, int], pixel_size_m: float, ring_width_per_m: float) -> NDArray[np.int64]:
    """(Y, X) int64: ring number of each pixel of a discrete Fourier transform of ``shape``, zero frequency at [0, 0]."""
    y, x = (np.fft.fftfreq(n, pixel_size_m) for n in shape)
    return np.asarray(np.rint(np.hypot(y[:, None], x[None, :]) / ring_width_per_m).astype(np.int64))


def soft_window(specimen: NDArray[np.bool_]) -> Array:
    """(Y, X) float64 in [0, 1]: a window of the specimen and a margin around it that fades out in vacuum and at the image's rim.

    In vacuum ``O - 1`` is noise alone, so the window adds no edge that two images would have in common.
    """
    wide = ndimage.binary_dilation(specimen, iterations=WINDOW_MARGIN_PX)
    faded = ndimage.gaussian_filter(wide.astype(float), WINDOW_MARGIN_PX / 2, mode="constant")
    rims = [np.clip((np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) / WINDOW_MARGIN_PX, 0, 1) for n in specimen.shape]
    return np.asarray(faded * np.outer(*(np.sin(np.pi / 2 * rim) ** 2 for rim in rims)))


def frc(
    image_a: NDArray[Any], image_b: NDArray[Any], window: Array, pixel_size_m: float, frequency_per_m: Array
) -> NDArray[np.float32]:
    """Fourier ring correlation: ``Re sum A B* / sqrt(sum |A|^2 sum |B|^2)`` over each ring; its sign is kept.

    Parameters
    ----------
    image_a, image_b : (Y, X) arrays
        On one grid and in one gauge, vacuum at 1.
    window : (Y, X) float64 array
        From `soft_window`.
    pixel_size_m : float
    frequency_per_m : (F,) float64 array
        Middle of each ring, in equal steps from 0 [1/m].

    Returns
    -------
    (F,) float32
        NaN in a ring without pixels.
    """
    n_rings = len(frequency_per_m)
    ring = ring_numbers((window.shape[0], window.shape[1]), pixel_size_m, frequency_per_m[1]).ravel()
    a, b = (np.fft.fft2(window * (image - 1)).ravel() for image in (image_a, image_b))
    cross, power_a, power_b = (
        np.bincount(ring, values, minlength=n_rings)[:n_rings] for values in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    scale = np.sqrt(power_a * power_b)
    return np.asarray(np.divide(cross, scale, out=np.full(n_rings, np.nan), where=scale > 0), np.float32)


def half_bit(window: Array, pixel_size_m: float, frequency_per_m: Array) -> NDArray[np.float32]:
    """(F,) float32: correlation at which a ring holds half a bit per pixel (van Heel & Schatz, J. Struct. Biol. 151, 250 (2005)).

    ``(0.2071 + 1.9102 / sqrt n) / (1.2071 + 0.9102 / sqrt n)`` with n the number of the ring's independent pixels: neighbours in
    Fourier space are correlated where the window is smaller than the image.
    """
    ring = ring_numbers((window.shape[0], window.shape[1]), pixel_size_m, frequency_per_m[1]).ravel()
    independent = np.sum(window**2) ** 2 / (np.sum(window**4) * window.size)
    count = np.bincount(ring, minlength=len(frequency_per_m))[: len(frequency_per_m)] * independent
    root = np.sqrt(np.maximum(count, 1.0))
    return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), np.float32)


def neighbour_frc(
    images: NDArray[np.complex64], window: Array, pixel_size_m: float, frequency_per_m: Array
) -> NDArray[np.float32]:
    """(E - 1, F) float32: `frc` of each of the images (E, Y, X) with the next one."""
    curves = [frc(one, other, window, pixel_size_m, frequency_per_m) for one, other in itertools.pairwise(images)]
    return np.stack(curves) if curves else np.empty((0, len(frequency_per_m)), np.float32)


def resolved_period_m(frequency_per_m: Array, curve: NDArray[np.floating], threshold: NDArray[np.floating] | float) -> float:
    """Full period [m] at which ``curve`` (F,) falls below ``threshold`` (F,), interpolated between rings.

    NaN where it is below from the first ring; the period of the last ring with a value where it never falls below.
    """
    known = np.isfinite(curve) & (frequency_per_m > 0)
    frequency, above = frequency_per_m[known], np.asarray(curve - threshold, dtype=float)[known]
    below = ndimage.minimum_filter1d((above < 0).astype(int), RINGS_BELOW, origin=-(RINGS_BELOW // 2), mode="nearest")
    if not below.any():
        return float(1 / frequency[-1]) if frequency.size else np.nan
    first = int(np.argmax(below))
    if first == 0:
        return np.nan
    share = above[first - 1] / (above[first - 1] - above[first])
    return float(1 / (frequency[first - 1] + share * (frequency[first] - frequency[first - 1])))
