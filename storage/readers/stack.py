"""Frames kept in several arrays, or in rows of a raster, as one stack (P, ny, nx)."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.readers.record import Node, unwritten_frames


class FrameStack:
    """Arrays (P_i, ny, nx) one after the other; only the slices asked for are read.

    Raises
    ------
    ValueError
        No arrays, or arrays whose frames differ in shape or dtype.
    """

    def __init__(self, parts: Sequence[Node]) -> None:
        kinds = {(tuple(part.shape[1:]), part.dtype) for part in parts}
        if len(kinds) != 1 or any(len(part.shape) != 3 for part in parts):
            raise ValueError(f"the parts of a scan must be frames of one shape and dtype, got {sorted(map(str, kinds))}")
        self._parts = list(parts)
        self._ends = list(accumulate(part.shape[0] for part in parts))
        ((frame, self.dtype),) = kinds
        self.shape = (self._ends[-1], *frame)
        self.chunks = getattr(parts[0], "chunks", None)
        self.attrs = getattr(parts[0], "attrs", {})

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a slice of frames."""
        start, stop, _ = key.indices(self.shape[0])
        pieces = []
        for index in range(bisect_right(self._ends, start), len(self._parts)):
            first = self._ends[index] - self._parts[index].shape[0]
            if first >= stop:
                break
            pieces.append(np.asarray(self._parts[index][max(0, start - first) : stop - first]))
        return np.concatenate(pieces) if pieces else np.empty((0, *self.shape[1:]), self.dtype)

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: frames of which a part was never written."""
        return np.concatenate([unwritten_frames(part) for part in self._parts])


class RasterRow:
    """Row ``row`` of a raster (rows, P, ny, nx), as frames (P, ny, nx).

    Parameters
    ----------
    raster : Node
    row : int
    unwritten_rows : callable, optional
        Returns (rows,) bool as `unwritten_frames` of the raster does, which all rows then ask only once.
    """

    def __init__(self, raster: Node, row: int, unwritten_rows: Callable[[], NDArray[np.bool_]] | None = None) -> None:
        self._raster, self._row = raster, row
        self._unwritten_rows = unwritten_rows or (lambda: unwritten_frames(raster))
        self.shape, self.dtype = tuple(raster.shape[1:]), raster.dtype
        self.attrs = getattr(raster, "attrs", {})

    def __getitem__(self, key: Any) -> Any:
        """Read a slice of the row."""
        return self._raster[self._row, key]

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: every frame of a row of which a part was never written."""
        return np.full(self.shape[0], bool(self._unwritten_rows()[self._row]))
