"""Dependencies and parameters that routes share, and the documentation of their errors."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPBearer

from api.problems import MEDIA_TYPE
from api.schemas import ProblemAnswer
from service.api_keys import Key
from service.bootstrap import Service


def whole_service_of(request: Request) -> Service:
    """The service of the application, with all projects."""
    service: Service = request.app.state.service
    return service


def service_of(request: Request) -> Service:
    """The service restricted to the project of the request's key; every route gets this one."""
    service = whole_service_of(request)
    key: Key | None = getattr(request.state, "key", None)
    return service if key is None else service.within(key)


def key_check_of(request: Request) -> Callable[[], bool]:
    """A function that tells whether the request's key is still valid; always so where the service has no keys."""
    check: Callable[[], bool] = getattr(request.state, "is_key_valid", lambda: True)
    return check


BEARER: Final = HTTPBearer(
    scheme_name="ApiKey", auto_error=False, description="An API key, where the service has keys; as Basic password, too."
)
"""The scheme that the OpenAPI document names; keys are checked by the middleware, before a route is looked up."""

ServiceDep = Annotated[Service, Depends(service_of)]
WholeServiceDep = Annotated[Service, Depends(whole_service_of)]
KeyCheckDep = Annotated[Callable[[], bool], Depends(key_check_of)]

DatasetId = Annotated[str, Path(max_length=100, examples=["ds_0123456789abcdef"])]
Theme = Annotated[Literal["light", "dark"], Query(description="Colours of the page that shows it.")]
RunId = Annotated[str, Path(max_length=100, examples=["run_0123456789abcdef"])]
ScanName = Annotated[
    str,
    Path(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", description="A name for the scan, e.g. its file's."),
]

REASONS: Final = {
    400: "The request cannot be read.",
    401: "A key is needed, where the service has keys.",
    403: "Not allowed.",
    404: "No such thing.",
    409: "Not possible in the present state.",
    410: "No longer there.",
    413: "More bytes than accepted.",
    416: "The range lies beyond the end.",
    421: "Sent to another name than this machine's, where the service has no keys.",
    422: "The input cannot be used; `errors` names every field at fault.",
    429: "More runs than the project may have at the same time.",
    500: "The service failed; its log has the reason.",
    503: "Not ready.",
    507: "Too little free disk.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems a route may answer with."""
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}}
    return {status: {"description": REASONS[status], "content": {MEDIA_TYPE: schema}} for status in statuses}


def drawn_as(media_type: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of a route that answers with an image of a media type."""
    return {
        200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "The client has the image already."},
    }


PNG: Final = drawn_as("image/png")
PDF: Final = drawn_as("application/pdf")
SVG: Final = drawn_as("image/svg+xml")
