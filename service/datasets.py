"""Datasets: opened, filled scan by scan from a stream, sealed; or registered where they lie."""

import asyncio
import copy
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from service.api_keys import DEFAULT_PROJECT
from service.errors import ConflictError, InvalidInputError, NotFoundError
from service.records.dataset_repository import DatasetRecord, DatasetRepository, scan_view, view_of
from service.records.descriptions import edge_energy_ev, spec_faults, with_defaults
from service.records.views import DatasetFilter, DatasetView, Page, PageKey, ScanView
from service.settings import Settings
from service.uploads.content_digest import read_content_digest
from service.uploads.open_files import OpenFile, OpenFolder
from service.uploads.overview import draw_scan
from service.uploads.receive import UploadReceiver
from service.uploads.registered import registered_files, safe_name
from service.uploads.sandbox import IngestRequest, ingest
from service.workflow.quotas import Limits
from storage.catalogue.datasets import EVERY_DATASET
from storage.errors import StorageError

N_INGESTS: Final = 4
"""Files parsed at the same time."""

log = logging.getLogger(__name__)


class Datasets:
    """All datasets of the service.

    Parameters
    ----------
    settings : Settings
    repository : DatasetRepository
    on_change : callable
        Called when a scan arrived or a dataset was sealed: a live run may be waiting for it.
    users_of : callable
        Runs that have not ended and need a dataset, by its id.
    """

    def __init__(
        self,
        settings: Settings,
        repository: DatasetRepository,
        on_change: Callable[[], None],
        users_of: Callable[[str], Sequence[str]],
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._on_change = on_change
        self._users_of = users_of
        self._limits = Limits(settings)
        self._receiver = UploadReceiver(settings)
        self._readers = ThreadPoolExecutor(N_INGESTS, thread_name_prefix="ingest")
        self._project: str | None = None

    def within(self, project: str) -> "Datasets":
        """The same datasets as a project sees them: its own, and no others."""
        bound = copy.copy(self)
        bound._project = project
        return bound

    def start(self) -> None:
        """Find out which datasets there are; throw away uploads that an earlier service left half-way."""
        self._receiver.start()
        self._repository.reconcile()

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
            raise InvalidInputError.of(*faults)
        dataset_id = f"ds_{secrets.token_hex(8)}"
        about = {"project": self._owner, "provenance": {"created": datetime.now(UTC).isoformat()}}
        self._repository.store.create(dataset_id, {**with_defaults(spec), **about})
        self._repository.refresh(dataset_id)
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
        record = await asyncio.to_thread(self._check_open, dataset_id, name)
        n_stored = await asyncio.to_thread(self._n_stored)
        with self._limits.arrival(self._project, n_stored) as arrival:
            async with self._receiver.received(stream, arrival, announced) as received:
                loop = asyncio.get_running_loop()
                work = partial(self._take_in, record, name, str(received.path), received.sha256)
                return await loop.run_in_executor(self._readers, work)

    def register(self, path: str, spec: Mapping[str, Any]) -> DatasetView:
        """Make a sealed dataset of a file, or of all files of a folder, that the service may read.

        Raises
        ------
        ForbiddenPathError
            The path, its links resolved, is not below one of ``register_roots``.
        QuotaError
            The files are more than the project may store.
        InvalidInputError
            With what is wrong with each file, by its name.
        """
        registered = registered_files(path, self._settings.register_roots, self._owner)
        limits = self._settings.ingest_memory_bytes, self._settings.ingest_timeout_s
        with self._limits.arrival(self._project, self._n_stored()) as arrival:
            arrival.take(sum(file.stat().st_size for file in registered.files))
            view = self.create(spec)

            def take_in(name: str, file: OpenFile | OpenFolder) -> None:
                self._take_in(self._record(view.id), name, file)

            try:
                if view.kind == "diffraction" and registered.belong_together(self._repository.store.root, *limits):
                    registered.take_in_together(safe_name(Path(path).resolve().name), take_in)
                else:
                    registered.take_in_each(take_in)
            except Exception:
                self._remove(view.id)
                raise
        return self.seal(view.id)

    def seal(self, dataset_id: str) -> DatasetView:
        """Take no more scans; a second time changes nothing."""
        if not self._whole(dataset_id).scans:
            raise ConflictError(f"dataset {dataset_id} has no scans: send at least one before sealing it")
        with self._while_there(dataset_id):
            self._repository.store.seal(dataset_id)
            self._repository.refresh(dataset_id)
        self._on_change()
        return self.get(dataset_id)

    def page(self, limit: int = 50, after: PageKey | None = None, matching: DatasetFilter = EVERY_DATASET) -> Page[DatasetView]:
        """Part of the list of datasets, newest first."""
        return self._repository.page(self._project, matching, after, limit)

    def totals(self) -> tuple[int, int]:
        """Number of datasets, and bytes of their scans."""
        return self._repository.totals(self._project)

    def get(self, dataset_id: str) -> DatasetView:
        """One dataset as it stands."""
        return view_of(self._record(dataset_id))

    def change(self, dataset_id: str, changes: Mapping[str, Any]) -> DatasetView:
        """Give a dataset another ``title``, other ``labels``, its ``sample`` another name or group; what was measured stays.

        Raises
        ------
        NotFoundError
        ConflictError
            It is damaged.
        """
        self._whole(dataset_id)

        def changed(attributes: dict[str, Any]) -> dict[str, Any]:
            return {**attributes, **changes, "sample": {**attributes["sample"], **changes.get("sample", {})}}

        with self._while_there(dataset_id):
            self._repository.store.update(dataset_id, changed)
            self._repository.refresh(dataset_id)
        return self.get(dataset_id)

    def overview(self, dataset_id: str, scan: str, is_dark: bool = False) -> bytes:
        """PNG of one scan, as `draw_scan` draws it.

        Raises
        ------
        NotFoundError
        ConflictError
            The scan is damaged.
        """
        record = self._record(dataset_id)
        found = next((one for one in record.scans if one.name == scan), None)
        if found is None:
            raise NotFoundError(f"dataset {dataset_id} has no scan {scan!r}")
        with self._while_there(dataset_id):
            return draw_scan(self._repository.store, dataset_id, found, f"{record.title} at {found.energy_ev:.1f} eV", is_dark)

    def delete(self, dataset_id: str) -> None:
        """Forget a dataset and its scans; not while a run needs it."""
        self._record(dataset_id)
        users = self._users_of(dataset_id)
        if users:
            raise ConflictError(f"dataset {dataset_id} is needed by {', '.join(users)}: cancel it first")
        with self._while_there(dataset_id):
            self._remove(dataset_id)
        log.info("deleted", extra={"dataset": dataset_id, "project": self._project})

    @property
    def _owner(self) -> str:
        """The project that new datasets belong to."""
        return self._project or DEFAULT_PROJECT

    @contextmanager
    def _while_there(self, dataset_id: str) -> Iterator[None]:
        """Say that a dataset is not there where another request deleted it in the middle of this one."""
        try:
            yield
        except (StorageError, OSError, InvalidInputError, ConflictError) as error:
            if self._repository.store.is_dataset(dataset_id):
                raise
            self._repository.forget(dataset_id)
            raise NotFoundError(f"there is no dataset {dataset_id} any more: it was deleted") from error

    def _record(self, dataset_id: str) -> DatasetRecord:
        return self._repository.find(dataset_id, self._project)

    def _whole(self, dataset_id: str) -> DatasetRecord:
        record = self._record(dataset_id)
        if record.damage is not None:
            raise ConflictError(record.damage)
        return record

    def _check_open(self, dataset_id: str, name: str) -> DatasetRecord:
        """The dataset that a scan is sent to; a new scan of a sealed one is refused before its bytes are sent."""
        record = self._whole(dataset_id)
        if record.state == "sealed" and not any(name in (scan.name, scan.upload) for scan in record.scans):
            raise ConflictError(f"dataset {dataset_id} is sealed and takes no more scans")
        return record

    def _take_in(
        self, dataset: DatasetRecord, name: str, file: str | OpenFile | OpenFolder, sha256: str | None = None
    ) -> tuple[ScanView, bool]:
        """Read a file into a dataset, of which scans may have come since it was looked up: those are read."""
        edge_ev = edge_energy_ev(dataset.attributes)
        request = IngestRequest(self._repository.store.root, dataset.id, name, file, sha256, dataset.scans, edge_ev)
        with self._while_there(dataset.id):
            names, created = ingest(request, self._settings.ingest_memory_bytes, self._settings.ingest_timeout_s)
            scan = self._repository.add_scans(dataset.id, names)[0]
        self._on_change()
        log.info("scan %s at %.1f eV", scan.name, scan.energy_ev, extra={"dataset": dataset.id, "project": self._project})
        return scan_view(scan), created

    def _remove(self, dataset_id: str) -> None:
        self._repository.store.delete(dataset_id)
        self._repository.forget(dataset_id)

    def _n_stored(self) -> int:
        """Bytes that the project stores, where they are counted."""
        return self.totals()[1] if self._limits.counts_bytes else 0
