"""Arrays put together, of several lengths or of some pixels of a map, taken apart and filled up, and the spread of values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]

SIGMA_OF_DEVIATION: Final = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation, 1 / Phi^-1(3/4)."""


def nth_part(n: int, number: int, n_parts: int) -> slice:
    """Part ``number`` of ``n`` things in a row; all parts together are all of them, each once, and differ by no more than one."""
    return slice(number * n // n_parts, (number + 1) * n // n_parts)


def pad(arrays: Sequence[Array], fill: float = np.nan) -> Array:
    """(K, L, ...) of K arrays (L_k, ...), L the longest of them; ``fill`` after the end of the shorter ones."""
    whole = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, values in zip(whole, arrays, strict=True):
        row[: len(values)] = values
    return whole


def scatter(values: Array, inside: Array, fill: float = np.nan) -> Array:
    """(..., *S): ``values`` (..., n) at the n pixels that the mask ``inside`` of shape S selects, ``fill`` elsewhere."""
    whole = np.full((*values.shape[:-1], *inside.shape), fill, dtype=values.dtype)
    whole[..., inside] = values
    return whole


def gather(maps: Mapping[str, Array], names: Sequence[str], inside: Array) -> Array:
    """(D, n) maps of D names at the n pixels that the mask ``inside`` selects; NaN for a map that is not there."""
    return np.stack([maps[name][inside] if name in maps else np.full(int(inside.sum()), np.nan) for name in names])


def filled(image: Array, inside: Array) -> Array:
    """``image`` (Y, X) with the value of the nearest pixel of the mask ``inside`` in place of those outside it.

    An image that is to be resampled then has no step at the border of a hole, from which every interpolation would ring far
    into what was seen.
    """
    if inside.all() or not inside.any():
        return image
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(image[tuple(nearest)])


def robust_sd(values: NDArray[np.floating], centre: float | None = None) -> float:
    """Standard deviation that the median absolute deviation of ``values`` (K,) from their ``centre`` tells.

    The centre is their median where it is not given. Of normal values it is the standard deviation; half of them may be anything.
    NaN where there are no values.
    """
    middle = np.median(values) if centre is None else centre
    return float(SIGMA_OF_DEVIATION * np.median(np.abs(values - middle)))
