"""The web page."""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from api.dependencies import ServiceDep
from api.wording import bytes_in_words, energies_in_words, seconds_in_words
from service.bootstrap import Service
from service.errors import NotFoundError, ResultsNotReadyError

router = APIRouter(include_in_schema=False)

TEMPLATES: Final = Jinja2Templates(directory=Path(__file__).parents[1] / "pages" / "templates")
TEMPLATES.env.filters |= {"size": bytes_in_words, "duration": seconds_in_words, "energies": energies_in_words}
TEMPLATES.env.trim_blocks = TEMPLATES.env.lstrip_blocks = True

N_SHOWN: Final = 30
"""Datasets and runs on the page; the API has the rest."""

STAGES: Final = {
    "reconstruct": "Reconstruct every energy",
    "couple": "Couple the energies (Kramers–Kronig)",
    "spectra": "Spectra on one grid",
    "fit": "Fit every pixel",
    "maps": "Chemical maps",
    "domains": "Domains",
    "figures": "Figures",
    "results": "Publish the results",
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
    service: ServiceDep, request: Request, run: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """Datasets, runs, and one run in full: the one asked for, or the newest."""
    runs = sorted(service.runs.list(), key=lambda view: str(view.created), reverse=True)[:N_SHOWN]
    datasets = sorted(service.datasets.list(), key=lambda view: str(view.created), reverse=True)[:N_SHOWN]
    chosen = service.runs.get(run) if run else next(iter(runs), None)
    words = {"stages": STAGES, "maps": MAPS, "spectra": SPECTRA, "versions": service.versions()}
    found = {"runs": runs, "datasets": datasets, "titles": {view.id: view.title for view in datasets}}
    measured = measured_by(service, chosen)
    many = any(len(view.energies_ev) > 1 for view in measured)
    shown = {"run": chosen, "figures": figures_of(service, chosen), "measured": measured, "many_energies": many}
    return TEMPLATES.TemplateResponse(request, "index.html", words | found | shown)


def figures_of(service: Service, run: Any) -> list[Any]:
    """Figures there are of ``run``, none before it has any."""
    try:
        return list(service.runs.figures(run.id)) if run else []
    except (NotFoundError, ResultsNotReadyError):
        return []


def measured_by(service: Service, run: Any) -> list[Any]:
    """Datasets of ``run`` that still exist."""
    found = []
    for dataset_id in run.datasets if run else ():
        try:
            found.append(service.datasets.get(dataset_id))
        except NotFoundError:
            continue
    return found
