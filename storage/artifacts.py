"""Finished steps: what a step computed, named by a digest of everything it was computed from."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import changed, remove_tree, size_of, staged, write_file
from storage.errors import ArtifactDamagedError, ArtifactMissingError, DamagedError, InvalidNameError
from storage.manifest import MANIFEST, Files, VerifiedStore, as_json, check, describe, find_damage, from_json

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
"""Keys are digests, so they need no more than this."""

CHUNK_BYTES: Final = 32 * 2**20


@dataclass(frozen=True)
class Manifest:
    """What a finished step consists of; ``finished`` is when [s since 1970]."""

    key: str
    finished: float
    arrays: tuple[str, ...]
    files: Files


class ArtifactStore:
    """Finished steps below one directory, on a file system that every worker sees.

    A step is written by one process, once; two that compute the same key write the same thing, and the first wins. Its
    manifest is written last, and everything read is held to it: a step that is no longer what was written is removed, so
    that whoever needs it computes it again.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def has(self, key: str) -> bool:
        """Whether the step is finished and its manifest readable."""
        return self._manifest(key) is not None

    def write(self, key: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Store a step: all of it, or nothing. A step of that key already there stays as it is.

        Parameters
        ----------
        key : str
        arrays : mapping of name to array
        attributes : mapping
            Anything JSON can hold.
        """
        path = self.path(key)
        if path.exists() and not self.has(key):
            remove_tree(path)
        try:
            with staged(path) as temporary:
                group = zarr.create_group(store=temporary, overwrite=True, attributes=dict(attributes))
                for name, values in arrays.items():
                    _write_array(group, name, np.asarray(values))
                files = as_json(describe(temporary))
                manifest = {"key": key, "finished": time.time(), "arrays": list(arrays), "files": files}
                write_file(temporary / MANIFEST, json.dumps(manifest).encode())
        except FileExistsError:
            pass

    def read(self, key: str, *names: str) -> dict[str, NDArray[Any]]:
        """Read arrays of a step; all of them where none is named.

        Raises
        ------
        ArtifactMissingError
            No such step, or no such array in it.
        ArtifactDamagedError
            It was not what was written any more, and has been removed.
        """
        manifest = self._required(key)
        unknown = [name for name in names if name not in manifest.arrays]
        if unknown:
            raise ArtifactMissingError(f"step {key} holds {list(manifest.arrays)}, not {unknown}")
        with self._removed_if_damaged(key, manifest):
            store = VerifiedStore(self.path(key), manifest.files)
            return {name: np.asarray(zarr.open_array(store, path=name)[...]) for name in names or manifest.arrays}

    def attrs(self, key: str) -> dict[str, Any]:
        """Read the attributes of a step.

        Raises
        ------
        ArtifactMissingError
        ArtifactDamagedError
            It was not what was written any more, and has been removed.
        """
        manifest = self._required(key)
        with self._removed_if_damaged(key, manifest):
            content: dict[str, Any] = json.loads(check(self.path(key), "zarr.json", manifest.files["zarr.json"]))
            found: dict[str, Any] = content["attributes"]
            return found

    def keys(self) -> list[str]:
        """Keys of all steps, those without a readable manifest included."""
        return sorted(path.name for path in self.root.glob("*/*") if KEY.fullmatch(path.name) and path.is_dir())

    def verify(self, key: str) -> list[str]:
        """What is wrong with the files of a step; empty where it is whole.

        Raises
        ------
        ArtifactMissingError
            The step is not finished.
        """
        return find_damage(self.path(key), self._required(key).files)

    def n_bytes(self, key: str) -> int:
        """Bytes the step takes on disk; 0 where it is gone."""
        return size_of(self.path(key))

    def finished(self, key: str) -> float:
        """When the step was finished [s since 1970]; when its folder changed, where its manifest is not readable.

        Raises
        ------
        ArtifactMissingError
            There is no such step.
        """
        manifest, path = self._manifest(key), self.path(key)
        if manifest is None and not path.is_dir():
            raise ArtifactMissingError(f"there is no step {key}")
        return changed(path) if manifest is None else manifest.finished

    def delete(self, key: str) -> None:
        """Remove a step; one that is not there is no error."""
        path = self.path(key)
        if path.exists():
            remove_tree(path)

    def path(self, key: str) -> Path:
        """Folder of a step.

        Raises
        ------
        InvalidNameError
        """
        if not KEY.fullmatch(key):
            raise InvalidNameError(f"a key is 3 to 128 letters, digits, _ and -, got {key!r}")
        return self.root / key[:2] / key

    def _manifest(self, key: str) -> Manifest | None:
        path = self.path(key) / MANIFEST
        try:
            found = json.loads(path.read_bytes())
            manifest = Manifest(found["key"], float(found["finished"]), tuple(found["arrays"]), from_json(found["files"]))
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None
        return manifest if manifest.key == key else None

    def _required(self, key: str) -> Manifest:
        manifest = self._manifest(key)
        if manifest is None:
            raise ArtifactMissingError(f"step {key} is not finished")
        return manifest

    @contextmanager
    def _removed_if_damaged(self, key: str, manifest: Manifest) -> Iterator[None]:
        """Remove the step when the block finds it damaged, unless another process has just written it anew."""
        try:
            yield
        except (DamagedError, KeyError, ValueError, FileNotFoundError) as error:
            if self._manifest(key) == manifest:
                self.delete(key)
            raise ArtifactDamagedError(f"step {key} is not what was written, and is computed again: {error}") from error


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
