"""The folder of one dataset: its attributes and its scans, each in a folder of its own."""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.atomic import is_there
from storage.datasets.scans import ScanInfo, attributes_of, check_name, folders_in, info_of
from storage.errors import DatasetNotFoundError
from storage.location import MANIFEST, Location


@dataclass(frozen=True)
class DatasetFolder:
    """A dataset that is there. Reading raises `DatasetDamagedError` where it is not what was written."""

    path: Location

    @property
    def dataset_id(self) -> str:
        """Name of the dataset."""
        return self.path.name

    @property
    def scans_path(self) -> Location:
        """The folder of the scans."""
        return self.path / "scans"

    def attributes(self) -> dict[str, Any]:
        """Attributes of the dataset as they were given, and ``sealed``."""
        return attributes_of(self.path)

    def is_sealed(self) -> bool:
        """Whether the dataset takes no more scans."""
        return bool(self.attributes()["sealed"])

    def scan_names(self) -> list[str]:
        """Names of all scans."""
        if isinstance(self.path, Path):
            return folders_in(self.scans_path)
        return sorted(manifest.parent.name for manifest in self.scans_path.glob(f"*/{MANIFEST}"))

    def scan_path(self, name: str) -> Location:
        """The folder of one scan.

        Raises
        ------
        DatasetNotFoundError
        """
        path = self.scans_path / check_name(name)
        if not (path.is_dir() if isinstance(path, Path) else is_there(path)):
            raise DatasetNotFoundError(f"dataset {self.dataset_id} has no scan {name}")
        return path

    def scan(self, name: str) -> ScanInfo:
        """What is known of one scan.

        Raises
        ------
        DatasetNotFoundError
        """
        return info_of(self.scan_path(name))

    def scans(self, known: Iterable[ScanInfo] = ()) -> list[ScanInfo]:
        """All scans by ascending energy; those that are ``known`` are not read again."""
        seen = {info.name: info for info in known}
        return sorted((seen.get(name) or self.scan(name) for name in self.scan_names()), key=lambda info: info.energy_ev)

    def is_deleted(self) -> bool:
        """Whether the dataset is gone; what a writer made again of its folder while it was deleted is removed."""
        if not isinstance(self.path, Path) or (self.path / "zarr.json").exists() or self.scans_path.exists():
            return False
        with suppress(OSError):
            (self.path / ".lock").unlink(missing_ok=True)
            self.path.rmdir()
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine from changing the dataset; no others may."""
        path = self.path
        with (path / ".lock" if isinstance(path, Path) else path.spool / f".lock-{path.name}").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
