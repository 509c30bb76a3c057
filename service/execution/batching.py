"""Several energies as one piece of work, for a worker with a graphics card.

A batch is nothing to the store: each of its units writes its own arrays and its own marker, as it would alone. So a batch
that is lost leaves what it finished, and batches and single units serve each other.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.execution.cluster import Outcome
from service.execution.worker import StepResult, perform
from service.stages.context import IsCancelled, Report, StageContext, StepRequest, never
from service.stages.reconstruct import ReconstructStep
from service.workflow.step import Step
from tasks.errors import CancelledError

MOST_UNITS: Final = 64
"""Energies of one batch; the worker splits it further where its memory is short."""
USABLE: Final = 0.8
"""Share of a card's memory that arrays may take; the rest is the compiler's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Units of one run to be computed together."""

    calls: tuple[StepRequest, ...]


def batch_of(ready: Sequence[Step]) -> list[Step]:
    """The first units that can run together: reconstructions of one size and the same cycles; none where only one could."""
    groups: dict[object, list[Step]] = {}
    for unit in ready:
        if isinstance(unit, ReconstructStep):
            shape = (unit.scan.n_positions, unit.scan.n_pixels, unit.scan.canvas.shape)
            groups.setdefault((shape, unit.n_cycles, unit.options), []).append(unit)
    return next((units[:MOST_UNITS] for units in groups.values() if len(units) > 1), [])


def endings_of(ending: Outcome, n_units: int) -> list[Outcome]:
    """How each of the units ended that went out as one."""
    if ending.fate == "done" and isinstance(ending.result, list):
        return [Outcome("done", receipt) for receipt in ending.result]
    return [ending] * n_units


def perform_together(batch: Batch, report: Report, is_cancelled: IsCancelled = never) -> list[StepResult]:
    """What became of each unit of a batch; one that fails is performed unit by unit, so that the one at fault is named."""
    receipts: dict[str, StepResult] = {}
    desks = [StageContext(call, report, is_cancelled) for call in batch.calls]
    try:
        for part in parts([desk for desk in desks if not desk.artifacts.has(desk.request.step.key)], memory_bytes()):
            receipts |= compute(part)
    except CancelledError as error:
        return [receipts.get(call.step.name, StepResult("cancelled", message=str(error))) for call in batch.calls]
    except Exception:
        log.exception("a batch of %d units of run %s; they are computed one by one", len(desks), batch.calls[0].run_id)
    return [receipts.get(call.step.name) or perform(call, report, is_cancelled) for call in batch.calls]


def compute(desks: Sequence[StageContext]) -> Mapping[str, StepResult]:
    """Run the units of these desks in step; each writes its own result when it ends."""
    # Only workers load the numerics (JAX, numba); the service itself stays small and starts at once.
    from tasks.ptycho.driver import run_together

    for desk in desks:
        desk.check_stop()
    rounds, reconstructions = zip(*(reconstruction_of(desk).prepare(desk) for desk in desks), strict=True)
    results: dict[str, StepResult] = {}
    for number, state in run_together(reconstructions):
        desk = desks[number]
        told = rounds[number].finish(desk, state)
        results[desk.request.step.name] = StepResult("done", True, desk.seconds / len(desks), desk.storage_s, facts=told)
    return results


def parts(desks: Sequence[StageContext], limit_bytes: float) -> Iterator[list[StageContext]]:
    """The desks in groups that fit ``limit_bytes``, at least one in each."""
    part: list[StageContext] = []
    taken = 0
    for desk in desks:
        needed = unit_bytes(reconstruction_of(desk))
        if part and taken + needed > limit_bytes:
            yield part
            part, taken = [], 0
        part.append(desk)
        taken += needed
    if part:
        yield part


def reconstruction_of(desk: StageContext) -> ReconstructStep:
    """The step of a batch, which holds nothing but reconstructions."""
    step = desk.request.step
    if not isinstance(step, ReconstructStep):
        raise TypeError(f"a batch holds steps of the stage reconstruct, got {step.name}")
    return step


def unit_bytes(step: ReconstructStep) -> int:
    """Bytes that one unit takes on the device."""
    from tasks.ptycho.coherence import MOST_MODES
    from tasks.ptycho.driver import batch_bytes

    scan, options = step.scan, step.options
    n_modes = MOST_MODES if options.probe_modes == "auto" else options.probe_modes
    return batch_bytes(scan.n_positions, scan.n_pixels, n_modes, scan.canvas.shape, subpixel=options.subpixel)


def memory_bytes() -> float:
    """Bytes that a batch may take on the device of this process; no limit where it does not say (a CPU)."""
    import jax

    return USABLE * float((jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", float("inf")))
