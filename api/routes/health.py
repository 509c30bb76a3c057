"""Liveness, readiness, versions, metrics and the way to the Dask dashboard."""

from fastapi import APIRouter, Request, Security
from fastapi.responses import PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.exceptions import HTTPException

from api.dependencies import ServiceDep, WholeServiceDep
from api.middleware.metrics import exposition
from api.openapi import BEARER, problems
from api.schemas.answers import HealthAnswer, VersionAnswer

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def get_health() -> HealthAnswer:
    """The process answers."""
    return HealthAnswer(status="ok")


@router.get("/readyz", responses=problems(503))
def get_readiness(service: ServiceDep) -> HealthAnswer:
    """Whether runs can be submitted: the catalogue answers and the scheduler can be reached."""
    reason = service.unready_reason()
    if reason is not None:
        raise HTTPException(503, reason)
    return HealthAnswer(status="ready")


@router.get("/version", dependencies=[Security(BEARER)])
def get_version(service: ServiceDep) -> VersionAnswer:
    """Versions of ptyxas and of the libraries that it computes with."""
    return VersionAnswer.model_validate(service.versions())


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[Security(BEARER)])
def get_metrics(service: WholeServiceDep, request: Request) -> PlainTextResponse:
    """Metrics in the text format of Prometheus."""
    return PlainTextResponse(exposition(service.snapshot(), request.app.state.http_metrics), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get(
    "/dask",
    status_code=307,
    response_class=RedirectResponse,
    responses=problems(503),
    dependencies=[Security(BEARER)],
)
def open_dashboard(service: ServiceDep) -> RedirectResponse:
    """Redirects to the Dask dashboard."""
    if service.dashboard_url is None:
        raise HTTPException(503, "the Dask scheduler has no dashboard, or cannot be reached")
    return RedirectResponse(service.dashboard_url)
