"""Rows of the common grid, which several workers can couple at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.arrays import nth_part


@dataclass(frozen=True)
class Tile:
    """Rows of the common grid that one step computes.

    Parameters
    ----------
    number, n_tiles : int
        Which of how many.
    n_rows : int
        Rows of the grid.
    """

    number: int
    n_tiles: int
    n_rows: int

    @property
    def rows(self) -> slice:
        """Rows of the tile; all tiles together are all rows, each once."""
        return nth_part(self.n_rows, self.number, self.n_tiles)

    @property
    def near(self) -> slice:
        """Rows that have a part in the tile's bands of spatial frequencies."""
        from tasks.coupling.projection import REACH_PX

        return slice(max(0, self.rows.start - REACH_PX), min(self.n_rows, self.rows.stop + REACH_PX))

    @property
    def inner(self) -> slice:
        """The tile's own rows among those near it."""
        return slice(self.rows.start - self.near.start, self.rows.stop - self.near.start)


def joined(stored: Mapping[str, NDArray[Any]], name: str, n_tiles: int, n_rows: int) -> NDArray[Any]:
    """(E, Y, X): an array of all rows, of which ``stored`` has each tile and the rows near it as ``name`` and its number."""
    tiles = (Tile(number, n_tiles, n_rows) for number in range(n_tiles))
    return np.concatenate([stored[f"{name}{tile.number}"][:, tile.inner] for tile in tiles], axis=1)
