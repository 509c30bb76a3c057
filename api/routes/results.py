"""The results store over HTTP, key by key, for readers of Zarr."""

from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.dependencies import RunId, ServiceDep
from api.openapi import FILE, problems
from api.problems import GoneError
from api.responses import send_file
from service.errors import NotFoundError

router = APIRouter(prefix="/runs", tags=["results"])

PATH: Final = "/{run_id}/results.zarr/{key:path}"
METADATA: Final = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
ANSWERS: Final = (
    problems(404, 409, 410, 416)
    | FILE
    | {
        206: {"description": "The byte range asked for."},
        304: {"description": "The client has the file already."},
    }
)


def stored_file(run_id: RunId, key: str, service: ServiceDep) -> Path | bytes:
    """The file of ``key`` in a sealed store, or its content.

    A reader of Zarr takes 404 on a chunk for fill values. So 404 is answered for metadata, and for chunks that a sealed
    store does not have; a chunk of a run that does not exist (any more) is answered 410.
    """
    try:
        service.runs.get(run_id)
    except NotFoundError as error:
        if key.rpartition("/")[2] in METADATA:
            raise
        raise GoneError(str(error)) from error
    found: Path | bytes = service.runs.results.file(run_id, key)
    return found


StoredFile = Annotated[Path | bytes, Depends(stored_file)]


@router.get(PATH, response_class=Response, responses=ANSWERS)
def get_results_key(request: Request, key: str, file: StoredFile) -> Response:
    """One key of the results store; open the whole with ``xr.open_datatree(url, engine="zarr")``."""
    media_type = "application/json" if key.rpartition("/")[2] == "zarr.json" else "application/octet-stream"
    return send_file(request, file, media_type)


@router.head(PATH, response_class=Response, responses=ANSWERS)
def head_results_key(request: Request, key: str, file: StoredFile) -> Response:
    """Size and validators of one key of the results store."""
    return get_results_key(request, key, file)
