"""Results of a run: one labelled Zarr store, sealed, with a digest of every file."""

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
from zarr.codecs import ZstdCodec
from zarr.errors import ZarrUserWarning

from storage.atomic import is_there, staged, write_file
from storage.chunks import plan_tiles
from storage.errors import DamagedError, LayoutError, ResultsDamagedError, ResultsError
from storage.layout import COORDINATES, ArraySpec, results_group
from storage.location import SEAL, Location
from storage.manifest import FileDigest, Files, VerifiedStore, as_json, check, describe, find_damage, from_json
from storage.readers.record import Node

Values: TypeAlias = NDArray[Any] | Node

COMPRESSOR: Final = ZstdCodec(level=-1)
"""Finds what repeats, and leaves the digits of noise as they are: a fifth larger than by the default level, and read six times as
fast, so that the spectrum of a pixel, for which all images are read, does not wait."""
IMAGE_GROUPS: Final = ("maps", "spectra", "domains")
"""Groups of a dataset that hold images, in the order in which an array's name is looked for."""


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


def write_results(path: Location, tree: Mapping[str, Group], root_attrs: Mapping[str, Any]) -> None:
    """Write a results store, seal it, and put it in place at once; of two that do so, one gets its place.

    Parameters
    ----------
    path : Path or ObjectPath
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
    if is_there(path):
        raise ResultsError(f"{path.name} is already there")
    try:
        with staged(path) as partial:
            root = zarr.create_group(store=partial, overwrite=True, attributes=plain(root_attrs))
            for name, group in sorted(tree.items()):
                _write_group(root, name, group)
            consolidate(partial)
            write_file(partial / SEAL, json.dumps({"files": as_json(describe(partial))}).encode())
    except FileExistsError as error:
        raise ResultsError(f"{path.name} is already there") from error


def consolidate(path: Path) -> None:
    """Write into every group of a store what is below it, so that each can be opened by its own URL.

    Whoever opens a group over HTTP cannot list what it holds, and finds it empty without this.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # consolidated metadata is an extension of Zarr v3
        groups = [name for name, node in zarr.open_group(path, mode="r").members(max_depth=None) if isinstance(node, zarr.Group)]
        for name in ("", *sorted(groups)):  # from the root down, else what is below a group is in it twice
            zarr.consolidate_metadata(path, path=name or None)


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
        compressors="auto" if text else COMPRESSOR,
    )
    if text:
        array[...] = np.asarray(values).astype(object)
        return
    for tile in plan_tiles(values.shape, array.chunks, spec.tile_shape(values.shape)):
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
    """A sealed results store, file by file; whatever is read is what was sealed."""

    def __init__(self, path: Location) -> None:
        self.path = path
        self._opened: dict[tuple[str, str], zarr.Array[Any]] = {}
        self._sealed: Files | None = None

    def is_sealed(self) -> bool:
        """Whether the store is finished."""
        return (self.path / SEAL).is_file()

    def resolve_key(self, key: str) -> Location | None:
        """Return the file of a Zarr key, or None; only files that were sealed, so no key leads out of the store.

        Raises
        ------
        ResultsError
            The store is not sealed: None would read as an empty chunk.
        ResultsDamagedError
            The file is no longer what was sealed.
        """
        found = self._files().get(key)
        if found is None:
            return None
        check_once(self.path, key, found)
        return self.path / key

    def keys(self) -> list[str]:
        """Keys of all files."""
        return sorted(self._files())

    def groups(self) -> list[str]:
        """Paths of the groups that hold arrays, as in ``layout.RESULTS``.

        Raises
        ------
        ResultsError
            The store is not sealed.
        """
        groups = {key.removesuffix("/zarr.json") for key in self._files() if key.endswith("/zarr.json")}
        return sorted(group for group in groups if arrays_of(group) and self.arrays(group))

    def arrays(self, group: str) -> list[str]:
        """Names of the arrays of a group; none of a group that is not there."""
        files = self._files()
        return sorted(name for name in {**arrays_of(group), **COORDINATES} if f"{group}/{name}/zarr.json" in files)

    def verify(self) -> list[str]:
        """What is wrong with the files of the store, each by its name; empty where all are what was sealed."""
        return find_damage(self.path, self._files())

    def group_of(self, dataset: str, variable: str) -> str | None:
        """Path of the group that holds the image ``variable`` of a dataset; None where there is no such array.

        Raises
        ------
        ResultsError
            The store is not sealed.
        """
        files = self._files()
        groups = (f"{dataset}/{name}" for name in IMAGE_GROUPS)
        return next((group for group in groups if f"{group}/{variable}/zarr.json" in files), None)

    def dims(self, group: str, variable: str) -> tuple[str, ...]:
        """Names of an array's dimensions.

        Raises
        ------
        ResultsError, ResultsDamagedError
        """
        return tuple(self._description(f"{group}/{variable}")["dimension_names"])

    def read(self, group: str, variable: str, index: tuple[Any, ...] = ()) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read an array, or the part of it at ``index``, and its attributes.

        Raises
        ------
        ResultsError
            The store is not sealed, or holds no such array.
        ResultsDamagedError
            The array is no longer what was sealed.
        """
        array = self.array(group, variable)
        try:
            return np.asarray(array[index] if index else array[...]), dict(array.attrs)
        except DamagedError as error:
            raise damaged(error) from error

    def attributes(self, group: str) -> dict[str, Any]:
        """Attributes of a group, of the whole store for "".

        Raises
        ------
        ResultsError
            The store is not sealed, or holds no such group.
        ResultsDamagedError
            Its description is no longer what was sealed.
        """
        return dict(self._description(group)["attributes"])

    def array(self, group: str, variable: str) -> zarr.Array[Any]:
        """An array, for its shape, type and attributes; `read` reads its values.

        Raises
        ------
        ResultsError, ResultsDamagedError
        """
        if (group, variable) not in self._opened:
            if variable not in self.arrays(group):
                raise ResultsError(f"the results hold no {group}/{variable}")
            try:
                found = zarr.open_array(VerifiedStore(self.path, self._files()), path=f"{group}/{variable}", mode="r")
            except DamagedError as error:
                raise damaged(error) from error
            self._opened[group, variable] = found
        return self._opened[group, variable]

    def _description(self, node: str) -> dict[str, Any]:
        """What Zarr wrote about a group or an array, of the root for ""."""
        key = f"{node}/zarr.json".lstrip("/")
        files = self._files()
        if key not in files:
            raise ResultsError(f"the results hold no {node}")
        try:
            found: dict[str, Any] = json.loads(check(self.path, key, files[key]))
        except DamagedError as error:
            raise damaged(error) from error
        return found

    def _files(self) -> Files:
        path = self.path / SEAL
        if self._sealed is not None:
            return self._sealed
        try:
            found = _read_seal(path, path.stat().st_mtime_ns)
            self._sealed = None if isinstance(path, Path) else found  # an object store is not asked for every key
            return found
        except FileNotFoundError as error:
            raise ResultsError(f"{self.path.name} is not finished") from error
        except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise damaged(f"{SEAL} cannot be read") from error


def arrays_of(group: str) -> Mapping[str, ArraySpec]:
    """Arrays that the layout knows at the path of a group; none where it knows no such group."""
    try:
        return results_group(group)
    except LayoutError:
        return {}


def damaged(reason: object) -> ResultsDamagedError:
    """The error of results that are no longer what was sealed."""
    return ResultsDamagedError(f"the results are damaged: {reason}; the run can compute them again")


@lru_cache(maxsize=64)
def _read_seal(path: Location, _changed_ns: int) -> Files:
    return from_json(json.loads(path.read_bytes())["files"])


def check_once(folder: Location, name: str, expected: FileDigest) -> None:
    """Compare a file with what was sealed, again only after it has changed.

    Raises
    ------
    ResultsDamagedError
    """
    try:
        _check(folder, name, expected, (folder / name).stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise damaged(f"{name} is missing") from error
    except DamagedError as error:
        raise damaged(error) from error


@lru_cache(maxsize=65_536)
def _check(folder: Location, name: str, expected: FileDigest, _changed_ns: int) -> None:
    check(folder, name, expected)
