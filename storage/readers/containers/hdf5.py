"""HDF5 files from outside, audited before a single value is read.

HDF5 follows external links, virtual datasets and external storage to any file the process may read, and a small file
can expand a thousandfold. All are found by walking the file's links without following any.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import hdf5plugin  # noqa: F401  h5py decompresses with the filters this brings
import numpy as np

from storage.errors import FieldError, HostileFileError, UnknownFormatError
from storage.readers.record import DAMAGE, Node

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"

FILTERS: Final = {
    1: "deflate", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc",
    32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2",
}  # fmt: skip
"""Filters that are run on data from outside, by their registered numbers."""

MAX_OBJECTS: Final = 5_000
MAX_DEPTH: Final = 32
MAX_CHUNK_BYTES: Final = 256 * 2**20
"""One chunk is decompressed whole, so it bounds the memory that reading one frame takes."""
MAX_EXPANSION: Final = 1000
"""Largest ratio of an array's size to its bytes in the file."""
SMALL_BYTES: Final = 64 * 2**20
"""Arrays up to this size may compress as well as they like [bytes]."""


def is_hdf5(path: Path) -> bool:
    """Whether the file has HDF5's signature, at the start or after a user block (512 bytes, doubling)."""
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            offset = max(512, offset * 2)
    return False


@contextmanager
def open_hdf5(path: Path, external: bool = False) -> Iterator[h5py.File]:
    """Open and audit an HDF5 file.

    Parameters
    ----------
    path : Path
    external : bool
        Leave external links alone instead of refusing them; `find_object` and `find_node` do not follow them.

    Raises
    ------
    UnknownFormatError
        Not an HDF5 file, or a damaged one.
    HostileFileError
        The file reaches outside itself, names a filter that is not allowed, or is a bomb.
    """
    try:
        file = h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise UnknownFormatError([FieldError("file", f"is not a readable HDF5 file: {error}")]) from error
    with file:
        try:
            _audit(file, external)
        except HostileFileError:
            raise
        except DAMAGE as error:
            raise UnknownFormatError([FieldError("file", f"is a damaged HDF5 file: {error}")]) from error
        yield file


def _audit(file: h5py.File, external: bool) -> None:
    faults: list[FieldError] = []
    seen: set[int] = set()
    pending: list[tuple[h5py.Group, int]] = [(file["/"], 0)]
    while pending:
        group, depth = pending.pop()
        if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
            raise HostileFileError([FieldError("file", f"has over {MAX_OBJECTS} objects, or groups over {MAX_DEPTH} deep")])
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink) and not external:
                faults.append(
                    FieldError(where, f"external link to {link.filename!r} is refused; store the data inside, or ZIP both")
                )
            if not isinstance(link, h5py.HardLink):
                continue
            address = h5py.h5o.get_info(group.id, name.encode("utf-8", "surrogateescape")).addr
            if address in seen:
                continue
            seen.add(address)
            child = group[name]
            if isinstance(child, h5py.Group):
                pending.append((child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                faults += [FieldError(where, message) for message in _dataset_faults(child)]
        if len(faults) > 20:
            break
    if faults:
        raise HostileFileError(faults)


def _dataset_faults(dataset: h5py.Dataset) -> Iterator[str]:
    creation = dataset.id.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        yield "virtual dataset is refused: it reads other files; store the data in the file"
        return
    if creation.get_external_count():
        yield "external storage is refused: it reads other files; store the data in the file"
        return
    for index in range(creation.get_nfilters()):
        code = creation.get_filter(index)[0]
        if code not in FILTERS:
            yield f"filter {code} is not one of those allowed: {', '.join(FILTERS.values())}"
    itemsize = dataset.dtype.itemsize
    if layout == h5py.h5d.CHUNKED and _n_bytes(creation.get_chunk(), itemsize) > MAX_CHUNK_BYTES:
        yield f"chunks of {dataset.chunks} are over {MAX_CHUNK_BYTES // 2**20} MiB; use chunks of a few frames"
    expanded, stored = _n_bytes(dataset.shape or (), itemsize), dataset.id.get_storage_size()
    if expanded > SMALL_BYTES and expanded > MAX_EXPANSION * stored:
        yield f"expands from {stored} bytes to {expanded / 2**20:.0f} MiB, over {MAX_EXPANSION} to 1"


def _n_bytes(shape: tuple[int, ...], itemsize: int) -> float:
    return float(np.prod(shape, dtype=np.float64)) * itemsize


def find_object(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return what is at ``path`` below ``group``, or None, never leaving the file.

    HDF5 itself would follow an external link anywhere along the path, also behind a soft link; so each step is looked at
    before it is taken.
    """
    here: Any = group
    steps = path.split("/")[::-1]
    hops = MAX_DEPTH
    while steps:
        step = steps.pop()
        if not step:
            continue
        link = here.get(step, getlink=True) if isinstance(here, h5py.Group) else None
        if isinstance(link, h5py.SoftLink) and hops:
            hops -= 1
            here = here.file["/"] if link.path.startswith("/") else here
            steps += link.path.split("/")[::-1]
        elif isinstance(link, h5py.HardLink):
            here = here[step]
        else:
            return None
    return here if isinstance(here, h5py.Group | h5py.Dataset) else None


def find_node(group: h5py.Group, path: str) -> Node | None:
    """Return the array at ``path`` below ``group``, or None, never leaving the file."""
    try:
        found = find_object(group, path)
    except DAMAGE:
        return None
    return found if isinstance(found, h5py.Dataset) and found.shape is not None else None
