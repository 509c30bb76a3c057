"""How an array is divided between writers, so that every stored chunk has exactly one."""

from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

Tile: TypeAlias = tuple[slice, ...]


def plan_tiles(shape: Sequence[int], chunks: Sequence[int], tile: Sequence[int]) -> list[Tile]:
    """Cut an array into tiles that own whole chunks.

    Two writers of one chunk lose each other's pixels: each reads the chunk, changes its part and writes all of it.
    So a wished tile is rounded up to whole chunks.

    Parameters
    ----------
    shape, chunks, tile : sequences of int, one an axis
        Extent of the array (0 allowed), of a stored chunk (>= 1; the shard where there are shards), and of the
        wished tile (>= 1).

    Returns
    -------
    list of tuple of slice
        In C order. They cover the array once, and no chunk is touched by two of them.

    Raises
    ------
    ValueError
        The three differ in length, or an extent is out of range.
    """
    if not len(shape) == len(chunks) == len(tile):
        raise ValueError(f"shape, chunks and tile must have one entry an axis, got {shape}, {chunks}, {tile}")
    if min((*shape, 0)) < 0 or min((*chunks, *tile, 1)) < 1:
        raise ValueError(f"extents must be positive, got shape {shape}, chunks {chunks}, tile {tile}")
    steps = [chunk * -(-wished // chunk) for chunk, wished in zip(chunks, tile, strict=True)]
    axes = [[slice(start, min(start + step, n)) for start in range(0, n, step)] for n, step in zip(shape, steps, strict=True)]
    return list(product(*axes))
