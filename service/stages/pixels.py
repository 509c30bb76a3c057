"""Pixels of a map: which of them a unit takes, and their places among all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def tile_rows(n_rows: int, tile: int, n_tiles: int) -> slice:
    """Rows of one tile; all tiles together are all rows, each once."""
    return slice(tile * n_rows // n_tiles, (tile + 1) * n_rows // n_tiles)


def spread(values: Array, inside: Array, fill: float = np.nan) -> Array:
    """(..., n) values of the pixels ``inside`` (N,), in their places among all N; ``fill`` elsewhere."""
    whole = np.full((*values.shape[:-1], inside.size), fill, dtype=values.dtype)
    whole[..., inside] = values
    return whole


def pick(maps: Mapping[str, Array], names: Sequence[str], kept: Array) -> Array:
    """(D, n) maps of these names at the kept pixels; NaN for one that is not there."""
    return np.stack([maps[name][kept] if name in maps else np.full(int(kept.sum()), np.nan) for name in names])
