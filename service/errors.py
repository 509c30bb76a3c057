"""Errors of the service: what a user asked for cannot be done, and why."""

import errno
from collections.abc import Sequence
from typing import Self

from storage.errors import CatalogueBusyError as CatalogueBusyError
from storage.errors import CatalogueFullError as CatalogueFullError
from storage.errors import CatalogueUnavailableError as CatalogueUnavailableError
from storage.errors import FieldError as FieldError  # the one class: requests are refused as files are, field by field
from storage.errors import ObjectStoreError as ObjectStoreError


class ServiceError(Exception):
    """Root of every error raised in ``service``."""


class NotFoundError(ServiceError, LookupError):
    """No dataset, run, figure or array of that name."""


class ConflictError(ServiceError, RuntimeError):
    """The thing exists, but its state does not allow what was asked."""


class InvalidInputError(ServiceError, ValueError):
    """A request or file that cannot be used; ``faults`` names every field that is wrong."""

    def __init__(self, message: str, faults: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)

    @classmethod
    def of(cls, *faults: FieldError) -> Self:
        """The error of which the faults are all that there is to say."""
        return cls("; ".join(fault.message for fault in faults), faults)


class IdempotencyError(InvalidInputError):
    """An idempotency key that came before with another body."""


class TooLargeError(ServiceError, ValueError):
    """An upload beyond the size this service accepts."""


class StorageFullError(ServiceError, OSError):
    """Too little free disk for what was asked."""


class DataFolderError(ServiceError, OSError):
    """A data folder that cannot be used: it is read-only, another user's, no folder, or its disk is broken."""


class QuotaError(ServiceError, OSError):
    """More bytes than a project may store."""


class TooManyRunsError(ServiceError, RuntimeError):
    """More runs at the same time than a project may have."""


class TooCostlyError(InvalidInputError):
    """A run of more cycles, frames and pixels than this service accepts."""


class DigestMismatchError(InvalidInputError):
    """Bytes that are not those whose digest was announced."""


class ResultsNotReadyError(ConflictError):
    """The run has not published its results (yet)."""


class ResultsLostError(ConflictError):
    """Published results that are no longer what was written; trying the run again computes them again."""


class ForbiddenPathError(ServiceError, PermissionError):
    """A path outside the folders this service may read."""


class SchedulerUnavailableError(ServiceError, ConnectionError):
    """The Dask scheduler cannot be reached."""


def is_refused(error: BaseException) -> bool:
    """Whether a file system says that it takes nothing: it is read-only, another user's, or broken."""
    return isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left on the disk, or in its user's quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
