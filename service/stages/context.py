"""What a stage may touch while it computes a unit: folders, the units before it, and a line to tell its progress."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from service.execution.cluster import IsCancelled, Report
from service.workflow.step import Step
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.errors import CancelledError

REPORT_S: Final = 0.5
"""A unit tells of its progress at most this often."""
LOOK_S: Final = 0.2
"""A unit asks whether it is cancelled at most this often: cycles of small frames take milliseconds."""

StepAttributes: TypeAlias = dict[str, Any]
"""What a unit says of itself, small and JSON-able: R factor, number of pixels, ``notes`` for people."""


@dataclass(frozen=True)
class DataPaths:
    """Folders that the service and all workers see alike."""

    datasets: Path
    units: Path
    runs: Path

    def run_dir(self, run_id: str) -> Path:
        """Folder of one run: results, figures, stop flag."""
        return self.runs / run_id

    def results(self, run_id: str) -> Path:
        """The run's results store, once it is published."""
        return self.run_dir(run_id) / "results.zarr"

    def figures(self, run_id: str) -> Path:
        """Folder of the run's figures; ``figures.json`` in it lists them."""
        return self.run_dir(run_id) / "figures"

    def stop_flag(self, run_id: str) -> Path:
        """File whose existence tells the run loop to cancel the run, also after a restart."""
        return self.run_dir(run_id) / "stop"

    def raise_stop_flag(self, run_id: str) -> None:
        """Ask the run loop to cancel the run."""
        self.run_dir(run_id).mkdir(parents=True, exist_ok=True)
        self.stop_flag(run_id).touch()

    def lower_stop_flag(self, run_id: str) -> None:
        """Let the run go on."""
        self.stop_flag(run_id).unlink(missing_ok=True)


@dataclass(frozen=True)
class StepRequest:
    """One unit, on behalf of one run."""

    run_id: str
    unit: Step
    places: DataPaths


def never() -> bool:
    """Answer of work that nobody can cancel."""
    return False


class StageContext:
    """All that a stage may touch: it reads by key, writes under its own, and tells how far it is.

    Attributes
    ----------
    storage_s : float
        Time spent reading and writing arrays so far [s], a part of ``seconds``.
    """

    def __init__(self, call: StepRequest, report: Report, is_cancelled: IsCancelled = never) -> None:
        self.call = call
        self.storage_s = 0.0
        self.datasets = DatasetStore(call.places.datasets)
        self.units = ArtifactStore(call.places.units)
        self._report = report
        self._is_cancelled = is_cancelled
        self._began = time.monotonic()
        self._reported = self._looked = 0.0

    def read(self, key: str, *names: str) -> dict[str, NDArray]:
        """Arrays of a finished unit: those named, or all."""
        with self._storing():
            return self.units.read(key, *names)

    def read_scan(self, dataset: str, scan: str, orientation: int = 0) -> dict[str, Any]:
        """One energy's measurement, as `storage.datasets.store.DatasetStore.read_scan` has it."""
        with self._storing():
            return self.datasets.read_scan(dataset, scan, orientation=orientation)

    def write(self, arrays: Mapping[str, NDArray], **facts: Any) -> StepAttributes:
        """Keep this unit's arrays, with ``facts`` and the time they took; the facts again, for the receipt."""
        unit = self.call.unit
        provenance = {"stage": unit.stage, "unit": unit.name, "inputs": list(unit.inputs), "seconds": self.seconds}
        with self._storing():
            self.units.write(unit.key, dict(arrays), {**provenance, **facts})
        return facts

    def tell(self, cycle: int, n_cycles: int, error: float) -> None:
        """Report a finished cycle, now and then.

        Raises
        ------
        CancelledError
            The run was cancelled.
        """
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._looked = now
            self.check_stop()
        if now - self._reported > REPORT_S:
            self._reported = now
            about = {"run_id": self.call.run_id, "unit": self.call.unit.name}
            self._report({**about, "cycle": cycle, "n_cycles": n_cycles, "error": error})

    def check_stop(self) -> None:
        """Raise CancelledError where no run wants the result any more."""
        if self._is_cancelled():
            raise CancelledError(f"{self.call.unit.name} is no longer wanted: its run was cancelled, or has failed")

    @property
    def seconds(self) -> float:
        """Time since the unit began [s]."""
        return time.monotonic() - self._began

    @contextmanager
    def _storing(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.storage_s += time.monotonic() - began
