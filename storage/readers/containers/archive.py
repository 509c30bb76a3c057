"""ZIP archives from outside: NPZ files and bundles, audited before anything is unpacked."""

import ast
import math
import os
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, HostileFileError, UnknownFormatError
from storage.readers.record import DAMAGE

MAX_MEMBERS: Final = 100_000
MAX_EXPANSION: Final = 1000
SMALL_BYTES: Final = 64 * 2**20
MAX_HEADER_BYTES: Final = 10_000
MAX_UNPACKED: Final = 20
"""Largest ratio of an archive's unpacked files to its own size, where they are unpacked to disk."""
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open and audit a ZIP archive.

    Raises
    ------
    UnknownFormatError
        Not a ZIP archive, or a damaged one.
    HostileFileError
        A member leaves the archive's folder, is a link, is encrypted, or expands beyond all proportion.
    """
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise UnknownFormatError([FieldError("file", f"is a damaged ZIP archive: {error}")]) from error
    with archive:
        faults = list(_faults(archive))
        if faults:
            raise HostileFileError(faults)
        yield archive


def _faults(archive: zipfile.ZipFile) -> Iterator[FieldError]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        yield FieldError("file", f"has {len(members)} members, more than {MAX_MEMBERS}")
        return
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        yield FieldError("file", "has two members of one name")
    size = os.stat(str(archive.filename)).st_size
    if sum(member.compress_size for member in members) > size:
        yield FieldError("file", "has members that overlap")
    for member in members:
        message = _member_fault(member)
        if message:
            yield FieldError(member.filename[:200], message)


def _member_fault(member: zipfile.ZipInfo) -> str:
    name = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
        return "leaves the archive's folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.compress_type not in METHODS:
        return f"is compressed by method {member.compress_type}; store or deflate it"
    if member.file_size > SMALL_BYTES and member.file_size > MAX_EXPANSION * member.compress_size:
        return f"expands from {member.compress_size} bytes to {member.file_size / 2**20:.0f} MiB"
    return ""


def unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """Write an audited archive's files into ``folder``.

    Raises
    ------
    HostileFileError
        They would take far more room than the archive.
    """
    total = sum(member.file_size for member in archive.infolist())
    if total > max(SMALL_BYTES, MAX_UNPACKED * os.stat(str(archive.filename)).st_size):
        raise HostileFileError([FieldError("file", f"unpacks to {total / 2**20:.0f} MiB, over {MAX_UNPACKED} to 1")])
    for member in archive.infolist():
        target = folder / member.filename
        if not member.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy)


class NpyMember:
    """A ``.npy`` member of an archive, read forward in slices of its first axis; never unpickled.

    Raises
    ------
    UnknownFormatError
        The header is damaged, holds Python objects, is in Fortran order, or disagrees with the member's size.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._file: Any = None
        self._position = 0
        try:
            self.shape, self.dtype, self._offset = self._read_header()
        except DAMAGE as error:
            raise UnknownFormatError([FieldError(name, f"is not a readable .npy array: {error}")]) from error

    def _read_header(self) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        with self._archive.open(self._name) as file:
            return read_npy_header(file, self._archive.getinfo(self._name).file_size)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read everything (``[()]``) or a slice of the first axis."""
        if not isinstance(key, slice):
            with self._archive.open(self._name) as file:
                file.seek(self._offset)
                return np.frombuffer(file.read(), self.dtype).reshape(self.shape)
        start, stop, _ = key.indices(self.shape[0])
        row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        if self._file is None or self._position > start:
            self.close()
            self._file = self._archive.open(self._name)
            self._position = 0
        self._file.seek(self._offset + start * row)
        content = self._file.read((stop - start) * row)
        self._position = stop
        return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        """Let go of the archive."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_npy_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and where the numbers start, of a ``.npy`` file of ``size`` bytes.

    Raises
    ------
    ValueError, SyntaxError, TypeError, KeyError
        A damaged header, Python objects, Fortran order, or a shape that does not match the size.
    """
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        raise ValueError("no .npy header")
    width = 2 if magic[6] == 1 else 4
    (length,) = struct.unpack("<H" if width == 2 else "<I", file.read(width))
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"header of {length} bytes")
    header = ast.literal_eval(file.read(length).decode("latin1"))
    dtype, shape, start = np.dtype(header["descr"]), tuple(int(n) for n in header["shape"]), 8 + width + length
    if dtype.hasobject or dtype.fields or (header["fortran_order"] and len(shape) > 1):
        raise ValueError("must be plain numbers in C order")
    if min((*shape, 0)) < 0 or math.prod(shape) * dtype.itemsize + start != size:
        raise ValueError(f"shape {shape} does not match its {size} bytes")
    return shape, dtype, start


def read_npy(path: Path) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers.

    Raises
    ------
    ValueError, SyntaxError, TypeError, KeyError
        See `read_npy_header`.
    """
    with path.open("rb") as file:
        shape, dtype, start = read_npy_header(file, path.stat().st_size)
        file.seek(start)
        return np.frombuffer(file.read(), dtype).reshape(shape)
