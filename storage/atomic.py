"""How a directory becomes visible: built beside its place, flushed, renamed once."""

import contextlib
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

PREFIX = ".staging-"
"""Names of directories that are not yet, or no longer, part of the store."""
N_FLUSHES = 8


@contextmanager
def staged(final: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yield an empty directory that becomes ``final`` by one rename when the block ends well.

    Parameters
    ----------
    final : Path
        Where the directory will appear.
    beside : Path, optional
        Directory on the same file system to build in; the parent of ``final`` where not given.

    Raises
    ------
    FileExistsError
        ``final`` appeared in the meantime: another writer was first. Nothing is left of this one.
    """
    beside = beside or final.parent
    beside.mkdir(parents=True, exist_ok=True)
    temporary = beside / f"{PREFIX}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        yield temporary
        flush_tree(temporary)
        move_into_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def move_into_place(source: Path, final: Path) -> None:
    """Rename ``source`` to ``final``, which must not exist, and make the rename durable.

    Raises
    ------
    FileExistsError
        ``final`` is already there.
    """
    if final.is_file():
        raise FileExistsError(f"{final} is already there")
    try:
        os.rename(source, final)
    except OSError as error:
        if final.exists():
            raise FileExistsError(f"{final} is already there") from error
        raise
    flush(final.parent)


def remove_tree(path: Path) -> None:
    """Take ``path`` out of sight by one rename, then delete it: readers see all of it or nothing."""
    hidden = path.with_name(f"{PREFIX}{uuid.uuid4().hex}")
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace ``path`` whole: temporary file, fsync, rename; ``mode`` are its permissions, as far as the umask lets."""
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
    try:  # side by side, the file system commits many of them at once
        with ThreadPoolExecutor(N_FLUSHES) as pool:
            list(pool.map(flush, paths))
    except RuntimeError:  # no room for threads in a process that may use little memory
        for path in paths:
            flush(path)


def abandoned(root: Path, older_than_s: float, depth: int = 3) -> list[Path]:
    """Return what writers that died left below ``root``, untouched for ``older_than_s`` seconds.

    Directories are looked into ``depth`` levels down: what is deeper belongs to finished arrays.
    """
    limit = time.time() - older_than_s
    found = []
    for directory, names, files in os.walk(root):
        staging = [name for name in names if name.startswith(PREFIX)]
        found += [Path(directory, name) for name in (*staging, *files) if name.startswith(PREFIX)]
        is_deepest = len(Path(directory).relative_to(root).parts) >= depth - 1
        names[:] = [] if is_deepest else [name for name in names if name not in staging]
    return sorted(path for path in found if changed(path) < limit)


def changed(path: Path) -> float:
    """When ``path`` last changed [s since 1970]; never, where it is gone meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; 0 where there is none."""
    n_bytes = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        with contextlib.suppress(FileNotFoundError):
            n_bytes += file.stat().st_size if file.is_file() else 0
    return n_bytes
