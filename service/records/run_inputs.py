"""Inputs of runs, from what the catalogue knows of their datasets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.errors import FieldError, InvalidInputError
from service.records.dataset_repository import DatasetRecord, DatasetRepository
from service.records.descriptions import Measurement
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.preflight import check_run
from service.workflow.warnings import gathered
from storage.datasets.scans import ScanInfo
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas, plan_canvas
from tasks.units import object_pixel_size_m


class RunInputReader:
    """Reads what a run must know of its datasets.

    Parameters
    ----------
    datasets : DatasetRepository
    """

    def __init__(self, datasets: DatasetRepository) -> None:
        self._datasets = datasets

    def read(self, dataset_ids: Sequence[str], project: str | None = None) -> list[RunInput]:
        """Inputs of each dataset, in the order asked for.

        Raises
        ------
        NotFoundError
            No dataset of that name, or it is another project's.
        InvalidInputError
            A dataset is damaged.
        """
        return [run_input(whole(self._datasets.find(dataset_id, project))) for dataset_id in dataset_ids]

    def read_known(self, dataset_ids: Sequence[str]) -> list[RunInput]:
        """Inputs of each dataset as it was last known, of damaged ones too.

        Raises
        ------
        NotFoundError
        InvalidInputError
            A dataset is damaged, and nothing was known of it.
        """
        records = [self._datasets.find(dataset_id) for dataset_id in dataset_ids]
        return [run_input(record if record.attributes else whole(record)) for record in records]

    def read_checked(self, dataset_ids: Sequence[str], options: RunOptions, project: str | None = None) -> list[RunInput]:
        """Inputs that can make a run.

        Raises
        ------
        NotFoundError, InvalidInputError
        """
        inputs = self.read(dataset_ids, project)
        check_run(inputs, options)
        return inputs


def whole(record: DatasetRecord) -> DatasetRecord:
    """The record, which must not be of a damaged dataset.

    Raises
    ------
    InvalidInputError
    """
    if record.damage is not None:
        raise InvalidInputError.of(FieldError("datasets", record.damage))
    return record


def run_input(record: DatasetRecord) -> RunInput:
    """What the graph must know of a dataset."""
    sample = record.attributes["sample"]
    images = [info.image for info in record.scans if info.image is not None]
    return RunInput(
        id=record.id,
        title=record.title,
        group=sample.get("group") or record.title,
        formula=sample["formula"],
        absorber=record.attributes["absorber"],
        measurement=measurement_of(record.attributes),
        scans=tuple(scan_input(info) for info in record.scans),
        is_open=record.state == "open",
        standard=bool(sample.get("standard", False)),
        warnings=gathered({info.name: info.warnings for info in record.scans}),
        kind=Measurement.model_validate(record.attributes).kind,
        has_phase=all(image.has_phase for image in images),
        is_normalised=bool(images) and all(image.is_normalised for image in images),
    )


def scan_input(info: ScanInfo) -> ScanInput:
    """What the graph must know of one energy's scan, or image."""
    if info.image is not None:
        canvas = Canvas(info.image.shape, info.image.pixel_size_m, info.image.origin_m)
        return ScanInput(info.name, info.energy_ev, info.n_positions, info.n_pixels, info.digest, canvas)
    pixel_size_m = object_pixel_size_m(info.energy_ev, info.distance_m, info.n_pixels, info.detector_pixel_size_m)
    canvas = plan_canvas(np.array(info.corners_m), pixel_size_m, info.n_pixels)
    return ScanInput(info.name, info.energy_ev, info.n_positions, info.n_pixels, info.digest, canvas)


def measurement_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What images depend on besides their scans; a given orientation is in the scans already."""
    found = {"orientation": "auto"} if attributes.get("orientation") == "auto" else {}
    return {"probe": attributes.get("probe"), **found}
