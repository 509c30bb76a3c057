"""ZIP archives from outside: NPZ files and bundles, audited before anything is unpacked."""

import ast
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import Fault, HostileFileError, UnknownFormatError

MAX_MEMBERS: Final = 100_000
MAX_EXPANSION: Final = 1000
SMALL_BYTES: Final = 64 * 2**20
MAX_HEADER_BYTES: Final = 10_000
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
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UnknownFormatError([Fault("file", f"is a damaged ZIP archive: {error}")]) from error
    with archive:
        faults = list(_faults(archive))
        if faults:
            raise HostileFileError(faults)
        yield archive


def _faults(archive: zipfile.ZipFile) -> Iterator[Fault]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        yield Fault("file", f"has {len(members)} members, more than {MAX_MEMBERS}")
        return
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        yield Fault("file", "has two members of one name")
    for member in members:
        message = _member_fault(member)
        if message:
            yield Fault(member.filename[:200], message)


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
        except (ValueError, SyntaxError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise UnknownFormatError([Fault(name, f"is not a readable .npy array: {error}")]) from error

    def _read_header(self) -> tuple[tuple[int, ...], np.dtype[Any], int]:
        with self._archive.open(self._name) as file:
            magic = file.read(8)
            if magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
                raise ValueError("no .npy header")
            width = 2 if magic[6] == 1 else 4
            (length,) = struct.unpack("<H" if width == 2 else "<I", file.read(width))
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"header of {length} bytes")
            header = ast.literal_eval(file.read(length).decode("latin1"))
        dtype, shape = np.dtype(header["descr"]), tuple(int(n) for n in header["shape"])
        if dtype.hasobject or dtype.fields or (header["fortran_order"] and len(shape) > 1):
            raise ValueError("must be plain numbers in C order")
        if min((*shape, 0)) < 0 or np.prod(shape, dtype=object) * dtype.itemsize + 8 + width + length != (
            self._archive.getinfo(self._name).file_size
        ):
            raise ValueError(f"shape {shape} does not match the member's size")
        return shape, dtype, 8 + width + length

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
