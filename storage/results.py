"""Results of a run: one labelled Zarr store, sealed, with a digest of every file."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import staged, write_file
from storage.chunks import plan_tiles
from storage.errors import LayoutError, ResultsError
from storage.layout import COORDINATES, RESULTS, ArraySpec, results_group
from storage.readers.record import Node

Values: TypeAlias = NDArray[Any] | Node

SEAL: Final = "seal.json"
"""Size and SHA-256 of every file of a store; written last, so a store without it is unfinished."""


@dataclass(frozen=True)
class Group:
    """Arrays of one group of the store, by name; ``storage.layout`` says what each must be.

    Attributes
    ----------
    coords, variables : dict of name to array
        In memory, or anything with a shape, a dtype and slicing: it is read chunk by chunk.
    attrs : dict
        Anything JSON can hold, NumPy numbers included.
    """

    coords: Mapping[str, Values] = field(default_factory=dict)
    variables: Mapping[str, Values] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredFile:
    """One file of a sealed store, for whoever serves it."""

    path: Path
    size: int
    sha256: str


def write_results(path: Path, tree: Mapping[str, Group], root_attrs: Mapping[str, Any]) -> None:
    """Write a results store beside ``path``, seal it, and put it in place by one rename; of two that do so, one gets its place.

    Parameters
    ----------
    path : Path
        ``results.zarr``.
    tree : mapping of group path to Group
        Paths as in ``layout.RESULTS``.
    root_attrs : mapping
        Options, digests, versions, timings.

    Raises
    ------
    LayoutError
        A group or array the layout does not know, of another shape or dtype, or along dimensions that disagree.
    ResultsError
        ``path`` is already there.
    """
    if path.exists():
        raise ResultsError(f"{path.name} is already there")
    try:
        with staged(path) as partial:
            root = zarr.create_group(store=partial, overwrite=True, attributes=plain(root_attrs))
            for name, group in sorted(tree.items()):
                _write_group(root, name, group)
            with warnings.catch_warnings():
                # Consolidated metadata is an extension of the format that every reader of Zarr v3 by HTTP needs.
                warnings.simplefilter("ignore")
                zarr.consolidate_metadata(partial)
            files = (file for file in sorted(partial.rglob("*")) if file.is_file())
            seal = {str(file.relative_to(partial)): _describe(file) for file in files}
            write_file(partial / SEAL, json.dumps({"files": seal}).encode())
    except FileExistsError as error:
        raise ResultsError(f"{path.name} is already there") from error


def _write_group(root: zarr.Group, name: str, group: Group) -> None:
    known = results_group(name)
    written = root.require_group(name)
    extents: dict[str, int] = {}
    for specs, arrays in ((COORDINATES, group.coords), (known, group.variables)):
        for variable, values in arrays.items():
            if variable not in specs:
                raise LayoutError(f"group {name} has no {variable!r}; it may hold {sorted(specs)}")
            _write_array(written, specs[variable], values, extents)
    attached = [coordinate for coordinate in group.coords if COORDINATES[coordinate].dims != (coordinate,)]
    written.attrs.update(plain(group.attrs) | ({"coordinates": " ".join(attached)} if attached else {}))


def _write_array(group: zarr.Group, spec: ArraySpec, values: Values, extents: dict[str, int]) -> None:
    spec.check(values.shape, values.dtype)
    for dim, n in zip(spec.dims, values.shape, strict=True):
        if extents.setdefault(dim, n) != n:
            raise LayoutError(f"{spec.name} has {n} along {dim}, other arrays of {group.path} have {extents[dim]}")
    text = spec.dtypes == ("string",)
    array = group.create_array(
        spec.name,
        shape=values.shape,
        dtype="string" if text else values.dtype,
        chunks=spec.chunk_shape(values.shape),
        dimension_names=spec.dims,
        attributes=spec.attributes(),
        config={"write_empty_chunks": True},
    )
    if text:
        array[...] = np.asarray(values).astype(object)
        return
    for tile in plan_tiles(values.shape, array.chunks, array.chunks):
        array[tile] = values[tile]


def plain(value: Any) -> Any:
    """Turn NumPy numbers and arrays, paths and NaN into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


class ResultsStore:
    """A sealed results store, file by file."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def is_sealed(self) -> bool:
        """Whether the store is finished."""
        return (self.path / SEAL).is_file()

    def resolve_key(self, key: str) -> StoredFile | None:
        """Return the file of a Zarr key, or None; only files named by the seal, so no key leads out of the store.

        Raises
        ------
        ResultsError
            The store is not sealed: None would read as an empty chunk.
        """
        described = self._seal().get(key)
        return None if described is None else StoredFile(self.path / key, described[0], described[1])

    def keys(self) -> list[str]:
        """Keys of all files."""
        return sorted(self._seal())

    def verify(self) -> list[str]:
        """Return the keys whose file is missing or no longer what was sealed."""
        files = self._seal()
        return [key for key, seen in files.items() if not (self.path / key).is_file() or _describe(self.path / key) != seen]

    def read(self, group: str, variable: str, index: tuple[Any, ...] = ()) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read an array, or the part of it at ``index``, and its attributes.

        Raises
        ------
        ResultsError
            The store is not sealed, or holds no such array.
        """
        known = {**RESULTS.get(group, RESULTS.get("{dataset}/" + group.rpartition("/")[2], {})), **COORDINATES}
        if f"{group}/{variable}/zarr.json" not in self._seal() or variable not in known:
            raise ResultsError(f"the results hold no {group}/{variable}")
        array = zarr.open_array(store=self.path / group / variable, mode="r")
        return np.asarray(array[index] if index else array[...]), dict(array.attrs)

    def _seal(self) -> dict[str, list[Any]]:
        try:
            return _read_seal(self.path / SEAL, (self.path / SEAL).stat().st_mtime_ns)
        except (OSError, ValueError, KeyError) as error:
            raise ResultsError(f"{self.path.name} is not finished, or damaged") from error


@lru_cache(maxsize=64)
def _read_seal(path: Path, modified_ns: int) -> dict[str, list[Any]]:
    files: dict[str, list[Any]] = json.loads(path.read_bytes())["files"]
    return files


def _describe(file: Path) -> list[Any]:
    with file.open("rb") as stream:
        return [file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]
