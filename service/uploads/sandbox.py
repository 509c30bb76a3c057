"""An uploaded file is parsed in a process of its own, short-lived and short of memory and time.

The child is forked from a server that has the readers loaded, so that it starts in milliseconds; it answers in JSON, so
that whatever a hostile file may do to it cannot reach the service.
"""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any, Final

from service.errors import ConflictError, FieldError, InvalidInputError, NotFoundError, StorageFullError, is_disk_full
from service.uploads.open_files import OpenFile, OpenFolder
from service.uploads.scan_check import check_scan
from storage.atomic import size_of
from storage.datasets.scans import ScanInfo
from storage.datasets.store import DatasetStore
from storage.errors import (
    DatasetNotFoundError,
    DatasetSealedError,
    InvalidScanError,
    ObjectStoreError,
    ScanConflictError,
    StorageError,
)
from storage.location import Location
from storage.readers.format import needs_others

MAX_ANSWER_BYTES: Final = 1 << 20
MAX_OPEN_FILES: Final = 512
MAX_OUTPUT_RATIO: Final = 200
"""A child may write this many times its file's size: what unpacks to more is an attack, not a measurement."""
MIN_OUTPUT_BYTES: Final = 1 << 30
NICENESS: Final = 2
"""Priority of parsing: behind those who ask the service something, before numerical work."""
EXIT_S: Final = 5.0
"""A child that has answered may take this long to tidy up."""
PRELOAD: Final = ["service.uploads.sandbox", "scipy.spatial"]
"""Modules that are loaded before a child is forked: the readers, and what the check of every scan loads when it is first called,
which took five sixths of a child's time. A child also imports its parent's main script, which should be short."""

SOCKETS: Final = "pymp-"
"""Name of the folder in which ``multiprocessing`` keeps a process's sockets."""

ERRORS: Final = {
    "conflict": ConflictError,
    "missing": NotFoundError,
    "invalid": InvalidInputError,
    "full": StorageFullError,
    "unavailable": ObjectStoreError,
}


@dataclass(frozen=True)
class IngestRequest:
    """One file to be read into a dataset, by its path or open, or open files that belong together."""

    datasets: Location
    dataset_id: str
    name: str
    file: str | OpenFile | OpenFolder
    sha256: str | None = None
    """Digest of the file [hex], where it is known already."""
    known: tuple[ScanInfo, ...] = ()
    """Scans that the dataset has."""
    edge_ev: float | None = None
    """Tabulated energy of the dataset's edge [eV]."""

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Where this process can read the file, or the folder of files."""
        if isinstance(self.file, OpenFolder):
            with self.file.assembled() as folder:
                yield folder
        else:
            yield Path(self.file if isinstance(self.file, str) else self.file.path)

    @property
    def n_bytes(self) -> int:
        """Size of what is read [bytes]."""
        files = [file for _, file in self.file.files] if isinstance(self.file, OpenFolder) else [self.file]
        return sum(size_of(Path(file.path if isinstance(file, OpenFile) else file)) for file in files)


@dataclass(frozen=True)
class IngestLimits:
    """What the child may use."""

    memory_bytes: int
    timeout_s: float
    output_bytes: int


def ingest(request: IngestRequest, memory_bytes: int, timeout_s: float) -> tuple[list[str], bool]:
    """Read one file into a dataset, in a process that dies with it.

    Returns
    -------
    names : list of str
        Scans the file brought.
    created : bool
        False where the same bytes were there already.

    Raises
    ------
    InvalidInputError
        With every fault found, or because the limits were reached.
    ConflictError, NotFoundError
    StorageFullError
        The disk filled up.
    """
    output_bytes = max(MIN_OUTPUT_BYTES, MAX_OUTPUT_RATIO * request.n_bytes)
    return read_reply(ask_child(read_file, request, request.datasets, IngestLimits(memory_bytes, timeout_s, output_bytes)))


def belong_together(folder: OpenFolder, datasets: Location, memory_bytes: int, timeout_s: float) -> bool:
    """Whether a folder holds a file that is part of a measurement in several, found in a process that dies with it.

    A file that breaks the process is told of when it is read by itself.
    """
    try:
        return bool(ask_child(look_for_parts, folder, datasets, IngestLimits(memory_bytes, timeout_s, MIN_OUTPUT_BYTES))["found"])
    except InvalidInputError:
        return False


def ask_child(work: Callable[[Any], dict[str, Any]], request: Any, place: Location, limits: IngestLimits) -> dict[str, Any]:
    """What ``work(request)`` returns, as JSON can say it, in a process with limits whose temporary files are at ``place``.

    Raises
    ------
    InvalidInputError
        The limits were reached, or the process broke.
    """
    context = forking_context()
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=run_child, args=(theirs, work, request, place, limits), daemon=True, name=work.__name__)
    child.start()
    theirs.close()
    try:
        reply = receive_reply(ours, limits.timeout_s)
        child.join(timeout=EXIT_S)
        if reply is None:
            raise InvalidInputError(*exit_reason(child.exitcode, limits))
    except TimeoutError:
        raise InvalidInputError(*exit_reason(None, limits)) from None
    finally:
        if child.is_alive():
            child.kill()
            child.join()
        child.close()
        ours.close()
    return reply


def forking_context() -> ForkServerContext:
    """The context whose children are forked from a server that has the readers loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def start_ahead() -> None:
    """Start the server from which children are forked, which takes it some seconds for which the first file would wait."""
    forking_context()
    ensure_running()


def tidy_sockets(note: Path) -> None:
    """Remove the folder of sockets that an earlier service, killed, left in the temporary folder; ``note`` this one's.

    Only one service at a time may have ``note``.
    """
    own = get_temp_dir()
    left = note.read_text() if note.is_file() else own
    if left != own and Path(left).name.startswith(SOCKETS):
        shutil.rmtree(left, ignore_errors=True)
    note.write_text(own)


def receive_reply(ours: Connection, timeout_s: float) -> dict[str, Any] | None:
    """The child's answer; None where it died without a sensible one.

    Raises
    ------
    TimeoutError
        It gave none in time.
    """
    if not ours.poll(timeout_s):
        raise TimeoutError
    try:
        reply: dict[str, Any] = json.loads(ours.recv_bytes(MAX_ANSWER_BYTES))
    except (EOFError, OSError, ValueError):
        return None
    return reply


def read_reply(reply: dict[str, Any]) -> tuple[list[str], bool]:
    """What the child found, or the error it ran into."""
    if reply["kind"] == "done":
        return [str(name) for name in reply["names"]], bool(reply["created"])
    faults = [FieldError(str(fault["field"]), str(fault["message"])) for fault in reply["faults"]]
    error = ERRORS[reply["kind"]]
    raise error(reply["message"], faults) if error is InvalidInputError else error(reply["message"])


def exit_reason(exit_code: int | None, limits: IngestLimits) -> tuple[str, list[FieldError]]:
    """Why a child gave no answer, in plain words."""
    if exit_code is None or exit_code == -signal.SIGXCPU:
        message = f"reading the file took longer than the {limits.timeout_s:g} s allowed"
    elif exit_code == -signal.SIGXFSZ:
        message = "the file expands beyond all proportion"
    else:
        message = "the file broke its reader: it is damaged, or needs more memory than a scan may"
    return message, [FieldError("file", message)]


def run_child(
    theirs: Connection, work: Callable[[Any], dict[str, Any]], request: Any, place: Location, limits: IngestLimits
) -> None:
    """Do the work under limits and send one JSON answer (in the child)."""
    os.nice(NICENESS)
    set_limits(limits)
    tempfile.tempdir = str(place if isinstance(place, Path) else place.spool)  # there is room for what an archive holds
    theirs.send_bytes(json.dumps(work(request)).encode())
    theirs.close()


def set_limits(limits: IngestLimits) -> None:
    """Cut this process down to what one file may use."""
    seconds = max(1, int(limits.timeout_s))
    for name, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, limits.output_bytes),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        least = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(name, (least, least))


def read_file(request: IngestRequest) -> dict[str, Any]:
    """Read one file into its dataset; what came of it, as JSON can say it."""
    store = DatasetStore(request.datasets)
    try:
        probe = store.attributes(request.dataset_id).get("probe")
        with request.opened() as path:
            found = store.add_scan(
                request.dataset_id,
                request.name,
                path,
                check=lambda record: check_scan(record, probe, request.edge_ev),
                sha256=request.sha256,
                known=request.known,
            )
    except InvalidScanError as error:
        return refusal("invalid", str(error), [asdict(fault) for fault in error.faults])
    except (ScanConflictError, DatasetSealedError) as error:
        return refusal("conflict", str(error))
    except DatasetNotFoundError as error:
        return refusal("missing", str(error))
    except ObjectStoreError as error:
        return refusal("unavailable", str(error))
    except MemoryError:
        message = "the file needs more memory than a scan may"
        return refusal("invalid", message, [{"field": "file", "message": message}])
    except (StorageError, OSError, ValueError) as error:
        if is_disk_full(error):
            return refusal("full", "the disk filled up while the scan was written; nothing of it was kept")
        message = unreadable(error)
        return refusal("invalid", message, [{"field": "file", "message": message}])
    return {"kind": "done", "names": [scan.name for scan in found.scans], "created": found.created}


def look_for_parts(folder: OpenFolder) -> dict[str, Any]:
    """Whether a file of a folder is part of a measurement in several."""
    return {"found": any(is_part(Path(file.path)) for _, file in folder.files)}


def is_part(path: Path) -> bool:
    """Whether a file is part of a measurement in several; what cannot be read is told of when it is read by itself."""
    try:
        return needs_others(path)
    except (StorageError, OSError, ValueError):
        return False


def unreadable(error: Exception) -> str:
    """Why a file could not be read; HDF5's and the codecs' errors, which name no cause, with the likely ones."""
    if isinstance(error, OSError) and error.errno is None:
        return (
            f"the file cannot be read ({error}): it is damaged or cut short, or a chunk of it needs more memory than a reader "
            "may use"
        )
    return str(error)


def refusal(kind: str, message: str, faults: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """An answer that says no."""
    return {"kind": kind, "message": message, "faults": faults or []}
