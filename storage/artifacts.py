"""Finished steps: what a step computed, named by a digest of everything it was computed from.

A step is a folder of two files, since runs of many energies have thousands of small steps: ``arrays.bin``, the bytes of all
arrays one after another, and ``manifest.json``, which says what they are and holds the attributes. Each array has a digest, and
so has the manifest, so that nothing damaged is ever taken for a result. That is also why nobody waits for the disk: a power
failure may cost the steps of the last moments, which are computed again.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.atomic import changed, flush_later, is_there, remove_tree, size_of, staged
from storage.errors import ArtifactDamagedError, ArtifactMissingError, DamagedError, InvalidNameError
from storage.location import MANIFEST, Location, folders_below

KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
"""Keys are digests, so they need no more than this."""
ARRAYS: Final = "arrays.bin"
SEALED: Final = re.compile(rb'\{"sha256": "([0-9a-f]{64})", "step": (.*)\}', re.DOTALL)
"""A manifest: the digest of the text that follows it, and that text."""


@dataclass(frozen=True)
class StoredArray:
    """One array of a step: ``n_bytes`` from ``offset`` in the file of arrays, C order, and their SHA-256 [hex]."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    sha256: str

    def read(self, file: BufferedReader) -> NDArray[Any]:
        """The array, which must be what was written.

        Raises
        ------
        DamagedError
        """
        content = bytearray(self.n_bytes)
        file.seek(self.offset)
        if file.readinto(content) != self.n_bytes:
            raise DamagedError(f"{ARRAYS} has {file.seek(0, 2)} bytes, at least {self.offset + self.n_bytes} were written")
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise DamagedError(f"{ARRAYS} holds other bytes than were written")
        return np.frombuffer(content, self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Manifest:
    """What a finished step consists of; ``finished`` is when [s since 1970]."""

    key: str
    finished: float
    arrays: Mapping[str, StoredArray]
    attributes: dict[str, Any]


class ArtifactStore:
    """Finished steps below one folder, or one prefix of an object store, that every worker sees.

    A step is written by one process, once; two that compute the same key write the same thing, and the first wins. It
    appears at once, and everything read is held to its manifest: a step that is no longer what was written is removed,
    so that whoever needs it computes it again.
    """

    def __init__(self, root: Location) -> None:
        self.root = root

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
        if is_there(path) and not self.has(key):
            remove_tree(path)
        try:
            with staged(path, flushed=False) as temporary:
                stored = _write_arrays(temporary / ARRAYS, arrays)
                about = {name: vars(array) for name, array in stored.items()}
                step = {"key": key, "finished": time.time(), "arrays": about, "attributes": dict(attributes)}
                (temporary / MANIFEST).write_bytes(_sealed(json.dumps(step).encode()))
        except FileExistsError:
            return
        if isinstance(path, Path):
            flush_later(path)

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
        wanted = [(name, manifest.arrays[name]) for name in names or manifest.arrays]
        with self._removed_if_damaged(key, manifest), (self.path(key) / ARRAYS).open("rb") as file:
            return {name: array.read(file) for name, array in wanted}

    def shapes(self, key: str) -> dict[str, tuple[int, ...]]:
        """Shape of each array of a step, which is not read.

        Raises
        ------
        ArtifactMissingError
        """
        return {name: tuple(array.shape) for name, array in self._required(key).arrays.items()}

    def attrs(self, key: str) -> dict[str, Any]:
        """Read the attributes of a step.

        Raises
        ------
        ArtifactMissingError
        """
        return self._required(key).attributes

    def keys(self) -> list[str]:
        """Keys of all steps, those without a readable manifest included."""
        return sorted(path.name for path in folders_below(self.root, 2) if KEY.fullmatch(path.name))

    def verify(self, key: str) -> list[str]:
        """What is wrong with the files of a step; empty where it is whole.

        Raises
        ------
        ArtifactMissingError
            The step is not finished.
        """
        manifest, path = self._required(key), self.path(key) / ARRAYS
        try:
            with path.open("rb") as file:
                for array in manifest.arrays.values():
                    array.read(file)
                end = sum(array.n_bytes for array in manifest.arrays.values())
                return [] if file.seek(0, 2) == end else [f"{ARRAYS} has {file.tell()} bytes, {end} were written"]
        except OSError as error:
            return [f"{ARRAYS} is {'missing' if isinstance(error, FileNotFoundError) else 'not readable'}"]
        except DamagedError as error:
            return [str(error)]

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
        with suppress(FileNotFoundError):
            remove_tree(self.path(key))

    def path(self, key: str) -> Location:
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
            sealed = SEALED.fullmatch(path.read_bytes())
            if sealed is None or hashlib.sha256(sealed[2]).hexdigest() != sealed[1].decode():
                return None
            found = json.loads(sealed[2])
        except OSError:
            return None
        arrays = {name: StoredArray(**{**about, "shape": tuple(about["shape"])}) for name, about in found["arrays"].items()}
        return Manifest(key, found["finished"], arrays, found["attributes"]) if found["key"] == key else None

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
        except (DamagedError, OSError) as error:
            if self._manifest(key) == manifest:
                self.delete(key)
            raise ArtifactDamagedError(f"step {key} is not what was written, and is computed again: {error}") from error


def _sealed(text: bytes) -> bytes:
    """The content of a manifest, as `SEALED` reads it."""
    return b'{"sha256": "%s", "step": %s}' % (hashlib.sha256(text).hexdigest().encode(), text)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
    """Write arrays one after another into one file; where each is."""
    stored = {}
    with path.open("wb") as file:
        for name, given in arrays.items():
            values = np.asarray(given)
            content = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
            digest = hashlib.sha256(content).hexdigest()
            stored[name] = StoredArray(values.dtype.str, values.shape, file.tell(), content.nbytes, digest)
            file.write(content)
    return stored
