"""Manifests: size and digest of every file of a finished folder, and reading that holds the files to them.

A chunk that is missing reads as fill values in Zarr, and most flipped bits decode to other numbers. So whatever is stored has
a manifest, written last, and is read through a `VerifiedStore`, which raises instead.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, ObjectStore, WrapperStore

from storage.errors import DamagedError
from storage.location import Location

METADATA: Final = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
"""Names of files that Zarr asks for to find out whether they are there."""


@dataclass(frozen=True)
class FileDigest:
    """What a finished file holds: its size [bytes] and its SHA-256 [hex]."""

    size: int
    sha256: str


Files: TypeAlias = Mapping[str, FileDigest]
"""Files of a folder, by their path below it."""


def describe(folder: Path) -> dict[str, FileDigest]:
    """Size and digest of every file below ``folder``."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): digest_of_file(path) for path in files}


def digest_of_bytes(content: bytes) -> FileDigest:
    """Size and digest of a file of this content."""
    return FileDigest(len(content), hashlib.sha256(content).hexdigest())


def digest_of_file(path: Path) -> FileDigest:
    """Size and digest of one file."""
    with path.open("rb") as stream:
        return FileDigest(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def as_json(files: Files) -> dict[str, list[Any]]:
    """Files as a manifest holds them."""
    return {name: [file.size, file.sha256] for name, file in files.items()}


def from_json(files: Mapping[str, Iterable[Any]]) -> dict[str, FileDigest]:
    """Files from what a manifest holds.

    Raises
    ------
    ValueError, TypeError, OverflowError
        It is not a manifest.
    """
    if not isinstance(files, Mapping):
        raise TypeError(f"a manifest lists files by name, got {type(files).__name__}")
    return {name: FileDigest(int(size), str(sha256)) for name, (size, sha256) in files.items()}


def check(folder: Location, name: str, expected: FileDigest) -> bytes:
    """Content of the file ``name`` of a folder, which must be what was written.

    Raises
    ------
    DamagedError
        The file is missing, cut, or holds other bytes.
    """
    try:
        content = (folder / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{name} is missing") from error
    if len(content) != expected.size:
        raise DamagedError(f"{name} has {len(content)} bytes, {expected.size} were written")
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise DamagedError(f"{name} holds other bytes than were written")
    return content


def find_damage(folder: Location, files: Files) -> list[str]:
    """What is wrong with the files of a folder, each file by its name; empty where all are what was written."""
    found = []
    for name, expected in files.items():
        try:
            check(folder, name, expected)
        except DamagedError as error:
            found.append(str(error))
    return found


class VerifiedStore(WrapperStore[LocalStore | ObjectStore[Any]]):
    """A folder of Zarr data, read-only, whose files must be what its manifest says.

    Parameters
    ----------
    root : Path or ObjectPath
    files : mapping of str to FileDigest, optional
        All files of the folder. Without it (data stored before there were manifests) a chunk that is missing is still
        an error: the stores write every chunk.
    """

    def __init__(self, root: Location, files: Files | None = None) -> None:
        super().__init__(LocalStore(root, read_only=True) if isinstance(root, Path) else root.zarr_store(read_only=True))
        self.root = root
        self._files = files

    def with_read_only(self, read_only: bool = False) -> "VerifiedStore":
        """The same store, which is only ever read."""
        return self

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """A file's bytes, or the part of them asked for, as Zarr takes them; None for metadata that is not there.

        Raises
        ------
        DamagedError
        """
        return await asyncio.to_thread(self._read, key, prototype, byte_range)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """`get` for callers without an event loop."""
        return self._read(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """`get` for several files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def _read(self, key: str, prototype: BufferPrototype | None, byte_range: ByteRequest | None) -> Buffer | None:
        path = self.root / key
        if self._files is not None and key in self._files:
            content = check(self.root, key, self._files[key])
        elif path.name in METADATA:
            if self._files is not None or not path.is_file():
                return None
            content = path.read_bytes()
        elif self._files is None and path.is_file():
            content = path.read_bytes()
        else:
            raise DamagedError(f"{key} is missing")
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content[part_of(byte_range, len(content))])


def part_of(byte_range: ByteRequest | None, size: int) -> slice:
    """The part of a file's bytes that is asked for."""
    if isinstance(byte_range, RangeByteRequest):
        return slice(byte_range.start, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return slice(byte_range.offset, None)
    if isinstance(byte_range, SuffixByteRequest):
        return slice(max(0, size - byte_range.suffix), None)
    return slice(None)
