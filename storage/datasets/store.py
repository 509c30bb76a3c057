"""Datasets on disk: one specimen's scans, each visible whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import flush_tree, move_into_place, remove_tree, staged
from storage.chunks import plan_tiles
from storage.datasets.framing import reorient
from storage.datasets.ingest import Check, ScanOverrides, ScanRecord, examine, write_scan
from storage.datasets.scans import NAME, ScanInfo, attributes_of, check_name, digest_of, has_group, info_of
from storage.errors import (
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetSealedError,
    FieldError,
    InvalidScanError,
    ScanConflictError,
)
from storage.layout import DATASET
from storage.readers.format import open_scan

SAME_ENERGY_EV = 0.01
"""Energies nearer than this are one energy, measured twice [eV]."""

SAME_LENGTH = 1e-3
"""Distances and pixel sizes of a dataset's scans agree to this fraction."""

AUTO = "auto"
"""The orientation of frames that are kept as they came, to be turned when they are read."""

TURNED = ("counts", "mask", "probe")
"""What is turned with the frames."""


@dataclass(frozen=True)
class Ingested:
    """The scans a file brought; ``created`` is False where the same bytes were there already."""

    scans: tuple[ScanInfo, ...]
    created: bool


class DatasetStore:
    """Datasets below one directory.

    Any number of processes may add scans at once. Everything raised is a ``StorageError``.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def create(self, dataset_id: str, attributes: Mapping[str, Any]) -> None:
        """Make an empty, open dataset.

        Raises
        ------
        InvalidNameError, DatasetExistsError
        """
        path = self.root / check_name(dataset_id)
        try:
            with staged(path) as temporary:
                group = zarr.create_group(store=temporary, overwrite=True, attributes={**attributes, "sealed": False})
                group.create_group("scans")
        except FileExistsError as error:
            raise DatasetExistsError(f"dataset {dataset_id} is already there") from error

    def ids(self) -> list[str]:
        """Names of all datasets."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if NAME.fullmatch(path.name) and has_group(path))

    def attributes(self, dataset_id: str) -> dict[str, Any]:
        """Attributes of a dataset as they were given, and ``sealed``."""
        return attributes_of(self._path(dataset_id))

    def is_sealed(self, dataset_id: str) -> bool:
        """Whether the dataset takes no more scans."""
        return bool(self.attributes(dataset_id)["sealed"])

    def scans(self, dataset_id: str) -> list[ScanInfo]:
        """All scans of a dataset, by ascending energy."""
        folder = self._path(dataset_id) / "scans"
        names = [path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and has_group(path)]
        return sorted((info_of(folder / name) for name in names), key=lambda info: info.energy_ev)

    def add_scan(
        self,
        dataset_id: str,
        name: str,
        path: Path,
        *,
        check: Check | None = None,
        sha256: str | None = None,
    ) -> Ingested:
        """Read a file of any known format into the dataset: all of its scans, or none.

        Parameters
        ----------
        dataset_id, name : str
            A file of several entries becomes ``name.1`` to ``name.n``.
        path : Path
            The file, or a folder of files that belong together.
        check : callable, optional
            Further checks of each scan.
        sha256 : str, optional
            `digest_of` the path, where it is known already.

        Raises
        ------
        InvalidScanError
            With everything found wrong, by field.
        ScanConflictError
            A scan of that name is there, from other bytes.
        DatasetSealedError, DatasetNotFoundError, InvalidNameError
        """
        dataset = self._path(dataset_id)
        check_name(name)
        sha256 = sha256 or digest_of(path)
        known = self._known(dataset_id, name, sha256)
        if known:
            return Ingested(known, created=False)
        overrides = _overrides(self.attributes(dataset_id))
        temporary = dataset / f".staging-{os.urandom(16).hex()}"
        temporary.mkdir()
        try:
            with open_scan(path) as sources:
                records = _examine_all(sources, overrides, check, self._others(dataset_id, name))
                shared = {"sha256": sha256, "upload": name, "n_entries": len(records)}
                for label, record in _label(name, records):
                    write_scan(record, temporary / label, shared)
            flush_tree(temporary)
            return self._publish(dataset_id, name, sha256, temporary)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, dataset_id: str, name: str, sha256: str, temporary: Path) -> Ingested:
        folder = self._path(dataset_id) / "scans"
        infos = sorted((info_of(path) for path in temporary.iterdir()), key=lambda info: info.energy_ev)
        with self._locked(dataset_id):
            known = self._known(dataset_id, name, sha256)
            if known:
                return Ingested(known, created=False)
            faults = [fault for info in infos for fault in _inconsistencies(info, self._others(dataset_id, name))]
            if faults:
                raise InvalidScanError(faults)
            moved: list[Path] = []
            # A writer killed between two renames left some of the file's scans; they are whole, and stay.
            missing = [info for info in infos if not has_group(folder / info.name)]
            try:
                for info in missing:
                    move_into_place(temporary / info.name, folder / info.name)
                    moved.append(folder / info.name)
            except BaseException as error:
                for path in moved:
                    remove_tree(path)
                if isinstance(error, FileExistsError):
                    raise ScanConflictError(f"scan {info.name} is already there, from another file") from error
                raise
        return Ingested(tuple(infos), created=True)

    def _known(self, dataset_id: str, name: str, sha256: str) -> tuple[ScanInfo, ...]:
        found = tuple(info for info in self.scans(dataset_id) if name in (info.upload, info.name))
        if any(info.sha256 != sha256 or info.upload != name for info in found):
            raise ScanConflictError(f"scan {name} is already there, from a file of other bytes")
        complete = bool(found) and len(found) == found[0].n_entries
        if not complete and self.is_sealed(dataset_id):
            raise DatasetSealedError(f"dataset {dataset_id} is sealed and takes no more scans")
        return found if complete else ()

    def _others(self, dataset_id: str, name: str) -> list[ScanInfo]:
        return [info for info in self.scans(dataset_id) if info.upload != name]

    def read_scan(self, dataset_id: str, scan: str | float, counts: bool = True, orientation: int = 0) -> dict[str, Any]:
        """Read one scan, by name or by energy [eV]; ``orientation`` turns its frames once more, block by block.

        Returns
        -------
        dict
            ``counts`` (P, N, N) uint16 or uint32 (unless not asked for), ``positions_m`` (P, 2) float64, ``mask``
            (N, N) bool, ``probe`` (M, N, N) complex64 or None, and the numbers ``energy_ev``, ``distance_m`` and
            ``detector_pixel_size_m``.
        """
        info = self._find(dataset_id, scan)
        group = zarr.open_group(store=self._path(dataset_id) / "scans" / info.name, mode="r")
        names = [name for name in DATASET["scans/{scan}"] if name in group and (counts or name != "counts")]
        arrays = {name: _read_turned(group[name], orientation * (name in TURNED)) for name in names}
        numbers = {name: getattr(info, name) for name in ("energy_ev", "distance_m", "detector_pixel_size_m")}
        return {"probe": None, **arrays, **numbers}

    def _find(self, dataset_id: str, scan: str | float) -> ScanInfo:
        for info in self.scans(dataset_id):
            if scan == info.name or (isinstance(scan, int | float) and abs(info.energy_ev - scan) < SAME_ENERGY_EV / 2):
                return info
        raise DatasetNotFoundError(f"dataset {dataset_id} has no scan {scan}")

    def mask(self, dataset_id: str) -> NDArray[np.bool_]:
        """(N, N) bool, the pixels good at every energy.

        Raises
        ------
        DatasetNotFoundError
            No dataset of that name, or no scan in it.
        """
        folder = self._path(dataset_id) / "scans"
        masks = [np.asarray(zarr.open_array(folder / info.name / "mask", mode="r")[...]) for info in self.scans(dataset_id)]
        if not masks:
            raise DatasetNotFoundError(f"dataset {dataset_id} has no scans")
        return np.asarray(np.logical_and.reduce(masks), bool)

    def seal(self, dataset_id: str) -> None:
        """Take no more scans, and write what all of them share; a second time changes nothing."""
        with self._locked(dataset_id):
            attributes = self.attributes(dataset_id)
            infos = self.scans(dataset_id)
            group = zarr.open_group(store=self._path(dataset_id), mode="r+")
            if infos and not attributes["sealed"]:
                mask, spec = self.mask(dataset_id), DATASET[""]["mask"]
                array = group.create_array(
                    "mask", data=mask, dimension_names=spec.dims, attributes=spec.attributes(), overwrite=True
                )
                shared = {name: getattr(infos[0], name) for name in ("distance_m", "detector_pixel_size_m")}
                group.attrs.update({**shared, "n_pixels": array.shape[0]})
            group.attrs["sealed"] = True

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset; it disappears at once."""
        remove_tree(self._path(dataset_id))

    def n_bytes(self, dataset_id: str) -> int:
        """Bytes the dataset takes on disk."""
        files = (path for path in self._path(dataset_id).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in files)

    def _path(self, dataset_id: str) -> Path:
        path = self.root / check_name(dataset_id)
        if not has_group(path):
            raise DatasetNotFoundError(f"there is no dataset {dataset_id}")
        return path

    @contextmanager
    def _locked(self, dataset_id: str) -> Iterator[None]:
        with (self._path(dataset_id) / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _read_turned(stored: Any, orientation: int) -> NDArray[Any]:
    """A stored array, its last two axes turned; never twice in memory."""
    if not orientation:
        return np.asarray(stored[...])
    values = np.empty(stored.shape, stored.dtype)
    for tile in plan_tiles(stored.shape, stored.chunks, stored.chunks):
        whole = (tile[0], ...) if len(tile) > 2 else ...
        values[whole] = reorient(np.asarray(stored[whole]), orientation)
    return values


def _overrides(attributes: Mapping[str, Any]) -> ScanOverrides:
    centre = attributes.get("beam_centre_px")
    return ScanOverrides(
        distance_m=attributes.get("distance_m"),
        detector_pixel_size_m=attributes.get("detector_pixel_size_m"),
        orientation=0 if attributes.get("orientation") in (None, AUTO) else attributes["orientation"],
        beam_centre_px=None if centre is None else (float(centre[0]), float(centre[1])),
        n_pixels=attributes.get("n_pixels"),
    )


def _examine_all(
    sources: Sequence[Any], overrides: ScanOverrides, check: Check | None, present: list[ScanInfo]
) -> list[ScanRecord]:
    records: list[ScanRecord] = []
    faults: list[FieldError] = []
    for source in sources:
        record, found = examine(source, overrides, check)
        prefix = f"{source.label}." if len(sources) > 1 else ""
        faults += [FieldError(prefix + fault.field, fault.message) for fault in found]
        if record is not None:
            faults += [
                FieldError(prefix + fault.field, fault.message) for fault in _inconsistencies(record, [*present, *records])
            ]
            records.append(record)
    if faults:
        raise InvalidScanError(faults)
    return records


def _inconsistencies(scan: ScanRecord | ScanInfo, others: Sequence[ScanRecord | ScanInfo]) -> Iterator[FieldError]:
    for other in others:
        if abs(scan.energy_ev - other.energy_ev) < SAME_ENERGY_EV:
            where = f" as scan {other.name}" if isinstance(other, ScanInfo) else " twice in the file"
            yield FieldError("energy_ev", f"duplicate energy: {scan.energy_ev:.3f} eV is there{where}")
    for other in others[:1]:
        if scan.n_pixels != other.n_pixels:
            yield FieldError("counts", f"frames of {scan.n_pixels} pixels a side; the other scans have {other.n_pixels}")
        for field in ("distance_m", "detector_pixel_size_m"):
            mine, theirs = getattr(scan, field), getattr(other, field)
            if abs(mine - theirs) > SAME_LENGTH * theirs:
                yield FieldError(field, f"is {mine:g} m; the other scans have {theirs:g} m")


def _label(name: str, records: Sequence[ScanRecord]) -> Iterator[tuple[str, ScanRecord]]:
    if len(records) == 1:
        yield name, records[0]
    else:
        yield from ((f"{name}.{index}", record) for index, record in enumerate(records, 1))
