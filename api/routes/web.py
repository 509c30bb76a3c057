"""The web page: datasets, runs, and one of them in full."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.dependencies import DatasetId, ServiceDep, service_of
from api.pages.templating import TEMPLATES
from api.problems import answer_http_error, answer_known_error
from api.schemas.text import Line
from service.bootstrap import Service
from service.errors import NotFoundError, ResultsLostError, ResultsNotReadyError
from service.records.views import DatasetFilter, DatasetView, FigureView, RunFilter, RunView
from service.results.exports import TITLES
from service.uploads.formats import IMAGE_FORMATS, SCAN_FORMATS

router = APIRouter(include_in_schema=False)

N_SHOWN: Final = 30
"""Datasets and runs on the page; the API has the rest."""

STAGES: Final = {
    "orientation": "Orientation of the detector",
    "reconstruct": "Reconstruct every energy",
    "couple": "Couple the energies (Kramers–Kronig)",
    "spectra": "Spectra on one grid",
    "fit": "Fit every pixel",
    "maps": "Chemical maps",
    "references": "Mixtures of reference compounds",
    "domains": "Domains",
    "results": "Publish the results",
    "figures": "Figures",
}

MAPS: Final = {
    "edge_energy": "Edge energy",
    "pre_edge_ratio": "Pre-edge area / edge jump",
    "electron_ratio": "Electrons per absorbing atom",
    "n_absorber": "Absorbing atoms per area",
    "edge_jump": "Edge jump",
    "white_line_height": "White line height",
    "edge_energy_sigma": "Edge energy, standard error",
    "residual": "Residual of the fit",
    "status": "Status of the fit",
    "label": "Domains",
}

SPECTRA: Final = {"absorption": "Absorption", "phase": "Phase"}


@router.get("/", response_class=HTMLResponse)
def get_page(
    service: ServiceDep,
    request: Request,
    run: Annotated[str | None, Query(max_length=100)] = None,
    q: Annotated[Line, Query()] = "",
) -> Response:
    """Datasets and runs, all or those that are searched for, and one run in full: the one asked for, or the newest."""
    chosen = service.runs.get(run) if run else next(iter(service.runs.page(1).items), None)
    measured = measured_by(service, chosen)
    named = {view.id: view.title for view in measured}
    of_run = {name: named.get(name, name) for name in (chosen.datasets if chosen else ())}
    figures = figures_of(service, chosen)
    return page(service, request, run=chosen, q=q, figures=figures, measured=measured, titles_of_run=of_run)


@router.get("/datasets/{dataset_id}", response_class=HTMLResponse)
def get_dataset_page(service: ServiceDep, request: Request, dataset_id: DatasetId) -> Response:
    """One dataset in full."""
    return page(service, request, dataset=service.datasets.get(dataset_id))


@router.get("/docs", response_class=HTMLResponse)
def get_docs(request: Request) -> Response:
    """The browsable API."""
    return TEMPLATES.TemplateResponse(request, "docs.html", {"document": request.app.openapi_url})


def page(service: Service, request: Request, status: int = 200, q: str = "", **shown: Any) -> Response:
    """The page with the lists of datasets and runs that match ``q``, and ``shown`` beside them."""
    datasets = service.datasets.page(N_SHOWN, matching=DatasetFilter(text=q or None)).items
    runs = service.runs.page(N_SHOWN, matching=RunFilter(text=q or None)).items
    words = {
        "stages": STAGES,
        "image_names": MAPS | SPECTRA,
        "spectra": SPECTRA,
        "exports": TITLES,
        "scan_formats": SCAN_FORMATS,
        "image_formats": IMAGE_FORMATS,
        "versions": service.versions(),
    }
    found = {"q": q, "runs": runs, "datasets": datasets, "titles": {view.id: view.title for view in datasets}}
    return TEMPLATES.TemplateResponse(request, "index.html", words | found | shown, status)


async def answer_unknown(request: Request, error: Exception) -> Response:
    """The answer to an error; a page where a browser asked for one that is not there."""
    answer = answer_http_error(request, error) if isinstance(error, HTTPException) else answer_known_error(request, error)
    is_page = not request.url.path.startswith(("/api/", "/assets/")) and "text/html" in request.headers.get("accept", "")
    if answer.status_code != 404 or not is_page:
        return answer
    unknown = f"There is no page {request.url.path}." if isinstance(error, HTTPException) else str(error)
    return await run_in_threadpool(page, await service_of(request), request, 404, unknown=unknown)


@dataclass(frozen=True)
class Shown:
    """A figure and its size [px], which the page must know before the picture has come."""

    figure: FigureView
    width: int
    height: int


def figures_of(service: Service, run: RunView | None) -> list[Shown]:
    """Figures there are of ``run``, none before it has any."""
    try:
        figures = service.runs.results.figures(run.id) if run else []
        return [Shown(figure, *size_of_png(service.runs.results.figure(run.id, figure.name))) for figure in figures if run]
    except (NotFoundError, ResultsLostError, ResultsNotReadyError):
        return []


def size_of_png(file: Path | bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG [px]."""
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        width, height = struct.unpack(">16xII", stream.read(24))
    return width, height


def measured_by(service: Service, run: RunView | None) -> list[DatasetView]:
    """Datasets of ``run`` that still exist."""
    found = []
    for dataset_id in run.datasets if run else ():
        try:
            found.append(service.datasets.get(dataset_id))
        except NotFoundError:
            continue
    return found
