"""Dependencies and parameters that routes share.

The functions are asynchronous, although they wait for nothing: FastAPI calls others in a thread each, which takes longer.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, Path, Query, Request

from service.api_keys import Key
from service.bootstrap import Service


async def whole_service_of(request: Request) -> Service:
    """The service of the application, with all projects."""
    service: Service = request.app.state.service
    return service


async def service_of(request: Request) -> Service:
    """The service restricted to the project of the request's key; every route gets this one."""
    service = await whole_service_of(request)
    key: Key | None = getattr(request.state, "key", None)
    return service if key is None else service.within(key)


async def key_check_of(request: Request) -> Callable[[], bool]:
    """A function that tells whether the request's key is still valid; always so where the service has no keys."""
    check: Callable[[], bool] = getattr(request.state, "is_key_valid", lambda: True)
    return check


ServiceDep = Annotated[Service, Depends(service_of)]
WholeServiceDep = Annotated[Service, Depends(whole_service_of)]
KeyCheckDep = Annotated[Callable[[], bool], Depends(key_check_of)]

DatasetId = Annotated[str, Path(max_length=100, examples=["ds_0123456789abcdef"])]
Theme = Annotated[Literal["light", "dark"], Query(description="Colours of the page that shows it.")]
RunId = Annotated[str, Path(max_length=100, examples=["run_0123456789abcdef"])]
ScanName = Annotated[
    str,
    Path(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="A name for the scan, e.g. its file's."),
]
