"""The libraries that stages import when they run, loaded ahead where a worker has nothing else to do.

They take seconds of a processor. A worker that waits, for the first scans or while another worker computes what all later
steps need, loads them meanwhile: first what the first steps of a run use.
"""

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

MODULES: Final = (
    "service.stages.pipeline",
    "tasks.ptycho.driver",
    "tasks.ptycho.orientation",
    "tasks.coupling.warm_start",
    "tasks.coupling.resolution",
    "tasks.xanes.fit",
    "tasks.figures.gallery",
    "tasks.domains.stability",
    "tasks.domains.components",
)
"""In the order of a run; each with all that it imports. dask-ml is left to the large specimens that need it: half a second."""
LOOK_S: Final = 0.1
"""Time between two looks whether a busy worker has become idle [s]."""

_importing: Final = threading.Lock()

log = logging.getLogger(__name__)


def load_ahead(
    is_busy: Callable[[], bool], has_memory_left: Callable[[], bool] = lambda: True, modules: Sequence[str] = MODULES
) -> None:
    """Import modules one after another, each while nothing is computed, for as long as memory is left.

    A module that cannot be imported is left to the step that needs it, which then says why.
    """
    waiting = deque(modules)
    while waiting and has_memory_left():
        with _importing:
            if is_idle := not is_busy():
                _import(waiting.popleft())
        if not is_idle:
            time.sleep(LOOK_S)


def pass_over_loaded() -> None:
    """Have the garbage collector pass over all objects that exist now, until `gc.unfreeze`.

    What libraries hold is never garbage, and a collection that looks at all of it stops the process for 0.2 to 0.4 s.
    """
    gc.freeze()


def _import(module: str) -> None:
    try:
        import_module(module)
    except Exception as error:
        log.warning("%s cannot be loaded ahead: %s", module, error)


def finish_import() -> None:
    """Wait until the module that is being imported ahead, if any, is there.

    Called at the beginning of a step: two threads that import libraries of the same package may see a module half-way.
    """
    with _importing:
        pass
