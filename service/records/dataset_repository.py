"""Datasets as the service knows them: the catalogue's rows, kept in step with the stores, which are the truth.

A store may change behind the service's back: a folder is copied in or removed, a file is damaged or mended. All datasets are
compared with the catalogue when the service starts, and each one again whenever it is looked at, by the sizes and times of
its descriptions; only what changed is read. What cannot be read makes its dataset ``damaged``, and no other. An object store,
which answers too slowly for that and which nobody else writes, is compared at the start only.
"""

import contextlib
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from service.errors import FieldError, NotFoundError
from service.records.descriptions import Measurement, StoredDescription, description_faults
from service.records.scan_cache import ScanCache, StampedScans, in_step
from service.records.views import DatasetState, DatasetView, Page, ScanView, moment
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row
from storage.catalogue.datasets import EVERY_DATASET, DatasetFilter
from storage.catalogue.paging import PageKey
from storage.datasets.scans import ScanInfo, image_info
from storage.datasets.store import DatasetStore
from storage.errors import DatasetDamagedError, DatasetNotFoundError

NO_PROJECT: Final = ""
"""Project of a dataset that cannot be read and was not known: nobody's, so that no key sees another's."""
N_AT_ONCE: Final = 8
"""Datasets that an object store is asked about at the same time."""
SCAN_FIELDS: Final = tuple(field.name for field in fields(ScanInfo))
"""Fields of a scan that the catalogue keeps."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetRecord:
    """All that is known of a dataset without opening an array; ``fault`` says what of it is damaged."""

    id: str
    project: str
    state: DatasetState
    title: str
    attributes: dict[str, Any]
    scans: tuple[ScanInfo, ...]
    created: float
    fault: str | None = None

    @property
    def damage(self) -> str | None:
        """What is wrong and what helps, for a request that needs a dataset that is not damaged; None of one that is not."""
        if self.fault is None:
            return None
        return f"dataset {self.id} is damaged: {self.fault}; restore it from a copy, or delete it and send its scans anew"


class DatasetRepository:
    """Datasets and their scans; may be used from any number of threads.

    Parameters
    ----------
    catalogue : Catalogue
    store : DatasetStore
    """

    def __init__(self, catalogue: Catalogue, store: DatasetStore) -> None:
        self.store = store
        self._table = catalogue.datasets
        self._cache = ScanCache()

    def reconcile(self) -> None:
        """Compare the catalogue with every store: read what is new or changed, forget what is gone."""
        known, stored = self._table.stamps(), self.store.ids()
        for dataset_id in known.keys() - set(stored):
            self._table.delete(dataset_id)
        with ThreadPoolExecutor(1 if self.store.is_shared else N_AT_ONCE) as pool:
            for dataset_id, seen in zip(stored, pool.map(self._seen, stored), strict=True):
                if known.get(dataset_id) != seen:
                    self.refresh(dataset_id)

    def refresh(self, dataset_id: str) -> None:
        """Read one dataset's store again, and write down what it holds."""
        before = self._table.get(dataset_id)
        try:
            if before is None and not self.store.is_dataset(dataset_id):
                return
            row, scans = self._read(dataset_id, before)
        except DatasetNotFoundError:
            self._table.delete(dataset_id)
            return
        self._table.put(row, scans, row["attributes"].get("labels", ()) if row["fault"] is None else ())

    def add_scans(self, dataset_id: str, names: Sequence[str]) -> list[ScanInfo]:
        """Write down scans that were just stored; however many the dataset has, only these are read."""
        rows = [self._scan_row(dataset_id, name) for name in names]
        if not self._table.add_scans(dataset_id, rows):
            self.refresh(dataset_id)
        self._cache.add(dataset_id, stamped_scans(rows))
        return [scan_of(row) for row in rows]

    def forget(self, dataset_id: str) -> None:
        """Forget a dataset whose store was removed."""
        self._table.delete(dataset_id)

    def get(self, dataset_id: str, project: str | None = None) -> DatasetRecord | None:
        """One dataset as it stands, or None; also None where it is another project's."""
        row = self._table.get(dataset_id)
        if row is None:
            self.refresh(dataset_id)  # it may have been copied in since the service started
            row = self._table.get(dataset_id)
        if row is None or project not in (None, row["project"]):
            return None
        return next(iter(self._current([row])), None)

    def find(self, dataset_id: str, project: str | None = None) -> DatasetRecord:
        """One dataset as it stands.

        Raises
        ------
        NotFoundError
            There is none of that name, or it is another project's.
        """
        record = self.get(dataset_id, project)
        if record is None:
            raise NotFoundError(f"there is no dataset {dataset_id}")
        return record

    def page(
        self, project: str | None, matching: DatasetFilter = EVERY_DATASET, after: PageKey | None = None, limit: int = 50
    ) -> Page[DatasetView]:
        """Part of the list of datasets, newest first."""
        rows = self._table.page(project, matching, after, limit + 1)
        shown = rows[:limit]
        end = PageKey(shown[-1]["created"], shown[-1]["id"]) if len(rows) > limit else None
        return Page(tuple(view_of(record) for record in self._current(shown)), end)

    def totals(self, project: str | None = None) -> tuple[int, int]:
        """Number of datasets and bytes of their scans, of a project or of all."""
        return self._table.totals(project)

    def _current(self, rows: list[Row]) -> list[DatasetRecord]:
        """Rows with their scans, those read again whose store is not what it was when they were written."""
        if not self.store.is_shared:
            scans_of = self._table.scans([row["id"] for row in rows])
            return [record_of(row, [scan_of(scan) for scan in scans_of[row["id"]]]) for row in rows]
        stamps = {row["id"]: seen for row in rows if (seen := self._stamps(row)) is not None}
        scans = {dataset_id: in_step(self._cache.get(dataset_id), seen) for dataset_id, seen in stamps.items()}
        for dataset_id, of_dataset in self._table.scans([name for name, known in scans.items() if known is None]).items():
            read = stamped_scans(of_dataset)
            self._cache.put(dataset_id, read)
            scans[dataset_id] = in_step(read, stamps[dataset_id])
        found = {row["id"]: read_row(row, scans.get(row["id"])) for row in rows}
        stale = [dataset_id for dataset_id, record in found.items() if record is None]
        for dataset_id in stale:
            self.refresh(dataset_id)
        read_again = self._table.scans(stale)
        for dataset_id in stale:
            row = self._table.get(dataset_id)
            found[dataset_id] = None if row is None else record_of(row, [scan_of(scan) for scan in read_again[dataset_id]])
        return [record for record in found.values() if record is not None]

    def _stamps(self, row: Row) -> dict[str, str] | None:
        """The stamps of a dataset's scans as they are stored; None where the dataset is not what its row says."""
        if row["state"] == "damaged" or row["stamp"] != self.store.stamp(row["id"]):
            return None
        try:
            found = self.store.scan_stamps(row["id"])
        except (DatasetDamagedError, DatasetNotFoundError):
            return None
        return found if len(found) == row["n_scans"] and all(found.values()) else None

    def _seen(self, dataset_id: str) -> tuple[str, int]:
        """What tells at a glance whether a store is still what the catalogue knows."""
        try:
            return self.store.stamp(dataset_id), len(self.store.scan_names(dataset_id))
        except (DatasetDamagedError, DatasetNotFoundError):
            return "", -1

    def _read(self, dataset_id: str, before: Row | None) -> tuple[Row, list[Row]]:
        """The rows of a dataset, from its store; what it cannot say any more, from the row ``before``."""
        stamp = self.store.stamp(dataset_id)  # before its content: a change in between is then noticed later
        attributes, faults = self._attributes(dataset_id)
        scans, of_scans = self._scans(dataset_id)
        faults += of_scans
        fault = "; ".join(faults) or None
        if attributes is None:
            row = undescribed(dataset_id, before, self.store.changed(dataset_id))
        else:
            row = described(dataset_id, attributes)
        if fault is not None:
            if before is None or before["fault"] != fault:
                log.warning("damaged: %s", fault, extra={"dataset": dataset_id})
            row |= {"state": "damaged", "fault": fault, "stamp": ""}
        else:
            row |= {"fault": None, "stamp": stamp}
        return {**row, "updated": time.time()}, scans

    def _attributes(self, dataset_id: str) -> tuple[dict[str, Any] | None, list[str]]:
        try:
            attributes = self.store.attributes(dataset_id)
        except DatasetDamagedError as error:
            return None, [str(error)]
        fault = description_faults(attributes)
        return (attributes, []) if fault is None else (None, [f"its description is not what it was: {fault}"])

    def _scans(self, dataset_id: str) -> tuple[list[Row], list[str]]:
        """The rows of a dataset's scans, and what is wrong with them; what is damaged stays as it was known."""
        known = {row.pop("name"): row for row in self._table.scans([dataset_id])[dataset_id]}
        try:
            names, faults = self.store.scan_names(dataset_id), []
        except DatasetDamagedError as error:
            names, faults = [], [str(error)]
            return [{"name": name, **row} for name, row in known.items()], faults
        found = []
        for name in names:
            try:
                found.append(self._scan_row(dataset_id, name))
            except DatasetDamagedError as error:
                faults.append(str(error))
                found += [{"name": name, **known[name]}] if name in known else []
        return found, faults

    def _scan_row(self, dataset_id: str, name: str) -> Row:
        stamp = self.store.scan_stamp(dataset_id, name)
        known = asdict(self.store.scan(dataset_id, name))
        return {**{field: known[field] for field in SCAN_FIELDS}, "stamp": stamp}


def described(dataset_id: str, attributes: dict[str, Any]) -> Row:
    """A row from the attributes of a store."""
    known = StoredDescription.model_validate(attributes)
    return {
        "id": dataset_id,
        "project": known.project,
        "state": "sealed" if known.sealed else "open",
        "title": known.title,
        "sample_name": known.sample.name,
        "sample_group": known.sample.group,
        "element": known.absorber.element,
        "edge": known.absorber.edge,
        "attributes": attributes,
        "created": known.provenance.created.timestamp(),
    }


def undescribed(dataset_id: str, before: Row | None, changed: float) -> Row:
    """A row of a dataset whose description cannot be read: as it was known, or by its name only."""
    if before is not None and read_row(before, ()) is not None:
        return {name: value for name, value in before.items() if name not in ("n_scans", "n_bytes")}
    texts = dict.fromkeys(("sample_name", "sample_group", "element", "edge"), "")
    about = {"id": dataset_id, "project": NO_PROJECT, "title": dataset_id, "attributes": {}, "created": changed}
    return {**about, **texts}


def record_of(row: Row, scans: Sequence[ScanInfo]) -> DatasetRecord:
    """What the catalogue holds of a dataset."""
    names = ("id", "project", "state", "title", "created", "fault")
    return DatasetRecord(attributes=row["attributes"] or {}, scans=tuple(scans), **{name: row[name] for name in names})


def read_row(row: Row, scans: Sequence[ScanInfo] | None) -> DatasetRecord | None:
    """What the catalogue holds of a dataset; None without its scans, or where its row is not of the kind that was written."""
    if scans is None:
        return None
    try:
        record = record_of(row, scans)
        return record if record.attributes and view_of(replace(record, scans=())) else None
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return None


def stamped_scans(rows: Sequence[Row]) -> StampedScans:
    """Scans of a dataset with their stamps; those are left out whose rows are not of the kind that was written."""
    found = {}
    for row in rows:
        with contextlib.suppress(TypeError, ValueError, KeyError, AttributeError, OverflowError):
            found[row["name"]] = row["stamp"], scan_of(row)
    return found


def scan_of(row: Row) -> ScanInfo:
    """What the catalogue holds of a scan."""
    (low_y, low_x), (high_y, high_x) = row["corners_m"]
    read = {"corners_m": ((low_y, low_x), (high_y, high_x)), "warnings": tuple(row["warnings"] or ())}
    image = None if row["image"] is None else image_info(row["image"])
    return ScanInfo(**{name: row[name] for name in SCAN_FIELDS} | read | {"image": image})


def view_of(record: DatasetRecord) -> DatasetView:
    """A dataset as it is handed out."""
    about = record.attributes
    return DatasetView(
        id=record.id,
        title=record.title,
        state=record.state,
        sample=about.get("sample", {}),
        absorber=about.get("absorber", {}),
        **Measurement.model_validate(about).model_dump(),
        labels=tuple(about.get("labels", ())),
        scans=tuple(scan_view(scan) for scan in record.scans),
        created=moment(record.created),
        faults=() if record.fault is None else (FieldError("store", record.fault),),
    )


def scan_view(info: ScanInfo) -> ScanView:
    """A scan as it is handed out."""
    image, counted = info.image, (info.n_positions, info.n_pixels)
    about = (None, None, None) if image is None else (image.shape, image.pixel_size_m, image.has_phase)
    return ScanView(info.name, info.energy_ev, *counted, info.sha256, info.n_bytes, info.warnings, *about)
