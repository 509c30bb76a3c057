"""Whether the service is there and what it is doing, for those who watch over it."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, RedirectResponse
from starlette.exceptions import HTTPException

from api.dependencies import ServiceDep, WholeServiceDep, problems
from api.middleware.metrics import CONTENT_TYPE, measure_lines
from api.schemas import HealthAnswer, VersionAnswer

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def get_health() -> HealthAnswer:
    """The process answers."""
    return HealthAnswer(status="ok")


@router.get("/readyz", responses=problems(503))
def get_readiness(service: ServiceDep) -> HealthAnswer:
    """Catalogue and scheduler are there: runs can be submitted."""
    reason = service.unready_reason()
    if reason is not None:
        raise HTTPException(503, reason)
    return HealthAnswer(status="ready")


@router.get("/version")
def get_version(service: ServiceDep) -> VersionAnswer:
    """Versions of ptyxas and of what it stands on."""
    return VersionAnswer.model_validate(service.versions())


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(service: WholeServiceDep, request: Request) -> PlainTextResponse:
    """Counters for Prometheus."""
    lines = [*measure_lines(service.measures()), *request.app.state.counts.lines()]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=CONTENT_TYPE)


@router.get("/dask", status_code=307, response_class=RedirectResponse, responses=problems(503))
def open_dashboard(service: ServiceDep) -> RedirectResponse:
    """To the Dask dashboard."""
    if service.dashboard_url is None:
        raise HTTPException(503, "the Dask scheduler has no dashboard, or cannot be reached")
    return RedirectResponse(service.dashboard_url)
