"""How a directory becomes visible: on a file system it is built beside its place, flushed, and renamed once.

In an object store it is built on this machine and written object by object, its marker last: readers go by the marker.
"""

import contextlib
import logging
import math
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from storage.location import MARKERS, WRITTEN_ONCE, Location, ObjectPath

Item = TypeVar("Item")
log = logging.getLogger(__name__)

PREFIX = ".staging-"
"""Names of directories that are not yet, or no longer, part of the store."""
N_AT_ONCE: Final = 8
"""Files that are flushed, or sent to an object store, at the same time."""
DEPTH: Final = 3
"""Levels of folders in which writers leave something."""


@contextmanager
def staging_folder(place: Location) -> Iterator[Path]:
    """Yield an empty folder of this machine to build in, for what will lie in ``place``; it is gone when the block ends.

    Raises
    ------
    FileNotFoundError
        ``place`` is no folder: whoever wants it made makes it, so that one that was deleted does not come back.
    """
    if isinstance(place, Path):
        temporary = place / f"{PREFIX}{uuid.uuid4().hex}"
        temporary.mkdir()
    else:
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place.spool if place.spool.is_dir() else None))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def staged(final: Location, *, flushed: bool = True) -> Iterator[Path]:
    """Yield an empty folder that becomes ``final`` at once when the block ends well.

    Parameters
    ----------
    final : Location
    flushed : bool
        Whether it survives a power failure from then on; where not, the caller sees to that (`flush_later`).

    Raises
    ------
    FileExistsError
        ``final`` appeared in the meantime: another writer was first. Nothing is left of this one.
    """
    if isinstance(final, Path):
        final.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(final.parent) as temporary:
        yield temporary
        if not flushed:
            let_appear(temporary, final)
            return
        if isinstance(final, Path):
            flush_tree(temporary)
        move_into_place(temporary, final)


def move_into_place(source: Path, final: Location) -> None:
    """Let ``source`` become ``final``, which must not exist, and make that durable.

    Raises
    ------
    FileExistsError
        ``final`` is already there.
    """
    let_appear(source, final)
    if isinstance(final, Path):
        flush(final.parent)


def let_appear(source: Path, final: Location) -> None:
    """Let ``source`` become ``final``, which must not exist.

    Raises
    ------
    FileExistsError
        ``final`` is already there.
    """
    if isinstance(final, ObjectPath):
        send(source, final)
        return
    if final.is_file():
        raise FileExistsError(f"{final} is already there")
    try:
        os.rename(source, final)
    except OSError as error:
        if final.exists():
            raise FileExistsError(f"{final} is already there") from error
        raise


def send(source: Path, final: ObjectPath) -> None:
    """Write every file of ``source`` as an object below ``final``, its marker last and only where there is none.

    Two that write the same folder at once write the same, but for what their markers say: the first marker stays.
    """
    marker = next(name for name in MARKERS if (source / name).is_file())
    if (final / marker).is_file():
        raise FileExistsError(f"{final} is already there")
    files = [path for path in source.rglob("*") if path.is_file() and path != source / marker]
    side_by_side(lambda path: (final / path.relative_to(source).as_posix()).put(path), files)
    (final / marker).put((source / marker).read_bytes(), must_be_new=True)


def is_there(path: Location) -> bool:
    """Whether something was moved to ``path``: in an object store, whether its marker is there."""
    return path.exists() if isinstance(path, Path) else any((path / name).is_file() for name in WRITTEN_ONCE)


def remove_tree(path: Location) -> None:
    """Take ``path`` out of sight at once, then delete it: readers see all of it or nothing.

    Raises
    ------
    FileNotFoundError
    """
    if isinstance(path, ObjectPath):
        found = list(path.rglob("*"))
        if not found:
            raise FileNotFoundError(f"{path} is not there")
        path.remove_all([one for one in found if one.name in MARKERS])
        path.remove_all([one for one in found if one.name not in MARKERS])
        return
    hidden = path.with_name(f"{PREFIX}{uuid.uuid4().hex}")
    os.rename(path, hidden)
    try:
        discard(hidden)
    except OSError as error:
        log.warning("%s is deleted, but still takes room as %s: %s", path, hidden.name, error)


def discard(path: Location) -> None:
    """Delete a file, or a folder with all in it, that nobody reads; of a link only the link goes. What is gone is no error.

    Raises
    ------
    OSError
        Something of it could not be removed.
    """
    with contextlib.suppress(FileNotFoundError):
        if isinstance(path, ObjectPath):
            remove_tree(path)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_file(path: Location, content: bytes, mode: int = 0o666) -> None:
    """Replace ``path`` whole: temporary file, fsync, rename; ``mode`` are its permissions, as far as the umask lets."""
    if isinstance(path, ObjectPath):
        path.put(content)
        return
    temporary = path.with_name(f"{PREFIX}{uuid.uuid4().hex}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def flush(path: Path) -> None:
    """Make one file, or one directory's entries, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(root: Path) -> None:
    """Make every file and directory below ``root`` survive a power failure."""
    paths = [Path(directory, name) for directory, _, files in os.walk(root) for name in (*files, "")]
    side_by_side(flush, paths)


def flush_later(folder: Path) -> None:
    """Make a folder of files survive a power failure within moments, while the caller goes on.

    This is for what is held to its digests whenever it is read and can be computed again. A folder that the disk refuses is
    removed, so that nobody counts on it.
    """
    try:
        _flusher().submit(_flush_or_remove, folder)
    except RuntimeError:  # no room for a thread, or the process is about to end
        _flush_or_remove(folder)


@cache
def _flusher() -> ThreadPoolExecutor:
    """The one thread that flushes; a process that ends waits for it."""
    return ThreadPoolExecutor(1, "flush")


def _flush_or_remove(folder: Path) -> None:
    try:
        for path in (*folder.iterdir(), folder, folder.parent):
            flush(path)
    except FileNotFoundError:
        pass  # deleted meanwhile
    except OSError as error:
        log.warning("%s cannot be written to the disk (%s); it is removed and computed again", folder, error)
        with contextlib.suppress(OSError):
            remove_tree(folder)


def side_by_side(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Do ``work`` on many items at the same time: file systems and object stores answer faster than one by one."""
    waiting = list(items)
    try:
        with ThreadPoolExecutor(N_AT_ONCE) as pool:
            list(pool.map(work, waiting))
    except RuntimeError:  # no room for threads in a process that may use little memory
        for item in waiting:
            work(item)


def abandoned(root: Path, older_than_s: float) -> list[Path]:
    """Return what writers that died left below ``root``, untouched for ``older_than_s`` seconds.

    Directories are looked into `DEPTH` levels down: what is deeper belongs to finished arrays.
    """
    limit = time.time() - older_than_s
    found = []
    for directory, names, files in os.walk(root):
        staging = [name for name in names if name.startswith(PREFIX)]
        found += [Path(directory, name) for name in (*staging, *files) if name.startswith(PREFIX)]
        is_deepest = len(Path(directory).relative_to(root).parts) >= DEPTH - 1
        names[:] = [] if is_deepest else [name for name in names if name not in staging]
    return sorted(path for path in found if changed(path) < limit)


def unmarked(root: ObjectPath, pattern: str, older_than_s: float) -> list[ObjectPath]:
    """Return what writers that died left in an object store: folders without a marker, untouched for ``older_than_s`` seconds."""
    limit = time.time() - older_than_s
    return sorted(
        path
        for path, objects in root.grouped(pattern).items()
        if not any(name in ("", *WRITTEN_ONCE) for name, _ in objects) and max(status.st_mtime for _, status in objects) < limit
    )


def changed(path: Location) -> float:
    """When ``path`` last changed [s since 1970]; never, where it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def size_of(path: Location) -> int:
    """Bytes of a file, or of all files below a directory; 0 where there is none."""
    if isinstance(path, ObjectPath):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_size
        return 0
    n_bytes = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        with contextlib.suppress(FileNotFoundError):
            n_bytes += file.stat().st_size if file.is_file() else 0
    return n_bytes
