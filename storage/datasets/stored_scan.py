"""Stored scans, read back as what was written or not at all."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import write_file
from storage.chunks import plan_tiles
from storage.datasets.framing import reorient
from storage.errors import DamagedError, DatasetDamagedError
from storage.location import MANIFEST, Location
from storage.manifest import Files, VerifiedStore, as_json, describe, find_damage, from_json

ARRAYS: Final = ("counts", "positions_m", "mask", "probe")
"""Arrays of a scan, in the order of its digest."""
TURNED: Final = ("counts", "mask", "probe")
"""What is turned with the frames."""
NUMBERS: Final = ("energy_ev", "distance_m", "detector_pixel_size_m")


def write_manifest(path: Path) -> None:
    """Write the manifest of the scan at ``path``, which is otherwise complete."""
    write_file(path / MANIFEST, json.dumps({"files": as_json(describe(path))}).encode())


def manifest_of(path: Location) -> Files | None:
    """The files of the scan at ``path``; None where it was stored before there were manifests, or its manifest is damaged."""
    try:
        return from_json(json.loads((path / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


def read_stored(path: Location, orientation: int = 0) -> dict[str, Any]:
    """The scan at ``path``, its frames turned once more by ``orientation``.

    Where there is no manifest, every file must be there, and all of them together are compared with the digest that the scan
    was stored with.

    Returns
    -------
    dict
        As `storage.datasets.store.DatasetStore.read_scan` has it.

    Raises
    ------
    DatasetDamagedError
        The scan is not what was written.
    """
    with told_as_damage(path):
        files = manifest_of(path)
        group = zarr.open_group(VerifiedStore(path, files), mode="r")
        digest = hashlib.sha256()
        found: dict[str, Any] = {"probe": None}
        for name in (name for name in ARRAYS if name in group):
            stored: Any = group[name]
            if name != "counts":
                digest.update(name.encode())
            update = digest.update if files is None else None
            found[name] = read_turned(stored, orientation if name in TURNED else 0, update)
        numbers = {name: float(group.attrs[name]) for name in NUMBERS}  # type: ignore[arg-type]
        if files is None:
            digest.update(np.array([*numbers.values(), *found["counts"].shape], np.float64).data)
            if digest.hexdigest() != group.attrs["digest"]:
                raise DamagedError("its arrays or numbers are not those that its digest was made of")
        return {**found, **numbers}


def read_mask(path: Location) -> NDArray[np.bool_]:
    """(N, N) bool: the good pixels of the scan at ``path``.

    Raises
    ------
    DatasetDamagedError
    """
    with told_as_damage(path):
        return np.asarray(zarr.open_array(VerifiedStore(path, manifest_of(path)), path="mask", mode="r")[...], bool)


def find_scan_damage(path: Location) -> list[str]:
    """What is wrong with the scan at ``path``, by file where it has a manifest; every byte of it is read."""
    files = manifest_of(path)
    if files is not None:
        return [f"scan {path.name}: {text}" for text in find_damage(path, files)]
    try:
        read_stored(path)
    except DatasetDamagedError as error:
        return [str(error)]
    return []


def read_turned(stored: Any, orientation: int, update: Callable[[Any], object] | None = None) -> NDArray[Any]:
    """A stored array, its last two axes turned, never twice in memory; ``update`` gets it as it is stored, block by block."""
    if not orientation and update is None:
        return np.asarray(stored[...])
    values = np.empty(stored.shape, stored.dtype)
    for tile in plan_tiles(stored.shape, stored.chunks, stored.chunks):
        part = (tile[0], ...)
        block = np.ascontiguousarray(stored[part])
        if update is not None:
            update(block.data)
        values[part] = reorient(block, orientation)
    return values


@contextmanager
def told_as_damage(path: Location) -> Iterator[None]:
    """Raise whatever reading the scan at ``path`` runs into as DatasetDamagedError, by the scan's name."""
    try:
        yield
    except (DamagedError, KeyError, TypeError, ValueError, RuntimeError, FileNotFoundError) as error:
        where = f"scan {path.name} of dataset {path.parent.parent.name}"
        raise DatasetDamagedError(f"{where} is damaged: {error}; restore it from a copy, or send it again") from error
