"""The libraries that stages import when they run, loaded ahead where a worker has nothing else to do.

They take seconds of a processor. A worker that waits, for the first scans or while another worker computes what all later
steps need, loads them meanwhile: first what the first steps of a run use.
"""

import logging
import time
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
    "dask_ml.cluster",
)
"""In the order of a run; each with all that it imports."""
LOOK_S: Final = 0.1
"""Time between two looks whether a busy worker has become idle [s]."""

log = logging.getLogger(__name__)


def load_ahead(is_busy: Callable[[], bool], modules: Sequence[str] = MODULES) -> None:
    """Import modules one after another, each once nothing is computed.

    A module that cannot be imported is left to the step that needs it, which then says why.
    """
    for module in modules:
        while is_busy():
            time.sleep(LOOK_S)
        try:
            import_module(module)
        except Exception as error:
            log.warning("%s cannot be loaded ahead: %s", module, error)
