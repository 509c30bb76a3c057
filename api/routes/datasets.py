"""Datasets and their scans."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Request, Response

from api.dependencies import DatasetId, ScanName, ServiceDep, Theme
from api.openapi import PNG, Answers, problems, upload_of
from api.pagination import DatasetQuery, Paging, cursor_of
from api.responses import send_drawing
from api.schemas.answers import DatasetAnswer, Page, ScanAnswer
from api.schemas.requests import DatasetBody, DatasetChanges, RegisterBody
from service.uploads.formats import IMAGE_FORMATS, SCAN_FORMATS

router = APIRouter(prefix="/datasets", tags=["datasets"])

FILE_BODY: Final = upload_of(f"One file. Measurements: {'; '.join(SCAN_FORMATS)}. Images: {'; '.join(IMAGE_FORMATS)}.")
SAME_BYTES: Final[Answers] = {200: {"model": ScanAnswer, "description": "The same bytes were there."}}


@router.post("", status_code=201, responses=problems(422))
def create_dataset(body: DatasetBody, service: ServiceDep, request: Request, response: Response) -> DatasetAnswer:
    """Create a dataset of one specimen; its scans are sent afterwards, one energy at a time."""
    view = service.datasets.create(body.model_dump(mode="json"))
    response.headers["Location"] = str(request.url_for("get_dataset", dataset_id=view.id).path)
    return DatasetAnswer.model_validate(view)


@router.post("/register", status_code=201, responses=problems(403, 422))
def register_dataset(body: RegisterBody, service: ServiceDep, request: Request, response: Response) -> DatasetAnswer:
    """Create a sealed dataset of files under one of the service's ``register_roots``."""
    view = service.datasets.register(body.path, body.model_dump(mode="json", exclude={"path"}))
    response.headers["Location"] = str(request.url_for("get_dataset", dataset_id=view.id).path)
    return DatasetAnswer.model_validate(view)


@router.get("", responses=problems(422))
def list_datasets(
    service: ServiceDep, paging: Annotated[Paging, Depends()], query: Annotated[DatasetQuery, Depends()]
) -> Page[DatasetAnswer]:
    """All datasets, or those that are searched for, newest first."""
    page = service.datasets.page(paging.limit, paging.after, query.matching)
    return Page(items=[DatasetAnswer.model_validate(view) for view in page.items], next_cursor=cursor_of(page.end))


@router.get("/{dataset_id}", responses=problems(404))
def get_dataset(dataset_id: DatasetId, service: ServiceDep) -> DatasetAnswer:
    """State, energies, shapes and bytes of a dataset."""
    return DatasetAnswer.model_validate(service.datasets.get(dataset_id))


@router.patch("/{dataset_id}", responses=problems(404, 409, 422))
def change_dataset(dataset_id: DatasetId, body: DatasetChanges, service: ServiceDep) -> DatasetAnswer:
    """Change title, labels, and the specimen's name and group."""
    return DatasetAnswer.model_validate(service.datasets.change(dataset_id, body.model_dump(exclude_none=True)))


@router.get("/{dataset_id}/scans/{name}/overview.png", response_class=Response, responses=PNG | problems(404, 409, 503))
async def get_scan_overview(
    dataset_id: DatasetId, name: str, service: ServiceDep, request: Request, theme: Theme = "light"
) -> Response:
    """Mean diffraction pattern of one scan, and the positions of the probe."""
    return await send_drawing(request, partial(service.datasets.overview, dataset_id, name, theme == "dark"))


@router.put(
    "/{dataset_id}/scans/{name}",
    status_code=201,
    openapi_extra=FILE_BODY,
    responses=problems(400, 404, 409, 413, 422, 507) | SAME_BYTES,
)
async def put_scan(
    dataset_id: DatasetId,
    name: ScanName,
    service: ServiceDep,
    request: Request,
    response: Response,
    content_digest: Annotated[str | None, Header(examples=["sha-256=:<base64>:"])] = None,
) -> ScanAnswer:
    """Send the scan of one energy; it becomes visible whole, or not at all."""
    view, created = await service.datasets.put_scan(dataset_id, name, request.stream(), content_digest)
    response.status_code = 201 if created else 200
    return ScanAnswer.model_validate(view)


@router.post("/{dataset_id}/seal", responses=problems(404, 409, 422))
def seal_dataset(dataset_id: DatasetId, service: ServiceDep) -> DatasetAnswer:
    """Seal a dataset, which then takes no more scans."""
    return DatasetAnswer.model_validate(service.datasets.seal(dataset_id))


@router.delete("/{dataset_id}", status_code=204, responses=problems(404, 409))
def delete_dataset(dataset_id: DatasetId, service: ServiceDep) -> None:
    """Delete a dataset and its scans."""
    service.datasets.delete(dataset_id)
