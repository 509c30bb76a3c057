"""Runs: submit, list, show, cancel, retry, delete."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from api.dependencies import RunId, ServiceDep
from api.openapi import problems
from api.pagination import Paging, RunQuery, cursor_of
from api.responses import send_answer
from api.schemas.answers import Page, RunAnswer
from api.schemas.requests import RunBody, RunChanges

router = APIRouter(prefix="/runs", tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="A second request with the same key and body names the same run."),
]


@router.post("", status_code=202, responses=problems(404, 409, 422, 429, 503, 507))
def submit_run(
    body: RunBody,
    service: ServiceDep,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> RunAnswer:
    """Start a run. On an open dataset it is live: each energy is reconstructed as it arrives."""
    view = service.runs.submit(body.datasets, service.references.resolved(body.options), body.name, idempotency_key)
    response.headers["Location"] = str(request.url_for("get_run", run_id=view.id).path)
    return RunAnswer.model_validate(view)


@router.get("", responses=problems(422))
def list_runs(
    service: ServiceDep, paging: Annotated[Paging, Depends()], query: Annotated[RunQuery, Depends()]
) -> Page[RunAnswer]:
    """All runs, or those that are searched for, newest first."""
    page = service.runs.page(paging.limit, paging.after, query.matching)
    return Page(items=[RunAnswer.model_validate(view) for view in page.items], next_cursor=cursor_of(page.end))


@router.get("/{run_id}", response_model=RunAnswer, responses=problems(404))
def get_run(run_id: RunId, service: ServiceDep) -> Response:
    """State, stages and progress of a run."""
    return send_answer(RunAnswer.model_validate(service.runs.get(run_id)))


@router.post("/{run_id}/cancel", status_code=202, responses=problems(404, 409))
def cancel_run(run_id: RunId, service: ServiceDep) -> RunAnswer:
    """Stop a run within two seconds; finished steps are kept."""
    return RunAnswer.model_validate(service.runs.cancel(run_id))


@router.post("/{run_id}/retry", status_code=202, responses=problems(404, 409, 422, 429))
def retry_run(run_id: RunId, service: ServiceDep) -> RunAnswer:
    """Continue a failed or cancelled run from its finished steps."""
    return RunAnswer.model_validate(service.runs.retry(run_id))


@router.patch("/{run_id}", responses=problems(404, 422))
def change_run(run_id: RunId, body: RunChanges, service: ServiceDep) -> RunAnswer:
    """Give a run another name."""
    return RunAnswer.model_validate(service.runs.rename(run_id, body.name))


@router.delete("/{run_id}", status_code=204, responses=problems(404, 409))
def delete_run(run_id: RunId, service: ServiceDep) -> None:
    """Delete a run and its results."""
    service.runs.delete(run_id)
