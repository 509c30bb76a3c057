"""Several energies as one task, for a worker with a graphics card.

The store knows no batches: each step of a batch writes its own arrays and its own manifest, as it would alone. So a batch
that is lost leaves what it finished, and batches and single steps use each other's results.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.execution.worker import GIVEN_UP_S, StepResult, perform
from service.stages.context import IsCancelled, Report, StageContext, StepRequest, never
from service.stages.reconstruct import ReconstructStep
from service.workflow.step import Step
from tasks.errors import CancelledError

MIN_STEPS: Final = 2
MAX_STEPS: Final = 64
"""Energies of one batch; the worker splits it further where its memory is short."""
USABLE_MEMORY: Final = 0.8
"""Share of a card's memory that arrays may take; the rest is the compiler's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Steps of one run to be computed together."""

    requests: tuple[StepRequest, ...]


def batches_of(pending: Iterable[Step], n_parts: int = 1) -> list[tuple[Step, ...]]:
    """All steps that can be computed together with the first, in batches.

    Such steps are reconstructions of one size with the same cycles and options.

    Parameters
    ----------
    pending : iterable of Step
        In the order of their graph. A step that needs another of them is left out.
    n_parts : int
        Number of workers among which the steps are divided.

    Returns
    -------
    list of tuple of Step
        Empty where the first is no reconstruction.
    """
    steps = list(pending)
    if not steps or not isinstance(steps[0], ReconstructStep):
        return []
    kind, names = kind_of(steps[0]), {step.name for step in steps}
    reconstructions = [step for step in steps if isinstance(step, ReconstructStep)]
    alike = [step for step in reconstructions if kind_of(step) == kind and names.isdisjoint(step.needs)]
    size = min(MAX_STEPS, max(MIN_STEPS, math.ceil(len(alike) / n_parts)))
    return [tuple(alike[first : first + size]) for first in range(0, len(alike), size)]


def kind_of(step: ReconstructStep) -> object:
    """What the steps of one batch have in common."""
    return step.scan.n_positions, step.scan.n_pixels, step.scan.canvas.shape, step.n_cycles, step.options


def perform_together(batch: Batch, report: Report, is_cancelled: IsCancelled = never) -> list[StepResult]:
    """Compute the steps of a batch together; if that fails, compute them one by one, so that the one at fault is named."""
    results: dict[str, StepResult] = {}
    contexts = [StageContext(request, report, is_cancelled) for request in batch.requests]
    missing = [context for context in contexts if not context.artifacts.has(context.request.step.key)]
    try:
        for part in parts(missing, memory_bytes()):
            results |= compute(part)
    except Exception as error:
        if isinstance(error, CancelledError) or contexts[0].is_given_up(within_s=GIVEN_UP_S):
            cancelled = StepResult("cancelled", message=str(error))
            return [results.get(request.step.name, cancelled) for request in batch.requests]
        log.exception("a batch of %d steps of run %s; they are computed one by one", len(contexts), batch.requests[0].run_id)
    return [results.get(request.step.name) or perform(request, report, is_cancelled) for request in batch.requests]


def compute(contexts: Sequence[StageContext]) -> Mapping[str, StepResult]:
    """Compute the steps of these contexts in step; each writes its own result when it ends."""
    # Only workers load the numerics (JAX, numba); the service itself stays small and starts at once.
    from tasks.ptycho.driver import run_together

    for context in contexts:
        context.check_stop()
    rounds, reconstructions = zip(*(reconstruction_of(context).prepare(context) for context in contexts), strict=True)
    results: dict[str, StepResult] = {}
    for number, state in run_together(reconstructions):
        context = contexts[number]
        attributes = rounds[number].finish(context, state, reconstructions[number].warnings)
        seconds = context.seconds / len(contexts)
        results[context.request.step.name] = StepResult("done", True, seconds, context.storage_s, attributes=attributes)
    return results


def parts(contexts: Sequence[StageContext], limit_bytes: float) -> Iterator[list[StageContext]]:
    """The contexts in groups whose steps fit ``limit_bytes``, at least one in each."""
    part: list[StageContext] = []
    taken = 0
    for context in contexts:
        needed = step_bytes(reconstruction_of(context))
        if part and taken + needed > limit_bytes:
            yield part
            part, taken = [], 0
        part.append(context)
        taken += needed
    if part:
        yield part


def reconstruction_of(context: StageContext) -> ReconstructStep:
    """The step of a context in a batch, which holds nothing but reconstructions."""
    step = context.request.step
    if not isinstance(step, ReconstructStep):
        raise TypeError(f"a batch holds steps of the stage reconstruct, got {step.name}")
    return step


def step_bytes(step: ReconstructStep) -> int:
    """Bytes that one step takes on the device."""
    from tasks.ptycho.coherence import MOST_MODES
    from tasks.ptycho.driver import batch_bytes

    scan, options = step.scan, step.options
    n_modes = MOST_MODES if options.probe_modes == "auto" else options.probe_modes
    return batch_bytes(scan.n_positions, scan.n_pixels, n_modes, scan.canvas.shape, subpixel=options.subpixel)


def memory_bytes() -> float:
    """Bytes that a batch may take on the device of this process; no limit where it does not say (a CPU)."""
    import jax

    return USABLE_MEMORY * float((jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", float("inf")))
