"""Inputs of runs, read from where they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.api_keys import DEFAULT_PROJECT
from service.errors import NotFoundError
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.preflight import check_run
from storage.datasets.scans import ScanInfo
from storage.datasets.store import DatasetStore
from storage.errors import DatasetNotFoundError, InvalidNameError, StorageError
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas, plan_canvas
from tasks.units import object_pixel_size_m


@dataclass
class RunInputReader:
    """Reads the facts of datasets; a scan never changes, so its canvas is planned once."""

    store: DatasetStore
    _canvases: dict[tuple[str, str, str], Canvas] = field(default_factory=dict)

    def read(self, dataset_ids: Sequence[str]) -> list[RunInput]:
        """Inputs of each dataset, in the order asked for.

        Raises
        ------
        NotFoundError
            No dataset of that name.
        """
        return [self._read(dataset_id) for dataset_id in dataset_ids]

    def check_project(self, dataset_ids: Sequence[str], project: str | None) -> None:
        """Raise NotFoundError where a dataset is another project's; None has them all."""
        for dataset_id in dataset_ids:
            try:
                owner = self.store.attributes(dataset_id).get("project", DEFAULT_PROJECT)
            except StorageError:
                owner = None
            if project not in (None, owner):
                raise NotFoundError(f"there is no dataset {dataset_id}")

    def read_checked(self, dataset_ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        """Inputs that can make a run.

        Raises
        ------
        NotFoundError, InvalidInputError
        """
        facts = self.read(dataset_ids)
        check_run(facts, options)
        return facts

    def _read(self, dataset_id: str) -> RunInput:
        try:
            attributes = self.store.attributes(dataset_id)
            scans = self.store.scans(dataset_id)
        except (DatasetNotFoundError, InvalidNameError) as error:
            raise NotFoundError(f"there is no dataset {dataset_id}") from error
        sample = attributes["sample"]
        return RunInput(
            id=dataset_id,
            title=attributes["title"],
            group=sample["group"] or attributes["title"],
            formula=sample["formula"],
            absorber=attributes["absorber"],
            measurement=measurement_of(attributes),
            scans=tuple(self._scan(dataset_id, info) for info in scans),
            is_open=not attributes["sealed"],
            standard=bool(sample.get("standard", False)),
        )

    def _scan(self, dataset_id: str, info: ScanInfo) -> ScanInput:
        key = (dataset_id, info.name, info.digest)
        if key not in self._canvases:
            positions_m = self.store.read_scan(dataset_id, info.name, counts=False)["positions_m"]
            pixel_size_m = object_pixel_size_m(info.energy_ev, info.distance_m, info.n_pixels, info.detector_pixel_size_m)
            self._canvases[key] = plan_canvas(positions_m, pixel_size_m, info.n_pixels)
        return ScanInput(info.name, info.energy_ev, info.n_positions, info.n_pixels, info.digest, self._canvases[key])


def measurement_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What images depend on besides their scans; a given orientation is in the scans already."""
    found = {"orientation": "auto"} if attributes.get("orientation") == "auto" else {}
    return {"probe": attributes.get("probe"), **found}
