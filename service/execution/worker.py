"""Running one step on a worker."""

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from service.errors import ServiceError, is_disk_full
from service.stages.context import IsCancelled, Report, StageContext, StepRequest, never
from service.workflow.step import Step
from storage.errors import ArtifactMissingError, StorageError
from tasks.errors import CancelledError, TaskError

GIVEN_UP_S: Final = 1.0
"""Time within which a worker hears that a step was given up. A run that was cancelled can be deleted at once, and its folder goes
from under the step that publishes it: an error of a step that nobody wants is none."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """What became of a step.

    Attributes
    ----------
    fate : str
        ``lost`` means that something the step reads is gone, so that it has to be computed again first.
    is_computed : bool
        Whether the step was computed, rather than found in the store.
    seconds, storage_seconds : float
        Time that it took, and the part of it that went into reading and writing arrays [s].
    message : str
        Why it is not done.
    attributes : mapping
        Attributes of the result, small and JSON-able: R factor, number of pixels.
    """

    fate: Literal["done", "failed", "cancelled", "lost"]
    is_computed: bool = False
    seconds: float = 0.0
    storage_seconds: float = 0.0
    message: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def perform(request: StepRequest, report: Report, is_cancelled: IsCancelled = never) -> StepResult:
    """Compute one step, unless its result is stored already; a failure is a result too, with its reason."""
    context = StageContext(request, report, is_cancelled)
    try:
        if context.artifacts.has(request.step.key):
            return StepResult("done")
        context.check_stop()
        attributes = request.step.run(context)
    except CancelledError as error:
        return StepResult("cancelled", message=str(error))
    except ArtifactMissingError as error:  # removed while the run counted on it: it is computed again
        return StepResult("lost", message=str(error))
    except (TaskError, StorageError, ServiceError) as error:
        return StepResult("failed", message=foreseen(request.step, error))
    except MemoryError:
        return StepResult("failed", message="out of memory: give workers more of it, or run fewer of them")
    except Exception as error:
        if context.is_given_up(within_s=GIVEN_UP_S):
            return StepResult("cancelled", message=f"{request.step.name} is no longer wanted, and was cut off: {error}")
        return StepResult("failed", message=unexpected(request, error))
    return StepResult("done", True, context.seconds, context.storage_s, attributes=attributes)


def foreseen(step: Step, error: Exception) -> str:
    """Message about an error that the stage foresees; a run can do without the energy to blame, or else the step's own."""
    blamed_ev = error.energy_ev if isinstance(error, TaskError) else None
    energy_ev = step.energy_ev if blamed_ev is None else blamed_ev
    return str(error) if energy_ev is None else f"{error} (align.leave_out_ev lets a run do without {energy_ev:.1f} eV.)"


def unexpected(request: StepRequest, error: Exception) -> str:
    """Message about an error that no stage foresees; where it arose is part of it, and its traceback is logged."""
    if is_disk_full(error):
        return "the disk is full: make room (see `ptyxas gc`), then try the run again"
    log.error("step %s of run %s", request.step.name, request.run_id, exc_info=error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (at {Path(place.filename).name}:{place.lineno})"
