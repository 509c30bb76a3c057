"""A unit of work as a worker sees it: what it is called with, what it may touch, what it gives back."""

import logging
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from numpy.typing import NDArray

from service.errors import ServiceError, is_disk_full
from service.graph import Unit
from service.scheduler import Report
from storage.datasets import DatasetStore
from storage.errors import StorageError, UnitMissingError
from storage.units import UnitStore
from tasks.errors import CancelledError, TaskError

REPORT_S: Final = 0.5
"""A unit tells of its progress at most this often."""
LOOK_S: Final = 0.2
"""A unit looks at the stop flag at most this often: cycles of small frames take milliseconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
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
        """File whose existence tells every unit of the run to stop."""
        return self.run_dir(run_id) / "stop"

    def raise_stop_flag(self, run_id: str) -> None:
        """Tell every unit of the run to stop."""
        self.run_dir(run_id).mkdir(parents=True, exist_ok=True)
        self.stop_flag(run_id).touch()

    def lower_stop_flag(self, run_id: str) -> None:
        """Let units of the run work again."""
        self.stop_flag(run_id).unlink(missing_ok=True)


@dataclass(frozen=True)
class Call:
    """One unit, on behalf of one run."""

    run_id: str
    unit: Unit
    places: Places


@dataclass(frozen=True)
class Receipt:
    """What became of a unit; ``facts`` are small and JSON-able (R factor, number of pixels)."""

    fate: Literal["done", "failed", "cancelled", "lost"]
    is_computed: bool = False
    seconds: float = 0.0
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Desk:
    """All that a stage may touch: it reads by key, writes under its own, and tells how far it is."""

    def __init__(self, call: Call, report: Report) -> None:
        self.call = call
        self.datasets = DatasetStore(call.places.datasets)
        self.units = UnitStore(call.places.units)
        self._report = report
        self._began = time.monotonic()
        self._reported = self._looked = 0.0

    def read(self, key: str, *names: str) -> dict[str, NDArray]:
        """Arrays of a finished unit: those named, or all."""
        return self.units.read(key, *names)

    def write(self, arrays: Mapping[str, NDArray], **facts: Any) -> dict[str, Any]:
        """Keep this unit's arrays, with ``facts`` and the time they took; the facts again, for the receipt."""
        unit = self.call.unit
        provenance = {"stage": unit.stage, "unit": unit.name, "inputs": list(unit.inputs), "seconds": self.seconds}
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
        """Raise CancelledError where the run was cancelled."""
        if self.call.places.stop_flag(self.call.run_id).exists():
            raise CancelledError(f"run {self.call.run_id} was stopped")

    @property
    def seconds(self) -> float:
        """Time since the unit began [s]."""
        return time.monotonic() - self._began


def perform(call: Call, report: Report) -> Receipt:
    """Compute one unit, unless its key is there already; failure is a receipt too, in plain words."""
    # Only workers load the numerics (JAX, numba); the service itself stays small and starts at once.
    from service.stages import FUNCTIONS

    desk = Desk(call, report)
    if desk.units.has(call.unit.key):
        return Receipt("done")
    try:
        desk.check_stop()
        facts = FUNCTIONS[call.unit.stage](desk, **call.unit.arguments)
    except CancelledError as error:
        return Receipt("cancelled", message=str(error))
    except UnitMissingError as error:  # removed while the run counted on it: it is computed again
        return Receipt("lost", message=str(error))
    except (TaskError, StorageError, ServiceError) as error:
        return Receipt("failed", message=str(error))
    except MemoryError:
        return Receipt("failed", message="out of memory: give workers more of it, or run fewer of them")
    except Exception as error:
        if is_disk_full(error):
            return Receipt("failed", message="the disk is full: make room (see `ptyxas gc`), then try the run again")
        log.exception("unit %s of run %s", call.unit.name, call.run_id)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return Receipt("failed", message=f"{type(error).__name__}: {error} (at {where})")
    return Receipt("done", is_computed=True, seconds=desk.seconds, facts=facts)
