"""Arrays of published results, kept in memory for whoever asks for them, or for a part of them, next."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.results import ResultsStore

MAX_CACHED_BYTES: Final = 512 * 2**20
"""Images kept in memory, so that the next area of the same dataset needs no reading [bytes]."""

N_READERS: Final = 4
"""Arrays read at a time: each is checked and decoded in threads of its own, while others wait for the disk."""


class ArrayCache:
    """The arrays read last, up to a number of bytes; safe between threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._arrays: OrderedDict[tuple[object, ...], NDArray[Any]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: tuple[object, ...], read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of ``key``, from memory or by ``read``."""
        with self._guard:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        values = read()
        with self._guard:
            self._arrays[key] = values
            while sum(held.nbytes for held in self._arrays.values()) > self._max_bytes:
                self._arrays.popitem(last=False)
        return values


CACHE: Final = ArrayCache(MAX_CACHED_BYTES)


def read_arrays(
    store: ResultsStore, group: str, names: Collection[str], window: tuple[slice, slice] | None = None
) -> dict[str, NDArray[Any]]:
    """Those arrays of a group that the results hold; where given, of images a ``window`` of rows and columns.

    The parts that are read are kept in memory; those of a store that is replaced are read again.
    """
    changed_ns = (store.path / "zarr.json").stat().st_mtime_ns

    def rows_of(name: str, rows: slice) -> NDArray[Any]:
        return store.read(group, name, (..., rows, slice(None)))[0]

    def cached(name: str, what: object, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        return CACHE.get((store.path, changed_ns, group, name, what), read)

    def read(name: str) -> NDArray[Any]:
        # kept too, because opening an array takes as long as reading a chunk; 0 of what has one dimension
        n_rows = int(cached(name, "rows of a chunk", lambda: np.array([0, *store.array(group, name).chunks]))[-2])
        if window is None or n_rows == 0:
            return cached(name, "all", lambda: store.read(group, name)[0])
        starts = range(window[0].start // n_rows * n_rows, window[0].stop, n_rows)
        parts = [cached(name, row, partial(rows_of, name, slice(row, row + n_rows))) for row in starts]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2)
        return values[..., window[0].start - starts[0] : window[0].stop - starts[0], window[1]]

    there = sorted(set(names) & set(store.arrays(group)))
    with ThreadPoolExecutor(N_READERS) as pool:
        return dict(zip(there, pool.map(read, there), strict=True))
