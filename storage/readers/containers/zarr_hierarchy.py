"""Zarr v3 hierarchies from outside, zipped or in a folder.

All metadata is audited before Zarr parses it: data types, codecs and the size of a chunk.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, ZipStore

from storage.errors import FieldError, HostileFileError
from storage.readers.containers.archive import open_archive
from storage.readers.record import DAMAGE, Node

CODECS: Final = {"bytes", "blosc", "zstd", "gzip", "crc32c", "transpose", "sharding_indexed"}
DATA_TYPES: Final = {
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64",
    "complex128",
}  # fmt: skip
MAX_METADATA_BYTES: Final = 2**20
MAX_CHUNK_BYTES: Final = 256 * 2**20
MAX_EXPANSION: Final = 1000
SMALL_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class ZarrHierarchy:
    """An audited hierarchy of groups and arrays.

    Attributes
    ----------
    store : zarr Store
    nodes : mapping
        Metadata of each group and array, by its path.
    top : str
        Path of the outermost group.
    """

    store: Store
    nodes: Mapping[str, Mapping[str, Any]]
    top: str

    @property
    def arrays(self) -> list[str]:
        """Paths of all arrays, sorted."""
        return sorted(path for path, node in self.nodes.items() if node["node_type"] == "array")

    def finder(self, group: str) -> Callable[[str], Node | None]:
        """Return a function from a name to the array, or numeric attribute, of that name in ``group``, else in ``top``."""

        def find(name: str) -> Node | None:
            for folder in (group, self.top):
                path = f"{folder}/{name}".strip("/")
                if path in self.arrays:
                    array: Any = zarr.open_array(store=self.store, path=path, mode="r", zarr_format=3)
                    return array
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
    if "zarr.json" in names:
        return ""
    tops = {name.split("/")[0] for name in names}
    top = next(iter(tops)) if len(tops) == 1 else None
    return top if f"{top}/zarr.json" in names else None


@contextmanager
def open_zarr_zip(path: Path) -> Iterator[ZarrHierarchy]:
    """Open a zipped Zarr hierarchy; its arrays can be read inside the ``with`` block."""
    with open_archive(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist() if not member.is_dir()}
        metadata = {name: archive.read(name) for name in sizes if _is_metadata(name, sizes[name])}
    nodes = _audit(metadata, sizes)
    store = ZipStore(path, mode="r", read_only=True)
    try:
        yield ZarrHierarchy(store, nodes, top_of(list(sizes)) or "")
    finally:
        # A store from which nothing was read was never opened, and cannot be closed.
        with suppress(AttributeError):
            store.close()


@contextmanager
def open_zarr_folder(path: Path) -> Iterator[ZarrHierarchy]:
    """Open a Zarr hierarchy in a folder; symbolic links in it are refused."""
    files = [file for file in sorted(path.rglob("*")) if not file.is_dir() or file.is_symlink()]
    links = [FieldError(file.name, "is a symbolic link; files must be in the folder") for file in files if file.is_symlink()]
    if links:
        raise HostileFileError(links)
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
    metadata = {name: (path / name).read_bytes() for name in sizes if _is_metadata(name, sizes[name])}
    yield ZarrHierarchy(LocalStore(path, read_only=True), _audit(metadata, sizes), "")


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
                stored = sum(size for other, size in sizes.items() if other.startswith(f"{where}/") and other != name)
                faults += [FieldError(where or "file", message) for message in _array_faults(node, stored)]
        except (*DAMAGE, AttributeError) as error:
            faults.append(FieldError(where or "file", f"is damaged Zarr metadata: {error}"))
            continue
        nodes[where] = node
    if faults:
        raise HostileFileError(faults)
    return nodes


def _array_faults(node: Mapping[str, Any], stored: int) -> Iterator[str]:
    kind = node["data_type"]
    if not isinstance(kind, str) or kind not in DATA_TYPES:
        yield f"data type {kind} is not one of those allowed"
        return
    unknown = {name for name in _codec_names(node["codecs"]) if name not in CODECS}
    if unknown or node.get("storage_transformers"):
        yield f"codecs {sorted(unknown)} or storage transformers are not among those allowed"
    chunk = node["chunk_grid"]["configuration"]["chunk_shape"]
    if any(not isinstance(n, int) or n < 0 for n in (*node["shape"], *chunk)):
        yield "shape and chunks must be whole numbers"
        return
    itemsize = np.dtype(kind).itemsize
    if np.prod(chunk, dtype=np.float64) * itemsize > MAX_CHUNK_BYTES:
        yield f"chunks of {chunk} are over {MAX_CHUNK_BYTES // 2**20} MiB"
    expanded = float(np.prod(node["shape"], dtype=np.float64)) * itemsize
    if expanded > SMALL_BYTES and expanded > MAX_EXPANSION * stored:
        yield f"expands from {stored} bytes to {expanded / 2**20:.0f} MiB, over {MAX_EXPANSION} to 1"


def _codec_names(codecs: list[Mapping[str, Any]]) -> Iterator[str]:
    for codec in codecs:
        yield codec["name"]
        inner = codec.get("configuration", {})
        for key in ("codecs", "index_codecs"):
            yield from _codec_names(inner.get(key, []))
