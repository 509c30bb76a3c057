"""Errors of the store: the message names the rule, the value seen and the likely cause."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with a file or a request: which field, and what to do about it."""

    field: str
    message: str


class StorageError(Exception):
    """Root of every error raised in ``storage``."""


class InvalidScanError(StorageError, ValueError):
    """A scan that cannot be accepted, with everything found wrong with it."""

    def __init__(self, faults: Iterable[FieldError]) -> None:
        self.faults: tuple[FieldError, ...] = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "; ".join(f"{fault.field}: {fault.message}" for fault in self.faults)


class UnknownFormatError(InvalidScanError):
    """A file in none of the formats that are read."""


class HostileFileError(InvalidScanError):
    """A file that reaches outside itself, names an unknown filter, or expands beyond all proportion."""


class InvalidNameError(StorageError, ValueError):
    """A name of a dataset, scan or step that is not safe as a file name."""


class DatasetNotFoundError(StorageError, LookupError):
    """No dataset, or no scan in it, of that name."""


class DamagedError(StorageError, ValueError):
    """Stored data that are no longer what was written: a file is missing, cut or changed."""


class DatasetDamagedError(DamagedError):
    """A stored dataset or scan that is no longer what was written; only a copy can bring it back."""


class ReferenceDamagedError(DamagedError):
    """A reference spectrum of a project that is no longer what was kept; it has to be sent again."""


class DatasetExistsError(StorageError, FileExistsError):
    """A dataset of that name is already there."""


class DatasetSealedError(StorageError, RuntimeError):
    """A sealed dataset takes no more scans."""


class ScanConflictError(StorageError, FileExistsError):
    """A scan of that name is already there, with other bytes."""


class ObjectStoreError(StorageError):
    """An object store that does not answer, or refuses; nothing is known of what it holds, so nothing is taken for damaged."""


class LayoutError(StorageError, ValueError):
    """An array that the layout does not know, or whose shape or dtype is not the layout's."""


class ArtifactMissingError(StorageError, LookupError):
    """A finished step that is not there, or an array it does not hold."""


class ArtifactDamagedError(ArtifactMissingError, DamagedError):
    """A finished step that was no longer what was written; it was removed, to be computed again."""


class ResultsError(StorageError, RuntimeError):
    """A results store that is unfinished, or already there."""


class ResultsDamagedError(ResultsError, DamagedError):
    """A results store that is no longer what was sealed; the run can compute it again."""


class ExportError(StorageError, ValueError):
    """Results that do not fit into the format asked for; ``field`` is what in the request to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class CatalogueError(StorageError, RuntimeError):
    """A catalogue that cannot be used: unknown row, newer schema, or a file system that cannot lock."""


class RowExistsError(CatalogueError):
    """A row of that name is there already."""


class CatalogueUnavailableError(CatalogueError, ConnectionError):
    """The catalogue's database does not answer, cannot be written, or is damaged: it may be back later."""


class CatalogueBusyError(CatalogueUnavailableError):
    """Another process has locked the catalogue for too long."""


class CatalogueFullError(CatalogueUnavailableError):
    """There is no room on the disk for the catalogue to grow."""
