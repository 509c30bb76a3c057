"""Where the embedded workers keep what JAX compiles, so that no worker and no later start compiles it again."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Final

MIN_COMPILE_S: Final = 0.1
"""What takes JAX longer to compile than this [s] is kept: a first step takes 5 s of a processor less where it is found."""


def compiled_code_environment(folder: Path) -> dict[str, str]:
    """Environment in which workers share what JAX compiles, in a folder of this kind of processor.

    Code compiled for one processor may use instructions that another lacks, and a data folder may be served by one machine after
    another. An operator's own ``JAX_COMPILATION_CACHE_DIR`` is kept.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return {}
    kind = f"{platform.machine()}-{hashlib.sha256(_processor().encode()).hexdigest()[:12]}"
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / kind),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(MIN_COMPILE_S),
    }


def _processor() -> str:
    """Model and features of the processor, as Linux lists them; elsewhere what Python knows."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))
    return platform.processor()
