"""Arrays that MATLAB saved (``-v7.3``, HDF5), with their axes as other programs write them.

MATLAB stores the first axis of an array last. What it calls (ny, nx, P) is (P, nx, ny) in the file, and is turned back to
(P, ny, nx) here; vectors are (1, n) there, numbers (1, 1), and logical arrays integers.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.readers.record import Node, unwritten_frames

MATLAB: Final = "MATLAB_class"
"""Attribute of every array that MATLAB saved, with the name of its type."""


def is_of_matlab(node: Node | None) -> bool:
    """Whether MATLAB saved an array."""
    return MATLAB in getattr(node, "attrs", {})


def turned_back(node: Node | None) -> Node | None:
    """The array as it was in MATLAB, but with frames first, (P, ny, nx), if MATLAB saved it; else as it is."""
    return Turned(node) if node is not None and is_of_matlab(node) else node


class Turned:
    """An array (..., nx, ny) as (..., ny, nx), or (1, n) and (n, 1) as (n,); only the frames asked for are read."""

    def __init__(self, node: Node) -> None:
        self._node, self.attrs = node, getattr(node, "attrs", {})
        shape = tuple(node.shape)
        self._is_vector = len(shape) == 2 and 1 in shape
        self.shape = (max(shape),) if self._is_vector else (*shape[:-2], *shape[:-3:-1])
        self.dtype = np.dtype(bool) if self.attrs[MATLAB] in (b"logical", "logical") else node.dtype
        chunks = getattr(node, "chunks", None)
        self.chunks = chunks if len(shape) > 2 else None

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read everything (``[()]``), or a part of the leading axes."""
        if len(self._node.shape) > 2:
            return np.asarray(np.swapaxes(np.asarray(self._node[key], self.dtype), -2, -1))
        whole = np.asarray(self._node[()], self.dtype)
        return np.asarray((whole.ravel() if self._is_vector else whole.T)[key])

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: frames of which a part was never written; for fewer dimensions, whether any part was."""
        unwritten = unwritten_frames(self._node)
        return unwritten if len(self.shape) > 2 else np.full(self.shape[:1], bool(unwritten.any()))
