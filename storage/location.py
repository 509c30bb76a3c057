"""Where stored data lie: a folder of a file system, or the objects of a bucket below a prefix.

An `ObjectPath` has those methods of `pathlib.Path` that the stores use, so that one code reads both. What differs lies in
`storage.atomic`: a bucket knows no rename, so a folder is there once its marker is, the object that is written last.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from storage.errors import ObjectStoreError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

MANIFEST: Final = "manifest.json"
"""The marker of scans and finished steps: lists their files."""
SEAL: Final = "seal.json"
"""The marker of results: lists theirs."""
WRITTEN_ONCE: Final = (MANIFEST, SEAL)
"""Markers of what is whole once it appears: of these folders, one without its marker is unfinished, or was given up."""
MARKERS: Final = (*WRITTEN_ONCE, "zarr.json")
"""The first of these that a folder holds is its marker: written last, and removed first. A dataset's is its ``zarr.json``."""
URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*?))?/?")
NO_BUCKET: Final = "NoSuchBucket"
"""What a server says where the bucket itself is missing, and not an object."""
RETRY_S: Final = 60
"""A bucket that does not answer is asked again for so long [s]."""


@dataclass(frozen=True)
class ObjectStatus:
    """Size [bytes], time of the last change, and what changes with every writing of an object."""

    st_size: int
    st_mtime: float
    etag: str

    @property
    def st_mtime_ns(self) -> int:
        """The time in nanoseconds."""
        return int(self.st_mtime * 1e9)


@dataclass(frozen=True, order=True)
class ObjectPath:
    """One object of an S3 bucket, or all objects below it, by the name ``key``.

    Endpoint and credentials are those of the environment's ``AWS_*`` variables. ``spool`` is a folder of this machine in which
    what will be stored is built first; where it is missing, as on another machine, the folder for temporary files serves.

    Every method raises ObjectStoreError where the store does not answer or refuses.
    """

    bucket: str
    key: str
    spool: Path

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.bucket, f"{self.key}/{name}".strip("/"), self.spool)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names from the bucket down."""
        return (self.bucket, *self.key.split("/"))

    @property
    def name(self) -> str:
        """The last name."""
        return self.parts[-1]

    @property
    def parent(self) -> ObjectPath:
        """What it lies below."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0], self.spool)

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        import obstore

        try:
            with told(self):
                obstore.head(self._store, self.key)
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there are objects below it."""
        return next(self._objects(), None) is not None

    def exists(self) -> bool:
        """Whether there is an object of this name, or below it."""
        return self.is_file() or self.is_dir()

    def stat(self) -> ObjectStatus:
        """What is known of the object; of a folder, the bytes and the newest of what is below it.

        Raises
        ------
        FileNotFoundError
        """
        import obstore

        try:
            with told(self):
                return status_of(obstore.head(self._store, self.key))
        except FileNotFoundError:
            below = [status_of(found) for found in self._objects()]
            if not below:
                raise
            return ObjectStatus(sum(one.st_size for one in below), max(one.st_mtime for one in below), "")

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make sure that the bucket answers: a folder is there with its first object."""
        self.is_dir()

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises
        ------
        FileNotFoundError
        """
        import obstore

        with told(self):
            return bytes(obstore.get(self._store, self.key).bytes())

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole object as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The object, to be read in parts."""
        return io.BufferedReader(ObjectReader(self))

    def read_range(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, fewer at the end of the object."""
        import obstore

        with told(self):
            return bytes(obstore.get_range(self._store, self.key, start=start, length=length))

    def put(self, content: bytes | Path, *, must_be_new: bool = False) -> None:
        """Write the object whole: bytes, or the content of a file.

        Raises
        ------
        FileExistsError
            There is one already, and it must not be.
        """
        import obstore

        with told(self):
            obstore.put(self._store, self.key, content, mode="create" if must_be_new else "overwrite")

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object.

        Raises
        ------
        FileNotFoundError
        """
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(str(self))
        self.remove_all([self])

    def remove_all(self, paths: list[ObjectPath]) -> None:
        """Remove objects of the same bucket."""
        import obstore

        with told(self):
            obstore.delete(self._store, [path.key for path in paths])

    def iterdir(self) -> Iterator[ObjectPath]:
        """The objects and folders directly below."""
        import obstore

        with told(self):
            found = obstore.list_with_delimiter(self._store, self.key or None)
        names = [*found["common_prefixes"], *(one["path"] for one in found["objects"])]
        yield from (ObjectPath(self.bucket, name, self.spool) for name in names)

    def rglob(self, pattern: str) -> Iterator[ObjectPath]:
        """All objects below it."""
        return (ObjectPath(self.bucket, found["path"], self.spool) for found in self._objects())

    def glob(self, pattern: str) -> list[ObjectPath]:
        """The objects and folders below it whose names match the pattern, name by name."""
        return list(self.grouped(pattern))

    def grouped(self, pattern: str) -> dict[ObjectPath, list[tuple[str, ObjectStatus]]]:
        """What matches a pattern, and the objects in each: their names below it, and what is known of them."""
        wanted = pattern.split("/")
        groups: dict[ObjectPath, list[tuple[str, ObjectStatus]]] = {}
        for found in self._objects():
            names = found["path"].removeprefix(self.key).strip("/").split("/")
            if len(names) >= len(wanted) and all(map(fnmatchcase, names, wanted)):
                of = self / "/".join(names[: len(wanted)])
                groups.setdefault(of, []).append(("/".join(names[len(wanted) :]), status_of(found)))
        return groups

    def zarr_store(self, read_only: bool = False) -> ObjectStore[Any]:
        """The objects below it as a store of Zarr."""
        from zarr.storage import ObjectStore

        return ObjectStore(open_bucket(self.bucket, self.key), read_only=read_only)

    @property
    def _store(self) -> S3Store:
        return open_bucket(self.bucket)

    def _objects(self) -> Iterator[Any]:
        import obstore

        with told(self):
            for page in obstore.list(self._store, self.key or None):
                yield from page


Location: TypeAlias = Path | ObjectPath


class ObjectReader(io.RawIOBase):
    """An object as an unbuffered file, read by ranges."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._size, self._at = path, path.stat().st_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as files do."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` as far as the object goes."""
        view = memoryview(buffer).cast("B")
        n = min(len(view), max(0, self._size - self._at))
        if n:
            view[:n] = self._path.read_range(self._at, n)
        self._at += n
        return n


def status_of(found: Any) -> ObjectStatus:
    """What a bucket says of an object."""
    return ObjectStatus(found["size"], found["last_modified"].timestamp(), str(found["e_tag"]))


@contextmanager
def told(path: ObjectPath) -> Iterator[None]:
    """Raise what obstore raises as the errors of a file system, or as ObjectStoreError."""
    from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

    try:
        yield
    except AlreadyExistsError as error:
        raise FileExistsError(f"{path} is already there") from error
    except (NotFoundError, FileNotFoundError, BaseError) as error:
        if isinstance(error, NotFoundError | FileNotFoundError) and NO_BUCKET not in str(error):
            raise FileNotFoundError(f"{path} is not there") from error
        reason = str(error).partition("\n")[0]
        raise ObjectStoreError(f"{path}: {reason}; are the endpoint, the bucket and the credentials (AWS_*) right?") from error


@lru_cache(maxsize=256)
def open_bucket(bucket: str, prefix: str | None = None) -> S3Store:
    """A bucket, with the endpoint and the credentials of the environment."""
    from obstore.store import S3Store

    return S3Store(bucket, prefix=prefix, retry_config={"retry_timeout": timedelta(seconds=RETRY_S)})


def bucket_of(url: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``.

    Raises
    ------
    ValueError
        It is no such address, or obstore is not installed.
    """
    found = URL.fullmatch(url)
    if found is None:
        raise ValueError(f"an object store is given as s3://bucket/prefix, got {url!r}")
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise ValueError("an object store needs obstore: pip install 'ptyxas[s3]'") from error
    return found[1], found[2] or ""


def zarr_store(location: Location) -> Path | ObjectStore[Any]:
    """What Zarr opens."""
    return location if isinstance(location, Path) else location.zarr_store()


def body_of(file: Location) -> Path | bytes:
    """What a file is served from: its path, or its content where it lies in an object store."""
    return file if isinstance(file, Path) else file.read_bytes()


def folders_below(root: Location, depth: int = 1) -> list[Location]:
    """The folders ``depth`` levels below ``root``; none where there is no ``root``."""
    if isinstance(root, Path):
        return [path for path in root.glob("/".join("*" * depth)) if path.is_dir()]
    return list(root.iterdir()) if depth == 1 else list(root.glob("/".join("*" * depth)))
