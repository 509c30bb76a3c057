"""Images of a run: the figures of the analysis, and any map drawn on request."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from api.dependencies import DatasetId, RunId, ServiceDep, Theme
from api.openapi import PDF, PNG, SVG, problems
from api.responses import send_drawing, send_file
from api.schemas.answers import FigureAnswer, FigureList
from api.schemas.requests import ImageQuery
from service.results.figures import MEDIA_TYPES

router = APIRouter(prefix="/runs", tags=["figures"])


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
        for view in service.runs.results.figures(run_id)
    ]
    return FigureList(items=figures)


@router.get("/{run_id}/figures/{name}.png", response_class=Response, responses=PNG | problems(404, 409, 503))
async def get_figure(run_id: RunId, name: str, service: ServiceDep, request: Request, theme: Theme = "light") -> Response:
    """One figure, on white as it was drawn at the end of the run, or drawn anew for a dark page."""
    results = service.runs.results
    if theme == "dark":
        return await send_drawing(request, partial(results.drawn_figure, run_id, name, "dark"))
    return send_file(request, await run_in_threadpool(results.figure, run_id, name), "image/png")


@router.get("/{run_id}/figures/{name}.pdf", response_class=Response, responses=PDF | problems(404, 409, 503))
async def get_figure_pdf(run_id: RunId, name: str, service: ServiceDep, request: Request) -> Response:
    """One figure as PDF, with its text as text."""
    return await send_drawing(request, partial(service.runs.results.drawn_figure, run_id, name, "pdf"), MEDIA_TYPES["pdf"])


@router.get("/{run_id}/figures/{name}.svg", response_class=Response, responses=SVG | problems(404, 409, 503))
async def get_figure_svg(run_id: RunId, name: str, service: ServiceDep, request: Request) -> Response:
    """One figure as SVG, with its text as text."""
    return await send_drawing(request, partial(service.runs.results.drawn_figure, run_id, name, "svg"), MEDIA_TYPES["svg"])


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
    return await send_drawing(request, partial(service.runs.results.image, run_id, dataset_id, variable, **query.model_dump()))
