"""A unit of work as a worker sees it: it is performed, and what became of it is told."""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.errors import ServiceError, is_disk_full
from service.stages.context import IsCancelled, Report, StageContext, StepRequest, never
from storage.errors import ArtifactMissingError, StorageError
from tasks.errors import CancelledError, TaskError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """What became of a unit; ``facts`` are small and JSON-able (R factor, number of pixels)."""

    fate: Literal["done", "failed", "cancelled", "lost"]
    is_computed: bool = False
    seconds: float = 0.0
    storage_seconds: float = 0.0
    """The part of ``seconds`` that went into reading and writing arrays."""
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def perform(call: StepRequest, report: Report, is_cancelled: IsCancelled = never) -> StepResult:
    """Compute one unit, unless its key is there already; failure is a receipt too, in plain words."""
    desk = StageContext(call, report, is_cancelled)
    if desk.artifacts.has(call.step.key):
        return StepResult("done")
    try:
        desk.check_stop()
        facts = call.step.run(desk)
    except CancelledError as error:
        return StepResult("cancelled", message=str(error))
    except ArtifactMissingError as error:  # removed while the run counted on it: it is computed again
        return StepResult("lost", message=str(error))
    except (TaskError, StorageError, ServiceError) as error:
        return StepResult("failed", message=str(error))
    except MemoryError:
        return StepResult("failed", message="out of memory: give workers more of it, or run fewer of them")
    except Exception as error:
        if is_disk_full(error):
            return StepResult("failed", message="the disk is full: make room (see `ptyxas gc`), then try the run again")
        log.exception("unit %s of run %s", call.step.name, call.run_id)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return StepResult("failed", message=f"{type(error).__name__}: {error} (at {where})")
    return StepResult("done", is_computed=True, seconds=desk.seconds, storage_seconds=desk.storage_s, facts=facts)
