"""One file that brings scans to a dataset: all of them become visible, or none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.atomic import flush_tree, is_there, move_into_place, remove_tree, staging_folder
from storage.datasets.dataset_kind import holds_images
from storage.datasets.folder import DatasetFolder
from storage.datasets.ingest import Check
from storage.datasets.kinds import conflicts, write_images, write_scans
from storage.datasets.scans import ScanInfo, info_of
from storage.errors import DatasetNotFoundError, DatasetSealedError, InvalidScanError, ScanConflictError, StorageError
from storage.location import Location


@dataclass(frozen=True)
class Ingested:
    """The scans a file brought; ``created`` is False where the same bytes were there already."""

    scans: tuple[ScanInfo, ...]
    created: bool


@dataclass(frozen=True)
class Upload:
    """A file under its name, for one dataset.

    ``sha256`` is the digest of the file, ``known`` are scans of the dataset that need not be read. Any number of processes may
    add files at once.
    """

    dataset: DatasetFolder
    name: str
    sha256: str
    known: Sequence[ScanInfo] = ()

    def add(self, path: Path, check: Check | None = None) -> Ingested:
        """Read the file at ``path``, unless the same bytes came before.

        Raises
        ------
        InvalidScanError
            With everything found wrong, by field.
        ScanConflictError
            A scan of that name is there, from other bytes.
        DatasetSealedError
        DatasetNotFoundError
            The dataset was deleted meanwhile.
        """
        try:
            return self._add(path, check)
        except (StorageError, OSError) as error:
            if self.dataset.is_deleted():
                raise DatasetNotFoundError(f"there is no dataset {self.dataset.dataset_id} any more: it was deleted") from error
            raise

    def _add(self, path: Path, check: Check | None) -> Ingested:
        present = self._present()
        if present:
            return Ingested(present, created=False)
        attributes = self.dataset.attributes()
        with staging_folder(self.dataset.path) as temporary:
            others, shared = self._others(), {"sha256": self.sha256, "upload": self.name}
            if holds_images(attributes):
                write_images(path, self.name, temporary, attributes, others, shared)
            else:
                write_scans(path, self.name, temporary, attributes, check, others, shared)
            flush_tree(temporary)
            return self._publish(temporary)

    def _publish(self, temporary: Path) -> Ingested:
        folder = self.dataset.scans_path
        infos = sorted((info_of(path) for path in temporary.iterdir()), key=lambda info: info.energy_ev)
        with self.dataset.locked():
            present = self._present()
            if present:
                return Ingested(present, created=False)
            others = self._others()
            faults = [fault for info in infos for fault in conflicts(info, others)]
            if faults:
                raise InvalidScanError(faults)
            moved: list[Location] = []
            # A writer killed between two renames left some of the file's scans; they are whole, and stay.
            missing = [info for info in infos if not is_there(folder / info.name)]
            try:
                for info in missing:
                    move_into_place(temporary / info.name, folder / info.name)
                    moved.append(folder / info.name)
            except BaseException as error:
                for done in moved:
                    remove_tree(done)
                if isinstance(error, FileExistsError):
                    raise ScanConflictError(f"scan {info.name} is already there, from another file") from error
                raise
        return Ingested(tuple(infos), created=True)

    def _present(self) -> tuple[ScanInfo, ...]:
        """Scans that the file of this name and these bytes brought earlier; none where it did not, or not all of them."""
        labels = re.compile(rf"{re.escape(self.name)}(\.\d+)?")
        read = [self.dataset.scan(label) for label in self.dataset.scan_names() if labels.fullmatch(label)]
        brought = (info for info in read if self.name in (info.upload, info.name))
        found = tuple(sorted(brought, key=lambda info: info.energy_ev))
        if any(info.sha256 != self.sha256 or info.upload != self.name for info in found):
            raise ScanConflictError(f"scan {self.name} is already there, from a file of other bytes")
        complete = bool(found) and len(found) == found[0].n_entries
        if not complete and self.dataset.is_sealed():
            raise DatasetSealedError(f"dataset {self.dataset.dataset_id} is sealed and takes no more scans")
        return found if complete else ()

    def _others(self) -> list[ScanInfo]:
        return [info for info in self.dataset.scans(self.known) if info.upload != self.name]
