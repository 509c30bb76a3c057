"""The entries of an uploaded file: each checked, against the others and against the scans that its dataset has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from storage.datasets.ingest import Check, ScanOverrides, ScanRecord, examine
from storage.datasets.scans import ScanInfo
from storage.errors import FieldError, InvalidScanError
from storage.readers.record import ScanSource

RecordT = TypeVar("RecordT")

DUPLICATE_ENERGY_EV: Final = 0.01
"""Energies of one dataset nearer than this are one, measured twice [eV]; no two that were meant to differ are that near."""

SAME_LENGTH: Final = 1e-3
"""Distances and pixel sizes of a dataset's scans agree to this fraction."""

NEARLY_EQUAL_EV: Final = 0.1
"""Energies nearer than this are closer than a monochromator tells apart [eV]."""

AUTO: Final = "auto"
"""The orientation of frames that are kept as they came, to be turned when they are read."""


def overrides_of(attributes: Mapping[str, Any]) -> ScanOverrides:
    """What a dataset's attributes say about its scans."""
    centre = attributes.get("beam_centre_px")
    return ScanOverrides(
        distance_m=attributes.get("distance_m"),
        detector_pixel_size_m=attributes.get("detector_pixel_size_m"),
        orientation=0 if attributes.get("orientation") in (None, AUTO) else attributes["orientation"],
        beam_centre_px=None if centre is None else (float(centre[0]), float(centre[1])),
        n_pixels=attributes.get("n_pixels"),
        saturation_count=attributes.get("saturation_count"),
        bad_frames=attributes.get("bad_frames") or "refuse",
        describes_probe=(attributes.get("probe") or {}).get("kind", "supplied") != "supplied",
    )


def examine_all(
    sources: Sequence[ScanSource], overrides: ScanOverrides, check: Check | None, present: list[ScanInfo]
) -> list[ScanRecord]:
    """Check every entry of a file; ``present`` are the scans that the dataset has from other files.

    Raises
    ------
    InvalidScanError
        With everything found wrong, by entry and field.
    """
    records: list[ScanRecord] = []
    faults: list[FieldError] = []
    for source in sources:
        record, found = examine(source, overrides, check)
        prefix = f"{source.label}." if len(sources) > 1 else ""
        faults += [FieldError(prefix + fault.field, fault.message) for fault in found]
        if record is not None:
            faults += [FieldError(prefix + fault.field, fault.message) for fault in inconsistencies(record, [*present, *records])]
            others_ev = [other.energy_ev for other in present] + [other.energy_ev for other in records]
            records.append(with_energy_warnings(record, others_ev))
    if faults:
        raise InvalidScanError(faults)
    return records


def inconsistencies(scan: ScanRecord | ScanInfo, others: Sequence[ScanRecord | ScanInfo]) -> Iterator[FieldError]:
    """Why a scan cannot stand beside others of its dataset: an energy measured twice, other frames, another geometry."""
    same = next((other for other in others if abs(scan.energy_ev - other.energy_ev) < DUPLICATE_ENERGY_EV), None)
    if same is not None:
        where = f" as scan {same.name}" if isinstance(same, ScanInfo) else " twice in the file"
        yield FieldError("energy_ev", f"duplicate energy: {scan.energy_ev:.3f} eV is there{where}")
    for other in others[:1]:
        if scan.n_pixels != other.n_pixels:
            yield FieldError("counts", f"frames of {scan.n_pixels} pixels a side; the other scans have {other.n_pixels}")
        for field in ("distance_m", "detector_pixel_size_m"):
            mine, theirs = getattr(scan, field), getattr(other, field)
            if abs(mine - theirs) > SAME_LENGTH * theirs:
                yield FieldError(field, f"is {mine:g} m; the other scans have {theirs:g} m")


def with_energy_warnings(record: ScanRecord, others_ev: Iterable[float]) -> ScanRecord:
    """Return the record with a warning for each of the other scans' energies [eV] that is nearly the same."""
    near = [energy for energy in others_ev if abs(energy - record.energy_ev) < NEARLY_EQUAL_EV]
    added = tuple(
        f"{record.energy_ev:.3f} eV and {energy:.3f} eV differ by less than a monochromator tells apart: measured once, they "
        "would say as much about the spectrum, and the Kramers-Kronig relation takes their noise for a slope"
        for energy in near
    )
    return replace(record, warnings=(*record.warnings, *added))


def labelled(name: str, records: Sequence[RecordT]) -> Iterator[tuple[str, RecordT]]:
    """Each entry with the name that it is stored under: the file's, numbered where there are several."""
    if len(records) == 1:
        yield name, records[0]
    else:
        yield from ((f"{name}.{index}", record) for index, record in enumerate(records, 1))
