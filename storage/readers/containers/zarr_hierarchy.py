"""Zarr v3 hierarchies from outside, zipped or in a folder.

All metadata is audited before Zarr parses it: data types, codecs, the size of a chunk, and what each chunk takes in the
file.
"""

import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.storage import LocalStore, ZipStore

from storage.errors import FieldError, HostileFileError
from storage.readers.containers.archive import is_clutter, open_archive
from storage.readers.containers.limits import MAX_CHUNK_BYTES, array_faults
from storage.readers.record import DAMAGE, Node

CODECS: Final = {"bytes", "blosc", "zstd", "gzip", "crc32c", "transpose", "sharding_indexed"}
COMPRESSORS: Final = {"blosc", "zstd", "gzip"}
DATA_TYPES: Final = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64",
    "complex128",
}  # fmt: skip
MAX_METADATA_BYTES: Final = 2**20

Metadata = Mapping[str, Any]
ReadEnd = Callable[[str, int], bytes]
"""Name of a file, n -> its last n bytes."""


class ZarrArray:
    """One array of an audited hierarchy."""

    def __init__(self, array: Any, node: Metadata, files: Mapping[str, int], read_end: ReadEnd) -> None:
        self._array, self._node, self._files, self._read_end = array, node, files, read_end
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = array.dtype
        self.chunks: tuple[int, ...] = tuple(array.chunks)
        self.attrs: Mapping[str, Any] = dict(array.attrs)

    def __getitem__(self, key: Any) -> Any:
        """Read a part; ``[()]`` reads all of it."""
        return self._array[key]

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: entries of the first axis of which chunks are not there; for a number, one entry.

        Zarr may leave out chunks that hold nothing but a fill value of 0, such as the dark corners of sparse frames, so
        then only entries that lack at least half of their chunks count.
        """
        shape = self.shape or (1,)
        outer, inner = self._grid()
        n_rows, *n_across = (math.ceil(n / chunk) for n, chunk in zip(shape, inner, strict=True))
        present = np.zeros(n_rows, np.int64)
        for name in self._files:
            place = _chunk_index(name, self._node, len(self.shape))
            if place is None:
                continue
            stored = self._stored_chunks(name, outer, inner)
            first = place[0] * stored.shape[0]
            # Chunks beyond the end of an axis are never stored.
            ends = [n - at * extent for n, at, extent in zip(n_across, place[1:], stored.shape[1:], strict=True)]
            inside = stored[(slice(None), *(slice(max(0, end)) for end in ends))]
            rows = np.count_nonzero(inside.reshape(len(inside), -1), axis=1)[: max(0, n_rows - first)]
            present[first : first + len(rows)] += rows
        enough = (math.prod(n_across) + 2) // 2 if self._node.get("fill_value") in (0, False) else math.prod(n_across)
        return np.repeat(present < min(enough, math.prod(n_across)), inner[0])[: shape[0]]

    def _grid(self) -> tuple[list[int], list[int]]:
        """Extents of a stored file's chunk and of the chunks in it, which differ where it is a shard."""
        outer = self._node["chunk_grid"]["configuration"]["chunk_shape"] or [1]
        codec = self._node["codecs"][-1]
        return outer, codec["configuration"]["chunk_shape"] if codec["name"] == "sharding_indexed" else outer

    def _stored_chunks(self, name: str, outer: list[int], inner: list[int]) -> NDArray[np.bool_]:
        """Which inner chunks a file holds: all, unless it is a shard whose index, at its end, says otherwise."""
        shape = [n // part for n, part in zip(outer, inner, strict=True)]
        n_inner = math.prod(shape)
        configuration = self._node["codecs"][-1].get("configuration", {})
        if n_inner == 1 or configuration.get("index_location", "end") != "end":
            return np.ones(shape, bool)
        n_check = 4 * sum(item["name"] == "crc32c" for item in configuration.get("index_codecs", []))
        index = self._read_end(name, 16 * n_inner + n_check)[: 16 * n_inner]
        if len(index) < 16 * n_inner:
            return np.zeros(shape, bool)
        places = np.frombuffer(index, "<u8").reshape(*shape, 2)
        return np.asarray((places != 2**64 - 1).any(axis=-1))


@dataclass(frozen=True)
class ZarrHierarchy:
    """An audited hierarchy of groups and arrays.

    Attributes
    ----------
    store : zarr Store
    nodes : mapping
        Metadata of each group and array, by its path.
    sizes : mapping
        Bytes of every file, by its name.
    read_end : callable
    top : str
        Path of the outermost group.
    """

    store: Store
    nodes: Mapping[str, Metadata]
    sizes: Mapping[str, int]
    read_end: ReadEnd
    top: str

    @cached_property
    def arrays(self) -> list[str]:
        """Paths of all arrays, sorted."""
        return sorted(path for path, node in self.nodes.items() if node["node_type"] == "array")

    def array(self, path: str) -> ZarrArray:
        """Open the array at ``path``."""
        opened = zarr.open_array(store=self.store, path=path, mode="r", zarr_format=3)
        prefix = f"{path}/" if path else ""
        files = {name: size for name, size in self.sizes.items() if name.startswith(prefix)}
        return ZarrArray(
            opened, self.nodes[path], {name.removeprefix(prefix): n for name, n in files.items()}, self._ends(prefix)
        )

    def _ends(self, prefix: str) -> ReadEnd:
        return lambda name, n_bytes: self.read_end(prefix + name, n_bytes)

    def finder(self, group: str) -> Callable[[str], Node | None]:
        """Return a function from a name to the array, or numeric attribute, of that name in ``group``, else in ``top``."""

        def find(name: str) -> Node | None:
            for folder in (group, self.top):
                path = f"{folder}/{name}".strip("/")
                if path in self.arrays:
                    return self.array(path)
                value = np.asarray(self.nodes.get(folder, {}).get("attributes", {}).get(name, ""))
                if value.dtype.kind in "iuf":
                    return value
            return None

        return find


def is_zarr(names: list[str]) -> bool:
    """Whether an archive or folder of these file names holds a Zarr hierarchy, at its top or in its one folder."""
    return top_of(names) is not None


def top_of(names: list[str]) -> str | None:
    """Path of the outermost Zarr group: "" or the name of the one folder; None if there is none."""
    names = [name for name in names if not is_clutter(name)]
    if "zarr.json" in names:
        return ""
    tops = {name.split("/")[0] for name in names}
    top = next(iter(tops)) if len(tops) == 1 else None
    return top if f"{top}/zarr.json" in names else None


@contextmanager
def open_zarr_zip(path: Path) -> Iterator[ZarrHierarchy]:
    """Open a zipped Zarr hierarchy; its arrays can be read inside the ``with`` block."""
    with open_archive(path) as archive:
        files = {member.filename: member for member in archive.members.values()}
        sizes = {name: member.file_size for name, member in files.items()}
        metadata = {name: archive.file.read(name) for name in sizes if _is_metadata(name, sizes[name])}
        nodes = _audit(metadata, sizes)
        store = ZipStore(path, mode="r", read_only=True)
        try:
            yield ZarrHierarchy(store, nodes, sizes, _zip_ends(archive.file), min(nodes, key=len, default=""))
        finally:
            # A store from which nothing was read was never opened, and cannot be closed.
            with suppress(AttributeError):
                store.close()


def _zip_ends(archive: zipfile.ZipFile) -> ReadEnd:
    def read_end(name: str, n_bytes: int) -> bytes:
        with archive.open(name) as file:
            file.seek(max(0, archive.getinfo(name).file_size - n_bytes))
            return file.read()

    return read_end


@contextmanager
def open_zarr_folder(path: Path) -> Iterator[ZarrHierarchy]:
    """Open a Zarr hierarchy in a folder; symbolic links in it are refused."""
    files = [file for file in sorted(path.rglob("*")) if not file.is_dir() or file.is_symlink()]
    links = [FieldError(file.name, "is a symbolic link; files must be in the folder") for file in files if file.is_symlink()]
    if links:
        raise HostileFileError(links)
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
    metadata = {name: (path / name).read_bytes() for name in sizes if _is_metadata(name, sizes[name])}

    def read_end(name: str, n_bytes: int) -> bytes:
        with (path / name).open("rb") as file:
            file.seek(max(0, sizes[name] - n_bytes))
            return file.read()

    yield ZarrHierarchy(LocalStore(path, read_only=True), _audit(metadata, sizes), sizes, read_end, "")


def _is_metadata(name: str, size: int) -> bool:
    if PurePosixPath(name).name != "zarr.json":
        return False
    if size > MAX_METADATA_BYTES:
        raise HostileFileError([FieldError(name, f"is {size} bytes of metadata, more than {MAX_METADATA_BYTES}")])
    return True


def _audit(metadata: Mapping[str, bytes], sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Parse all metadata; return that of each node by its path."""
    nodes: dict[str, dict[str, Any]] = {}
    faults: list[FieldError] = []
    for name, content in metadata.items():
        where = name.removesuffix("zarr.json").strip("/")
        try:
            node = json.loads(content)
            if node["zarr_format"] != 3:
                raise ValueError(f"Zarr version {node['zarr_format']}, not 3")
            if node["node_type"] == "array":
                prefix = f"{where}/" if where else ""
                stored = [size for other, size in sizes.items() if other.startswith(prefix) and other != name]
                faults += [FieldError(where or "file", message) for message in _array_faults(node, stored)]
        except (*DAMAGE, AttributeError) as error:
            faults.append(FieldError(where or "file", f"is damaged Zarr metadata: {error}"))
            continue
        nodes[where] = node
    if faults:
        raise HostileFileError(faults)
    return nodes


def _array_faults(node: Metadata, stored: list[int]) -> Iterator[str]:
    kind = node["data_type"]
    if not isinstance(kind, str) or kind not in DATA_TYPES:
        yield f"data type {kind} is not one of those allowed"
        return
    chains = list(_codec_chains(node["codecs"]))
    unknown = {name for chain in chains for name in chain if name not in CODECS}
    if unknown or node.get("storage_transformers"):
        yield f"codecs {sorted(unknown)} or storage transformers are not among those allowed"
    if any(sum(name in COMPRESSORS for name in chain) > 1 for chain in chains):
        yield "is compressed more than once: chunks that unpack to chunks can grow beyond any limit"
    shape, chunk = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
    if any(type(n) is not int or n < 0 for n in (*shape, *chunk)) or 0 in chunk or len(shape) != len(chunk):
        yield "shape and chunks must be whole numbers, one chunk extent of at least 1 for each axis"
        return
    itemsize = np.dtype(kind).itemsize
    chunk_bytes = float(np.prod(chunk, dtype=np.float64)) * itemsize
    if chunk_bytes > MAX_CHUNK_BYTES:
        yield f"chunks of {chunk} are over {MAX_CHUNK_BYTES // 2**20} MiB"
    yield from array_faults(float(np.prod(shape, dtype=np.float64)) * itemsize, sum(stored), chunk_bytes, max(stored, default=0))


def _codec_chains(codecs: list[Mapping[str, Any]]) -> Iterator[list[str]]:
    yield [codec["name"] for codec in codecs]
    for codec in codecs:
        inner = codec.get("configuration", {})
        for key in ("codecs", "index_codecs"):
            if key in inner:
                yield from _codec_chains(inner[key])


def _chunk_index(name: str, node: Metadata, n_axes: int) -> tuple[int, ...] | None:
    """Place of a chunk in the grid by the name of its file; None where it is no chunk."""
    encoding = node.get("chunk_key_encoding", {"name": "default"})
    default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    parts = name.split(separator)
    if default:
        if parts[0] != "c":
            return None
        parts = parts[1:]
    if n_axes == 0:
        return (0,)
    return tuple(map(int, parts)) if len(parts) == n_axes and all(part.isdecimal() for part in parts) else None
