"""Images of a run: the figures of the analysis, and any map drawn on request."""

import hashlib
from functools import partial
from typing import Annotated, Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.dependencies import DatasetId, RunId, ServiceDep, problems
from api.problems import BusyError
from api.responses import send_bytes, send_file
from api.schemas import FigureAnswer, FigureList, ImageQuery

MOST_WAITING: Final = 40
"""Images that may wait to be drawn."""

router = APIRouter(prefix="/runs", tags=["figures"])

PNG: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "The client has the image already."},
}


@router.get("/{run_id}/figures", responses=problems(404, 409))
def list_figures(run_id: RunId, service: ServiceDep, request: Request) -> FigureList:
    """Every figure of a run."""
    figures = [
        FigureAnswer(
            name=view.name,
            title=view.title,
            dataset=view.dataset,
            url=request.url_for("get_figure", run_id=run_id, name=view.name).path,
        )
        for view in service.runs.figures(run_id)
    ]
    return FigureList(items=figures)


@router.get("/{run_id}/figures/{name}.png", response_class=Response, responses=PNG | problems(404, 409))
def get_figure(run_id: RunId, name: str, service: ServiceDep, request: Request) -> Response:
    """One figure."""
    return send_file(request, service.runs.figure_path(run_id, name), "image/png")


@router.get("/{run_id}/images/{dataset_id}/{variable}.png", response_class=Response, responses=PNG | problems(404, 409, 422, 503))
async def get_image(
    run_id: RunId,
    dataset_id: DatasetId,
    variable: str,
    query: Annotated[ImageQuery, Query()],
    service: ServiceDep,
    request: Request,
) -> Response:
    """Any map drawn as an image: ``edge_energy``, ``absorption`` at an energy, ``label`` ..."""
    drawing: CapacityLimiter = request.app.state.drawing
    if drawing.statistics().tasks_waiting >= MOST_WAITING:
        raise BusyError(f"{MOST_WAITING} images wait to be drawn already: ask again in a few seconds")
    draw = partial(service.runs.image, run_id, dataset_id, variable, **query.model_dump())
    content = await to_thread.run_sync(draw, limiter=drawing)
    return send_bytes(request, content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', "image/png")
