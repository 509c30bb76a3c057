"""Finished units: what a step computed, named by a digest of everything it was computed from."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import remove_tree, staged, write_file
from storage.errors import ArtifactMissingError, InvalidNameError

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
"""Keys are digests, so they need no more than this."""

MARKER: Final = "unit.json"
"""Written last: a unit without it does not exist."""

CHUNK_BYTES: Final = 32 * 2**20


class ArtifactStore:
    """Units below one directory, on a file system that every worker sees.

    A unit is written by one process, once; two that compute the same key write the same thing, and the first wins.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def has(self, key: str) -> bool:
        """Whether the unit is finished and its marker readable."""
        return self._marker(key) is not None

    def write(self, key: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Store a unit: all of it, or nothing. A unit of that key already there stays as it is.

        Parameters
        ----------
        key : str
        arrays : mapping of name to array
        attributes : mapping
            Anything JSON can hold.
        """
        path = self._path(key)
        if path.exists() and not self.has(key):
            remove_tree(path)
        try:
            with staged(path) as temporary:
                group = zarr.create_group(store=temporary, overwrite=True, attributes=dict(attributes))
                for name, values in arrays.items():
                    _write_array(group, name, np.asarray(values))
                files = {str(file.relative_to(temporary)): file.stat().st_size for file in _files(temporary)}
                marker = {"key": key, "finished": time.time(), "arrays": list(arrays), "files": files}
                write_file(temporary / MARKER, json.dumps(marker).encode())
        except FileExistsError:
            pass

    def read(self, key: str, *names: str) -> dict[str, NDArray[Any]]:
        """Read arrays of a unit; all of them where none is named.

        Raises
        ------
        ArtifactMissingError
            No such unit, or no such array in it.
        """
        marker = self._required(key)
        unknown = [name for name in names if name not in marker["arrays"]]
        if unknown:
            raise ArtifactMissingError(f"unit {key} holds {marker['arrays']}, not {unknown}")
        try:
            group = zarr.open_group(store=self._path(key), mode="r")
            arrays = {name: np.asarray(group[name][...]) for name in names or marker["arrays"]}  # type: ignore[index]
        except (KeyError, FileNotFoundError) as error:
            raise ArtifactMissingError(f"unit {key} was removed while it was read, or is damaged") from error
        self._required(key)  # chunks of a unit removed meanwhile would have been read as zeros
        return arrays

    def attrs(self, key: str) -> dict[str, Any]:
        """Read the attributes of a unit.

        Raises
        ------
        ArtifactMissingError
        """
        self._required(key)
        try:
            content: dict[str, Any] = json.loads((self._path(key) / "zarr.json").read_text())["attributes"]
        except FileNotFoundError as error:
            raise ArtifactMissingError(f"unit {key} was removed while it was read, or is damaged") from error
        return content

    def keys(self) -> list[str]:
        """Keys of all finished units."""
        return sorted(path.parent.name for path in self.root.glob(f"*/*/{MARKER}") if KEY.fullmatch(path.parent.name))

    def verify(self, key: str) -> list[str]:
        """Return the files of a unit that are missing or of another size than when it was finished."""
        path, marker = self._path(key), self._required(key)
        return [
            name for name, size in marker["files"].items() if not (path / name).is_file() or (path / name).stat().st_size != size
        ]

    def n_bytes(self, key: str) -> int:
        """Bytes the unit takes on disk."""
        return sum(self._required(key)["files"].values())

    def finished(self, key: str) -> float:
        """When the unit was finished [s since 1970]."""
        return float(self._required(key)["finished"])

    def delete(self, key: str) -> None:
        """Remove a unit; one that is not there is no error."""
        path = self._path(key)
        if path.exists():
            remove_tree(path)

    def _path(self, key: str) -> Path:
        if not KEY.fullmatch(key):
            raise InvalidNameError(f"a key is 3 to 128 letters, digits, _ and -, got {key!r}")
        return self.root / key[:2] / key

    def _marker(self, key: str) -> dict[str, Any] | None:
        path = self._path(key) / MARKER
        try:
            marker = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) and marker.get("key") == key else None

    def _required(self, key: str) -> dict[str, Any]:
        marker = self._marker(key)
        if marker is None:
            raise ArtifactMissingError(f"unit {key} is not finished")
        return marker


def _write_array(group: zarr.Group, name: str, values: NDArray[Any]) -> None:
    row = max(1, values.nbytes // max(1, len(values) if values.ndim else 1))
    chunks = (max(1, min(values.shape[0], CHUNK_BYTES // row)), *(max(1, n) for n in values.shape[1:])) if values.ndim else ()
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        compressors=None,  # floats full of noise: compression costs more than it saves
        config={"write_empty_chunks": True},
    )
    array[...] = values


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())
