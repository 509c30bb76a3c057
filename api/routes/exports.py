"""Results as files of other programs."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.dependencies import RunId, ServiceDep
from api.openapi import FILE, problems
from api.responses import send_export
from service.results.exports import TITLES

router = APIRouter(prefix="/runs", tags=["results"])

NAMED: Final = "; ".join(f"`{name}` {title}" for name, title in TITLES.items())


@router.get("/{run_id}/export", response_class=Response, responses=FILE | problems(404, 409, 422, 503, 507))
async def get_export(
    run_id: RunId,
    service: ServiceDep,
    request: Request,
    form: Annotated[str, Query(alias="format", max_length=40, description=f"{NAMED}.", json_schema_extra={"enum": list(TITLES)})],
    dataset: Annotated[str | None, Query(max_length=100, description="The only dataset of the file; all without it.")] = None,
) -> Response:
    """The published results as one file."""
    return await send_export(request, partial(service.runs.results.export, run_id, form, dataset))
