"""Loaded by every Dask worker of a test: of a run's figures those are drawn that the test looks at, or one if it looks at none.

A preload of Dask's (`distributed.worker.preload`), named in the environment. Figures take as much of a processor as a small run.
"""

from pathlib import Path
from typing import Any


def mark_of(data_dir: Path, run_id: str) -> Path:
    """The file that says so of a run, beside the service's data folder: the beginnings of the names of those it looks at."""
    data_dir = data_dir.resolve()
    return data_dir.with_name(f"{data_dir.name}.undrawn") / run_id


def dask_setup(worker: object) -> None:
    """Stand between the stage and its figures."""
    from service.stages import figures

    every = figures.drawings

    def drawings(context: Any, step: Any) -> dict[str, Any]:
        found, runs = every(context, step), context.paths.stop_flags or context.paths.runs
        mark = mark_of(runs.parent, context.request.run_id)
        if not mark.exists():
            return found
        looked_at = tuple(mark.read_text().split())
        return {name: one for name, one in found.items() if name.startswith(looked_at)} or dict(list(found.items())[-1:])

    replaced: Any = figures
    replaced.drawings = drawings
