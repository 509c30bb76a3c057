"""Loaded by every Dask worker of a test: writes down each computation of a step as it begins, whatever becomes of it.

A preload of Dask's (`distributed.worker.preload`), named in the environment; the file to write to is in `LOG`.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any, Final

LOG: Final = "PTYXAS_TEST_LOG"


def dask_setup(worker: object) -> None:
    """Stand between every stage and whoever calls it."""
    from service.stages.pipeline import STAGES

    for stage in STAGES:
        replaced: Any = stage
        replaced.run = witnessed(stage.run)


def witnessed(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """``run``, which first leaves a line: the step's key and the time."""

    @functools.wraps(run)
    def compute(step: Any, context: Any) -> Any:
        line = f"{step.key} {time.time_ns()}\n"
        descriptor = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, line.encode())  # one write to a file opened for appending is whole or not there
        os.close(descriptor)
        return run(step, context)

    return compute
