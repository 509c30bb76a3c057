"""Datasets: opened, filled scan by scan from a stream, sealed; or registered where they lie."""

import asyncio
import copy
import hashlib
import logging
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

from service.api_keys import DEFAULT_PROJECT
from service.errors import (
    ConflictError,
    DigestMismatchError,
    FieldError,
    ForbiddenPathError,
    InvalidInputError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
    is_disk_full,
)
from service.quotas import Arrival, Limits
from service.records.views import DatasetView, ScanView
from service.settings import Settings
from service.uploads.content_digest import read_content_digest
from service.uploads.sandbox import IngestOrder, ingest
from storage.datasets.store import DatasetStore
from storage.errors import DatasetNotFoundError, InvalidNameError
from tasks.errors import TaskError
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import Absorber, composition

BLOCK_BYTES: Final = 1 << 20
"""Bytes gathered before they are hashed and written: a thread's work at a time, not a network packet's."""
N_INGESTS: Final = 4
"""Files parsed at the same time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Received:
    """A body that has arrived whole."""

    path: Path
    sha256: str
    n_bytes: int


class Datasets:
    """All datasets of the service.

    Parameters
    ----------
    settings : Settings
    store : DatasetStore
    on_change : callable
        Called when a scan arrived or a dataset was sealed: a live run may be waiting for it.
    users_of : callable
        Runs that have not ended and need a dataset, by its id.
    """

    def __init__(
        self,
        settings: Settings,
        store: DatasetStore,
        on_change: Callable[[], None],
        users_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._on_change = on_change
        self._users_of = users_of
        self._limits = Limits(settings)
        self._readers = ThreadPoolExecutor(N_INGESTS, thread_name_prefix="ingest")
        self._project: str | None = None

    def within(self, project: str) -> "Datasets":
        """The same datasets as a project sees them: its own, and no others."""
        bound = copy.copy(self)
        bound._project = project
        return bound

    def start(self) -> None:
        """Throw away uploads that an earlier service left half-way."""
        shutil.rmtree(self._settings.uploads_dir, ignore_errors=True)
        self._settings.uploads_dir.mkdir(parents=True)

    def stop(self) -> None:
        """Let files that are being parsed end."""
        self._readers.shutdown()

    def create(self, spec: Mapping[str, Any]) -> DatasetView:
        """Open a dataset.

        Parameters
        ----------
        spec : mapping
            ``title, sample{name, formula, group}, absorber{element, edge}, distance_m, detector_pixel_size_m, probe,
            orientation, beam_centre_px, n_pixels``.

        Raises
        ------
        InvalidInputError
            With every fault: an unknown element or edge, a formula that cannot be read, a probe without meaning.
        """
        faults = spec_faults(spec)
        if faults:
            raise InvalidInputError("; ".join(fault.message for fault in faults), faults)
        dataset_id = f"ds_{secrets.token_hex(8)}"
        created = datetime.now(UTC).isoformat()
        project = self._project or DEFAULT_PROJECT
        self._store.create(dataset_id, {**with_defaults(spec), "project": project, "provenance": {"created": created}})
        return self.get(dataset_id)

    async def put_scan(
        self, dataset_id: str, name: str, stream: AsyncIterator[bytes], content_digest: str | None = None
    ) -> tuple[ScanView, bool]:
        """Take in one file; the scan appears whole, or not at all.

        Returns
        -------
        scan : ScanView
            The first scan of the file.
        created : bool
            False where the same bytes were there already.

        Raises
        ------
        NotFoundError, ConflictError, TooLargeError, QuotaError, StorageFullError, DigestMismatchError, InvalidInputError
        """
        announced = read_content_digest(content_digest)
        await asyncio.to_thread(self._check_open, dataset_id, name)
        path = self._settings.uploads_dir / f"{secrets.token_hex(16)}.part"
        try:
            n_stored = await asyncio.to_thread(self._n_stored)
            with self._limits.arrival(self._project, n_stored) as arrival:
                received = await self._receive(stream, path, arrival)
            if announced is not None and announced != received.sha256:
                message = f"the bytes received have sha-256 {received.sha256}, announced was {announced}"
                raise DigestMismatchError(message, [FieldError("Content-Digest", message)])
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._readers, self._take_in, dataset_id, name, path, received.sha256)
        finally:
            path.unlink(missing_ok=True)

    def register(self, path: str, spec: Mapping[str, Any]) -> DatasetView:
        """Make a sealed dataset of a file, or of all files of a folder, that the service may read.

        Raises
        ------
        ForbiddenPathError
            The path, its links resolved, is not below one of ``register_roots``.
        InvalidInputError
        """
        files = self._registered_files(path)
        view = self.create(spec)
        try:
            for file in files:
                self._take_in(view.id, safe_name(file.stem), file)
        except Exception:
            self._store.delete(view.id)
            raise
        return self.seal(view.id)

    def seal(self, dataset_id: str) -> DatasetView:
        """Take no more scans; a second time changes nothing."""
        if not self.get(dataset_id).scans:
            raise ConflictError(f"dataset {dataset_id} has no scans: send at least one before sealing it")
        self._store.seal(dataset_id)
        self._on_change()
        return self.get(dataset_id)

    def list(self) -> Sequence[DatasetView]:
        """All datasets, oldest first."""
        views = []
        for dataset_id in self._store.ids():
            try:
                views.append(self.get(dataset_id))
            except NotFoundError:  # deleted while we looked
                continue
        return sorted(views, key=lambda view: (view.created, view.id))

    def get(self, dataset_id: str) -> DatasetView:
        """One dataset as it stands."""
        try:
            attributes, scans = self._store.attributes(dataset_id), self._store.scans(dataset_id)
        except (DatasetNotFoundError, InvalidNameError, FileNotFoundError) as error:
            raise NotFoundError(f"there is no dataset {dataset_id}") from error
        if self._project not in (None, attributes.get("project", DEFAULT_PROJECT)):
            raise NotFoundError(f"there is no dataset {dataset_id}")
        names = ("title", "sample", "absorber", "distance_m", "detector_pixel_size_m", "probe", "orientation")
        return DatasetView(
            id=dataset_id,
            state="sealed" if attributes["sealed"] else "open",
            created=datetime.fromisoformat(attributes["provenance"]["created"]),
            scans=tuple(ScanView(s.name, s.energy_ev, s.n_positions, s.n_pixels, s.sha256, s.n_bytes) for s in scans),
            **{name: attributes[name] for name in names},
        )

    def delete(self, dataset_id: str) -> None:
        """Forget a dataset and its scans; not while a run needs it."""
        self.get(dataset_id)
        users = self._users_of(dataset_id)
        if users:
            raise ConflictError(f"dataset {dataset_id} is needed by {', '.join(users)}: cancel it first")
        self._store.delete(dataset_id)
        log.info("deleted", extra={"dataset": dataset_id, "project": self._project})

    async def _receive(self, stream: AsyncIterator[bytes], path: Path, arrival: Arrival) -> Received:
        """Write a stream to disk in blocks, counting and hashing; memory stays at one block."""
        self._check_free_disk()
        digest, n_bytes, block = hashlib.sha256(), 0, bytearray()
        with path.open("xb") as file:
            async for part in stream:
                block += part
                n_bytes += len(part)
                arrival.take(len(part))
                if n_bytes > self._settings.max_upload_bytes:
                    raise TooLargeError(f"a scan may have at most {self._settings.max_upload_bytes} bytes")
                if len(block) >= BLOCK_BYTES:
                    await asyncio.to_thread(write_block, file, digest, bytes(block))
                    block.clear()
                    self._check_free_disk()
            await asyncio.to_thread(write_block, file, digest, bytes(block))
        if n_bytes == 0:
            raise InvalidInputError("the body is empty", [FieldError("body", "the body is empty")])
        return Received(path, digest.hexdigest(), n_bytes)

    def _take_in(self, dataset_id: str, name: str, path: Path, sha256: str | None = None) -> tuple[ScanView, bool]:
        order = IngestOrder(str(self._settings.datasets_dir), dataset_id, name, str(path), sha256)
        names, created = ingest(order, self._settings.ingest_memory_bytes, self._settings.ingest_timeout_s)
        self._on_change()
        scan = next(scan for scan in self.get(dataset_id).scans if scan.name == names[0])
        log.info("scan %s at %.1f eV", scan.name, scan.energy_ev, extra={"dataset": dataset_id, "project": self._project})
        return scan, created

    def _check_open(self, dataset_id: str, name: str) -> None:
        """Refuse a new scan of a sealed dataset before its bytes are sent."""
        if self.get(dataset_id).state == "open":
            return
        if not any(name in (scan.name, scan.upload) for scan in self._store.scans(dataset_id)):
            raise ConflictError(f"dataset {dataset_id} is sealed and takes no more scans")

    def _n_stored(self) -> int:
        """Bytes that the project stores, where they are counted."""
        return sum(dataset.n_bytes for dataset in self.list()) if self._limits.counts_bytes else 0

    def _check_free_disk(self) -> None:
        if shutil.disk_usage(self._settings.data_dir).free < self._settings.min_free_bytes:
            raise StorageFullError(f"less than {self._settings.min_free_bytes} bytes of disk are free")

    def _registered_files(self, path: str) -> Sequence[Path]:
        """Files at a path below an allow-listed root, links resolved: names that lead outside are refused."""
        project = self._project or DEFAULT_PROJECT
        roots = [Path(str(root).replace("{project}", project)).resolve() for root in self._settings.register_roots]
        try:
            asked = Path(path).resolve()
            found = [asked] if asked.is_file() else sorted(file for file in asked.glob("*") if file.is_file())
            resolved = [file.resolve() for file in found]
        except ValueError as error:
            raise InvalidInputError(f"path cannot be read: {error}", [FieldError("path", f"cannot be read: {error}")]) from error
        except OSError as error:  # said like any other refusal: what lies elsewhere is nobody's business
            raise ForbiddenPathError(f"{path} is not below one of the folders this service may read") from error
        for file in (asked, *resolved):
            if not any(file.is_relative_to(root) for root in roots):
                raise ForbiddenPathError(f"{path} is not below one of the folders this service may read")
        if not resolved:
            raise InvalidInputError(f"{path} holds no files", [FieldError("path", "holds no files")])
        return resolved


def write_block(file: BinaryIO, digest: Any, block: bytes) -> None:
    """Write and hash one block, in a thread.

    Raises
    ------
    StorageFullError
    """
    digest.update(block)
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError("the disk filled up while the upload was written; nothing of it was kept") from error
        raise


def spec_faults(spec: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a new dataset's description, field by field."""
    faults = []
    absorber = Absorber(**spec["absorber"])
    try:
        _ = absorber.edge_energy_ev
    except TaskError as error:
        faults.append(FieldError("absorber", str(error)))
    try:
        if absorber.element not in composition(spec["sample"]["formula"]):
            text = f"sample.formula must contain the absorber {absorber.element}, got {spec['sample']['formula']!r}"
            faults.append(FieldError("sample.formula", text))
    except TaskError as error:
        faults.append(FieldError("sample.formula", str(error)))
    try:
        TypeAdapter(ProbeSpec).validate_python(spec.get("probe") or {})
    except ValidationError as error:
        for item in error.errors():
            field = ".".join(("probe", *(str(part) for part in item["loc"])))
            faults.append(FieldError(field, f"{field}: {item['msg']}"))
    return faults


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A new dataset's attributes, every name present."""
    defaults = {"distance_m": None, "detector_pixel_size_m": None, "probe": None, "orientation": 0}
    sample = {"name": "", "group": "", "standard": False, **spec["sample"]}
    absorber = Absorber(**spec["absorber"])
    return {**defaults, **spec, "sample": sample, "absorber": {"element": absorber.element, "edge": absorber.edge}}


def safe_name(stem: str) -> str:
    """A file's name, reduced to what the store accepts."""
    cleaned = re.sub(r"[^A-Za-z0-9._+-]+", "-", stem).lstrip("._+-")
    return cleaned[:100] or "scan"
