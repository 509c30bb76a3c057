"""Reference spectra of a project: keep, list, read, forget."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from api.dependencies import ServiceDep
from api.openapi import problems, upload_of
from api.schemas.answers import Answer

router = APIRouter(prefix="/references", tags=["references"])

ReferenceName = Annotated[
    str,
    Path(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", description="A name for the spectrum, e.g. its compound's."),
]
FILE_BODY: Final = upload_of("XDI, a project of Athena (.prj), or columns of text (.nor, .xmu and others).")


class ReferenceAnswer(Answer):
    """A spectrum that the project keeps."""

    name: str
    """What runs name it by, in ``references.names``."""
    title: str
    """What its file calls it."""
    formula: str
    element: str
    edge: str
    n_points: int
    first_ev: float
    last_ev: float
    fault: str
    """Why it cannot be used; empty where it can."""


class ReferenceList(BaseModel):
    """Spectra by name."""

    items: list[ReferenceAnswer]


@router.put("/{name}", status_code=201, openapi_extra=FILE_BODY, responses=problems(413, 422))
async def put_reference(name: ReferenceName, service: ServiceDep, request: Request) -> ReferenceList:
    """Keep the spectrum of a file, or each of several as ``name.1``, ``name.2`` and so on; one of the same name is replaced."""
    views = await service.references.put(name, request.stream())
    return ReferenceList(items=[ReferenceAnswer.model_validate(view) for view in views])


@router.get("")
def list_references(service: ServiceDep) -> ReferenceList:
    """All spectra that the project keeps."""
    return ReferenceList(items=[ReferenceAnswer.model_validate(view) for view in service.references.views()])


@router.get("/{name}", response_class=PlainTextResponse, responses=problems(404, 409))
def get_reference(name: ReferenceName, service: ServiceDep) -> PlainTextResponse:
    """A spectrum as XDI."""
    return PlainTextResponse(service.references.text(name))


@router.delete("/{name}", status_code=204, responses=problems(404))
def delete_reference(name: ReferenceName, service: ServiceDep) -> None:
    """Forget a spectrum; runs that were submitted with it have it still."""
    service.references.remove(name)
