"""NumPy's ``.npy`` arrays, alone or as members of an archive; never unpickled."""

import ast
import math
import struct
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, UnknownFormatError
from storage.readers.containers.archive import Archive
from storage.readers.record import DAMAGE

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER_BYTES: Final = 10_000
MAX_FORTRAN_BYTES: Final = 256 * 2**20
"""Largest array in Fortran order that is read: its frames are not contiguous, so it is held in memory whole."""

Header = tuple[tuple[int, ...], np.dtype[Any], int, bool]
"""Shape, dtype, offset of the first number [bytes], and whether the order is Fortran's."""


class NpyMember:
    """A ``.npy`` member of an archive, read forward in slices of its first axis.

    Raises
    ------
    UnknownFormatError
        The header is damaged, holds Python objects, or disagrees with the member's size; or a large array is in Fortran
        order.
    """

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive, self._member = archive.file, archive.members[name]
        self._file: Any = None
        self._whole: NDArray[Any] | None = None
        try:
            with self._archive.open(self._member) as file:
                self.shape, self.dtype, self._offset, self._fortran = read_npy_header(file, self._member.file_size)
        except DAMAGE as error:
            raise UnknownFormatError([FieldError(name, f"is not a readable .npy array: {error}")]) from error

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read everything (``[()]``), a slice of the first axis, or (index, slice) of the first two."""
        if self._fortran:
            part: NDArray[Any] = self._in_memory()[key]
            return part
        if isinstance(key, slice):
            start, stop, _ = key.indices(self.shape[0])
            return self._rows(start, stop, self.shape[1:])
        if isinstance(key, tuple) and len(key) == 2:
            start, stop, _ = key[1].indices(self.shape[1])
            first = int(key[0]) * self.shape[1]
            return self._rows(first + start, first + stop, self.shape[2:])
        return self._in_memory()

    def _in_memory(self) -> NDArray[Any]:
        if self._whole is None:
            with self._archive.open(self._member) as file:
                file.seek(self._offset)
                self._whole = np.frombuffer(file.read(), self.dtype).reshape(self.shape, order="F" if self._fortran else "C")
        return self._whole

    def _rows(self, start: int, stop: int, frame: tuple[int, ...]) -> NDArray[Any]:
        row = math.prod(frame) * self.dtype.itemsize
        self._file = self._file or self._archive.open(self._member)
        self._file.seek(self._offset + start * row)
        return np.frombuffer(self._file.read(max(0, stop - start) * row), self.dtype).reshape(-1, *frame)

    def close(self) -> None:
        """Close the member."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_npy_header(file: IO[bytes], size: int) -> Header:
    """Read the header of a ``.npy`` file of ``size`` bytes.

    Raises
    ------
    ValueError, SyntaxError, TypeError, KeyError
        A damaged header, Python objects, or a shape that does not match the size.
    """
    magic = file.read(8)
    if magic[:6] != MAGIC or magic[6] not in (1, 2, 3):
        raise ValueError("no .npy header")
    width = 2 if magic[6] == 1 else 4
    (length,) = struct.unpack("<H" if width == 2 else "<I", file.read(width))
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"header of {length} bytes")
    header = ast.literal_eval(file.read(length).decode("latin1"))
    dtype, shape, start = np.dtype(header["descr"]), tuple(int(n) for n in header["shape"]), 8 + width + length
    fortran = bool(header["fortran_order"]) and len(shape) > 1
    if dtype.hasobject or dtype.fields:
        raise ValueError("must be plain numbers")
    if min((*shape, 0)) < 0 or math.prod(shape) * dtype.itemsize + start != size:
        raise ValueError(f"shape {shape} does not match its {size} bytes")
    if fortran and size > MAX_FORTRAN_BYTES:
        raise ValueError(
            f"is {size / 2**20:.0f} MiB in Fortran order, more than the {MAX_FORTRAN_BYTES // 2**20} MiB allowed; "
            "save np.ascontiguousarray of it"
        )
    return shape, dtype, start, fortran


def read_npy(path: Path) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers.

    Raises
    ------
    ValueError, SyntaxError, TypeError, KeyError
        See `read_npy_header`.
    """
    with path.open("rb") as file:
        shape, dtype, start, fortran = read_npy_header(file, path.stat().st_size)
        file.seek(start)
        return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def is_npy(path: Path) -> bool:
    """Whether a file begins as a ``.npy`` file does."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def npy_names(archive: Archive) -> dict[str, str]:
    """Return array name -> member name of every ``.npy`` member at the archive's top."""
    return {name.removesuffix(".npy"): name for name in archive.members if name.endswith(".npy") and "/" not in name}
