"""Figures of a finished run as PDF or SVG, drawn when they are asked for from the run's finished steps."""

from collections.abc import Mapping
from typing import Final, Literal

from service.errors import ConflictError, NotFoundError
from service.stages.context import DataPaths, StageContext, StepRequest
from service.stages.figures import FiguresStep
from service.workflow.graph import Graph
from storage.errors import ArtifactMissingError

VectorFormat = Literal["pdf", "svg"]

MEDIA_TYPES: Final[Mapping[VectorFormat, str]] = {"pdf": "application/pdf", "svg": "image/svg+xml"}
"""What a file of each format is to a browser."""


def draw_vector_figure(graph: Graph, paths: DataPaths, name: str, file_format: VectorFormat) -> bytes:
    """One figure of a run, with text as text and maps as embedded images.

    Parameters
    ----------
    graph : Graph
        The run's steps, which have to be finished.
    paths : DataPaths
    name : str
        Name of the figure.
    file_format : "pdf" or "svg"

    Raises
    ------
    NotFoundError
        The run has no figure of that name.
    ConflictError
        Steps that the figure is drawn from have been removed.
    """
    step = next(step for step in graph.steps.values() if isinstance(step, FiguresStep))
    context = StageContext(StepRequest(step.run_id, step, paths), lambda _: None)
    try:
        figures = step.drawings(context)
    except ArtifactMissingError as error:
        raise ConflictError(
            f"figures of run {step.run_id} cannot be drawn as {file_format.upper()}: steps that they show have been removed "
            "since it ended; a new run with the same options computes them again; the PNG is there"
        ) from error
    if name not in figures:
        raise NotFoundError(f"run {step.run_id} has no figure {name!r}")
    return figures[name].draw_vector(file_format)
