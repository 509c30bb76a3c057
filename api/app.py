"""The application: routes, middleware and error handlers over one service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Security
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.dependencies import BEARER, problems
from api.middleware.api_keys import ApiKeyCheck
from api.middleware.cors import ApiCors
from api.middleware.etags import JsonETags
from api.middleware.internal_errors import InternalErrors
from api.middleware.metrics import HttpMetrics, HttpMetricsMiddleware
from api.middleware.security import SecurityChecks
from api.problems import add_error_handlers
from api.routes import (
    datasets,
    documentation,
    energies,
    events,
    exports,
    figures,
    foils,
    health,
    options,
    references,
    results,
    runs,
    spectra,
    web,
)
from api.schemas import ProblemAnswer
from api.turns import Turns
from service.api_keys import ApiKeys
from service.bootstrap import Service
from service.errors import NotFoundError
from service.settings import LOOPBACK_HOSTS, Settings

PREFIX: Final = "/api/v1"
MOST_DRAWINGS_WAITING: Final = 40
"""Images that may wait to be drawn, two at a time; they hold up nothing else meanwhile."""
MOST_EXPORTS_WAITING: Final = 8
"""Exports that may wait to be written, two at a time."""
PAGES: Final = Path(__file__).parent / "pages"

DESCRIPTION: Final = """
Diffraction patterns at many energies in, maps of chemical state and
nanoscale domains out, as Zarr and PNG.

Create a dataset, `PUT` one file an energy, seal it, start a run, follow its events, open its results:

    xr.open_datatree("http://127.0.0.1:8000/api/v1/runs/<id>/results.zarr", engine="zarr")

Every error is an `application/problem+json` (RFC 9457) with a stable `code`; `errors` names the fields at fault.
"""


def create_app(service: Service) -> FastAPI:
    """The application over ``service``, which it starts and stops with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        try:
            yield
        finally:
            app.state.closing.set()
            await run_in_threadpool(service.stop)

    app = FastAPI(
        title="ptyxas",
        summary="X-ray spectroscopic ptychography as a service",
        description=DESCRIPTION,
        version=service.versions()["ptyxas"],
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # its scripts come from elsewhere, and a beamline's network may have no elsewhere
        redoc_url=None,
        generate_unique_id_function=name_of,
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.http_metrics = HttpMetrics()
    app.state.keys = None
    app.state.closing = asyncio.Event()
    busy = f"{MOST_DRAWINGS_WAITING} images wait to be drawn already: ask again in a few seconds"
    app.state.drawing = Turns(2, MOST_DRAWINGS_WAITING, busy)
    app.state.exporting = Turns(
        2, MOST_EXPORTS_WAITING, f"{MOST_EXPORTS_WAITING} exports wait to be written already: ask again later"
    )
    contract = APIRouter(prefix=PREFIX, dependencies=[Security(BEARER)])
    for noun in (datasets, foils, references, runs, energies, events, results, exports, spectra, figures, options):
        contract.include_router(noun.router)
    app.include_router(contract)
    app.include_router(health.router)
    app.include_router(web.router)
    app.include_router(documentation.router)
    app.mount("/assets", StaticFiles(directory=PAGES / "assets"), name="assets")
    add_error_handlers(app)
    for error in (NotFoundError, HTTPException):
        app.add_exception_handler(error, web.answer_unknown)
    add_middleware(app, service.settings)
    document_problems(app, needs_key=service.settings.api_keys_file is not None)
    return app


def add_middleware(app: FastAPI, settings: Settings) -> None:
    """Wrap ``app`` in its middleware, the innermost first."""
    hosts = None
    app.add_middleware(JsonETags)
    if settings.api_keys_file is not None:
        app.state.keys = ApiKeys(settings.api_keys_file)
        app.add_middleware(ApiKeyCheck, keys=app.state.keys)
    else:
        hosts = LOOPBACK_HOSTS.union(settings.allowed_hosts)
    if settings.cors_origins:
        app.add_middleware(ApiCors, origins=settings.cors_origins, prefix=PREFIX)
    app.add_middleware(InternalErrors)
    app.add_middleware(SecurityChecks, hosts=hosts, origins=settings.cors_origins)
    app.add_middleware(HttpMetricsMiddleware, metrics=app.state.http_metrics)


def name_of(route: APIRoute) -> str:
    """Name of an operation: that of the route's function."""
    return route.name


def document_problems(app: FastAPI, needs_key: bool) -> None:
    """Describe problems in the OpenAPI document of ``app`` in place of FastAPI's own errors; keys are optional if not needed."""
    make_document = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make_document()
            for method, operation in (item for path in document["paths"].values() for item in path.items()):
                document_operation(method, operation)
                if "security" in operation and not needs_key:
                    operation["security"].append({})
            schemas = document["components"]["schemas"]
            problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas[ProblemAnswer.__name__] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            enumerate_words(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def enumerate_words(node: Any) -> None:
    """Write a word that may stand in place of a number, such as ``auto``, as an enumeration of one, in all of the document.

    Generators of clients take a constant beside another type for the only value allowed.
    """
    if isinstance(node, dict):
        for choice in node.get("anyOf", ()):
            if "const" in choice:
                choice["enum"] = [choice.pop("const")]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        enumerate_words(child)


def document_operation(method: str, operation: dict[str, Any]) -> None:
    """Add to one operation of the document the answers that middleware may give."""
    statuses = [401, 403, 421, 500] + ([400, 413] if "requestBody" in operation else [])
    answers = operation["responses"]
    # The document's keys are strings: numbers beside them would become the same key twice in JSON.
    answers.update({str(status): answer for status, answer in problems(*statuses).items()})
    if method == "get" and "application/json" in answers.get("200", {}).get("content", {}):
        answers["304"] = {"description": "The client has the answer already."}
    if "application/json" in answers.get("422", {}).get("content", {}):
        answers["422"] = problems(422)[422]
