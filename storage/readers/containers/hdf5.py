"""HDF5 files from outside, audited before a single value is read.

HDF5 follows external links, virtual datasets and external storage to any file the process may read, and a small file
can expand a thousandfold. All are found by walking the file's links without following any.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Final

import h5py
import hdf5plugin  # noqa: F401  h5py decompresses with the filters this brings
import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, HostileFileError, InvalidScanError, UnknownFormatError
from storage.readers.containers.limits import MAX_CHUNK_BYTES, array_faults
from storage.readers.containers.virtual import ITSELF, VirtualArray, mappings_of, virtual_faults
from storage.readers.record import DAMAGE
from storage.readers.units import decoded

NO_SIBLINGS: Final[Mapping[str, h5py.File]] = MappingProxyType({})
SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"

FILTERS: Final = {
    1: "deflate", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc",
    32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2",
}  # fmt: skip
"""Filters that are run on data from outside, by their registered numbers."""
COMPRESSORS: Final = {1, 32000, 32001, 32004, 32008, 32015, 32026}

NOT_BESIDE: Final = "is in {!r}, which is not beside it; send both in one ZIP, or register the folder that holds them"

MAX_OBJECTS: Final = 5_000
MAX_DEPTH: Final = 32


class Hdf5Array:
    """One array of an audited file."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = tuple(dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        self.chunks: tuple[int, ...] | None = dataset.chunks
        self.attrs: Any = dataset.attrs

    def __getitem__(self, key: Any) -> Any:
        """Read a part; ``[()]`` reads all of it."""
        return self._dataset[key]

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: entries of the first axis of which a chunk has no place in the file; for a number, one entry.

        HDF5 gives a chunk its place when it is first written; what has none reads as the fill value.
        """
        shape = self.shape or (1,)
        if math.prod(shape) == 0:
            return np.zeros(shape[0], bool)
        if self.chunks is None:
            return np.full(shape[0], self._dataset.id.get_storage_size() == 0)
        n_rows, *n_across = (math.ceil(n / chunk) for n, chunk in zip(shape, self.chunks, strict=True))
        per_row = math.prod(n_across)
        if self._dataset.id.get_num_chunks() == n_rows * per_row:
            return np.zeros(shape[0], bool)
        present = np.zeros(n_rows, np.int64)
        for chunk in stored_chunks(self._dataset):
            row = chunk.chunk_offset[0] // self.chunks[0]
            if row < n_rows:
                present[row] += 1
        return np.repeat(present < per_row, self.chunks[0])[: shape[0]]


def stored_chunks(dataset: h5py.Dataset) -> list[Any]:
    """Return where each chunk of a dataset is in the file: ``chunk_offset``, ``byte_offset``, ``size``."""
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    return chunks


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
        Leave external links and virtual datasets of other files alone instead of refusing them. `find_object` and `find_node`
        follow them to audited files only, and HDF5 itself never does.

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


def names_of_others(file: h5py.File) -> set[str]:
    """Names, without their folders, of the files that an audited file has external links to, or virtual datasets of."""
    found: set[str] = set()
    for _, kind, child in _walk(file):
        if kind == h5py.h5l.TYPE_EXTERNAL:
            found.add(PurePath(child).name)
        elif isinstance(child, h5py.Dataset) and is_virtual(child):
            found |= {PurePath(one.file).name for one in mappings_of(child) if one.file != ITSELF}
    return found - {PurePath(str(file.filename)).name}


def _audit(file: h5py.File, external: bool) -> None:
    faults: list[FieldError] = []
    for where, kind, child in _walk(file):
        if kind == h5py.h5l.TYPE_EXTERNAL and not external:
            faults.append(FieldError(where, f"external link to {child!r} is refused; store the data inside, or ZIP both"))
        elif isinstance(child, h5py.Dataset):
            faults += [FieldError(where, message) for message in _dataset_faults(child, external)]
        if len(faults) > 20:
            break
    if faults:
        raise HostileFileError(faults)


def _walk(file: h5py.File) -> Iterator[tuple[str, int, Any]]:
    """Path, kind of link and object of everything in a file, each object once; of an external link the name of its file.

    No link but hard ones is followed.
    """
    seen: set[int] = set()
    pending: list[tuple[h5py.Group, str, int]] = [(file["/"], "", 0)]
    while pending:
        group, parent, depth = pending.pop()
        if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
            raise HostileFileError([FieldError("file", f"has over {MAX_OBJECTS} objects, or groups over {MAX_DEPTH} deep")])
        for name in group:
            where = f"{parent}/{_printable(name)}"
            # h5py itself cannot look at a link whose name is not UTF-8.
            stored = _stored(name)
            kind = group.id.links.get_info(stored).type
            if kind == h5py.h5l.TYPE_EXTERNAL:
                yield where, kind, decoded(group.id.links.get_val(stored)[0])
            if kind != h5py.h5l.TYPE_HARD:
                continue
            address = h5py.h5o.get_info(group.id, stored).addr
            if address in seen:
                continue
            seen.add(address)
            child = group[name]
            if isinstance(child, h5py.Group):
                pending.append((child, where, depth + 1))
            yield where, kind, child


def child_names(group: h5py.Group) -> list[str]:
    """Names of what is in a group, sorted; a name that is not UTF-8 is given as Latin-1, and finds nothing."""
    return sorted(_printable(name) for name in group)


def _stored(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def _printable(name: str | bytes) -> str:
    return decoded(_stored(name))


def is_virtual(dataset: h5py.Dataset) -> bool:
    """Whether the values of a dataset are in other datasets."""
    return bool(dataset.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL)


def _dataset_faults(dataset: h5py.Dataset, external: bool) -> Iterator[str]:
    creation = dataset.id.get_create_plist()
    layout = creation.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        yield from virtual_faults(dataset, external)
        return
    if creation.get_external_count():
        yield "external storage is refused: it reads other files; store the data in the file"
        return
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    for code in filters:
        if code not in FILTERS:
            yield f"filter {code} is not one of those allowed: {', '.join(FILTERS.values())}"
    if sum(code in COMPRESSORS for code in filters) > 1:
        yield "is compressed more than once: chunks that unpack to chunks can grow beyond any limit"
    itemsize, chunk_bytes, largest = dataset.dtype.itemsize, 0.0, 0
    if layout == h5py.h5d.CHUNKED:
        chunk_bytes = _n_bytes(creation.get_chunk(), itemsize)
        if chunk_bytes > MAX_CHUNK_BYTES:
            yield f"chunks of {dataset.chunks} are over {MAX_CHUNK_BYTES // 2**20} MiB; use chunks of a few frames"
        largest = max((chunk.size for chunk in stored_chunks(dataset)), default=0)
    yield from array_faults(_n_bytes(dataset.shape or (), itemsize), dataset.id.get_storage_size(), chunk_bytes, largest)


def _n_bytes(shape: tuple[int, ...], itemsize: int) -> float:
    return float(np.prod(shape, dtype=np.float64)) * itemsize


def find_object(
    group: h5py.Group, path: str, siblings: Mapping[str, h5py.File] = NO_SIBLINGS, *, must_lead: bool = False
) -> h5py.Group | h5py.Dataset | None:
    """Return what is at ``path`` below ``group``, or None, never leaving the file but for audited ``siblings`` by their names.

    HDF5 itself would follow an external link anywhere along the path, also behind a soft link; so each step is looked at
    before it is taken.

    Raises
    ------
    InvalidScanError
        If it ``must_lead`` there: a link along the path is to a file that is not among the siblings.
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
        elif isinstance(link, h5py.ExternalLink) and hops and PurePath(link.filename).name in siblings:
            hops -= 1
            here = siblings[PurePath(link.filename).name]["/"]
            steps += link.path.split("/")[::-1]
        elif isinstance(link, h5py.ExternalLink) and must_lead:
            raise InvalidScanError([FieldError(path, NOT_BESIDE.format(link.filename))])
        elif isinstance(link, h5py.HardLink):
            here = here[step]
        else:
            return None
    return here if isinstance(here, h5py.Group | h5py.Dataset) else None


def find_node(
    group: h5py.Group, path: str, siblings: Mapping[str, h5py.File] = NO_SIBLINGS, *, must_lead: bool = False
) -> Hdf5Array | VirtualArray | None:
    """Return the array at ``path`` below ``group``, or None, never leaving the file but for audited ``siblings``.

    The sources of a virtual dataset are looked for when it is read, and one that is missing is an error then.

    Raises
    ------
    InvalidScanError
        As `find_object` does.
    """
    try:
        found = find_object(group, path, siblings, must_lead=must_lead)
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            return None
        if not is_virtual(found):
            return Hdf5Array(found)
        return VirtualArray(found, partial(_source, found, siblings))
    except InvalidScanError:
        raise
    except DAMAGE:
        return None


def _source(dataset: h5py.Dataset, siblings: Mapping[str, h5py.File], file: str, array: str) -> Hdf5Array | VirtualArray | None:
    """A source of a virtual dataset, in its own file or in the sibling of that name; None where it is not there."""
    where = dataset.file if file == ITSELF else siblings.get(PurePath(file).name)
    return None if where is None else find_node(where, array, siblings, must_lead=True)


def attribute_texts(node: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    """Texts of an attribute, one or several, of fixed or variable length; none where it is missing or no text."""
    try:
        value = node.attrs.get(name)
    except UnicodeDecodeError as error:
        value = error.object
    except DAMAGE:
        return []
    items = np.ravel(np.asarray(value, object)).tolist() if isinstance(value, np.ndarray) else [value]
    stored = [item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item for item in items]
    return [decoded(item).rstrip("\0") for item in stored if isinstance(item, bytes)]


def find_text(group: h5py.Group, path: str) -> str:
    """Return the text at ``path`` below ``group``, "" where there is none; bytes that are no UTF-8 are read as Latin-1."""
    try:
        found = find_object(group, path)
        value = found[()] if isinstance(found, h5py.Dataset) and found.shape is not None and found.size == 1 else b""
    except DAMAGE:
        return ""
    value = value.flat[0] if isinstance(value, np.ndarray) else value
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return decoded(value) if isinstance(value, bytes) else ""
