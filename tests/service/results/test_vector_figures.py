"""Figures as PDF and SVG of a run whose steps are gone; whole ones are drawn in `tests/end_to_end/test_main_job.py`."""

from pathlib import Path

import pytest

from service.errors import ConflictError
from service.results.vector_figures import draw_vector_figure
from service.stages.context import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas


def test_what_is_missing_is_said_where_steps_are_gone(tmp_path: Path) -> None:
    scan = ScanInput("s0", 5420.0, 16, 32, "", Canvas((64, 64), 1.5e-8, (0.0, 0.0)))
    measured = RunInput("ds_a", "ds_a", "g", "LiVO2", {"element": "V", "edge": "K"}, {}, (scan,))
    graph = build_graph([measured], RunOptions(), "run_1")
    with pytest.raises(ConflictError, match="steps that they show have been removed since it ended; a new run"):
        draw_vector_figure(graph, DataPaths(tmp_path, tmp_path, tmp_path), "elbow", "pdf")
