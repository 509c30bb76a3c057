"""What files bring to a dataset of either kind: diffraction patterns, or images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.datasets.entries import examine_all, inconsistencies, labelled, overrides_of
from storage.datasets.images import examine_images, image_inconsistencies, write_image
from storage.datasets.ingest import Check, write_scan
from storage.datasets.scans import ScanInfo, corners_of
from storage.datasets.stored_scan import write_manifest
from storage.errors import FieldError
from storage.readers.format import open_scan
from storage.readers.image_format import open_images


def conflicts(info: ScanInfo, others: Sequence[ScanInfo]) -> Iterator[FieldError]:
    """Why a stored scan or image cannot stand beside others of its dataset."""
    return inconsistencies(info, others) if info.image is None else image_inconsistencies(info.energy_ev, info.image, others)


def write_scans(
    path: Path,
    name: str,
    folder: Path,
    attributes: Mapping[str, Any],
    check: Check | None,
    others: list[ScanInfo],
    shared: Mapping[str, Any],
) -> None:
    """Read the diffraction patterns of a file, and write each entry's into a folder of its own below ``folder``."""
    with open_scan(path) as sources:
        records = examine_all(sources, overrides_of(attributes), check, others)
        for label, record in labelled(name, records):
            corners_m = corners_of(record.positions_m)
            write_scan(record, folder / label, {**shared, "n_entries": len(records), "corners_m": corners_m})
            write_manifest(folder / label)


def write_images(
    path: Path, name: str, folder: Path, attributes: Mapping[str, Any], others: list[ScanInfo], shared: Mapping[str, Any]
) -> None:
    """Read the images of a file, and write each energy's into a folder of its own below ``folder``."""
    with open_images(path) as sources:
        records = examine_images(sources, attributes, others)
        for label, record in labelled(name, records):
            write_image(record, folder / label, {**shared, "n_entries": len(records)})
            write_manifest(folder / label)
