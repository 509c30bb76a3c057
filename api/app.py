"""The application: routes, middleware and error handlers over one service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Security
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.concurrency import ConcurrencyLimit
from api.middleware.api_keys import ApiKeyCheck
from api.middleware.cors import ApiCors
from api.middleware.etags import JsonETags
from api.middleware.internal_errors import InternalErrors
from api.middleware.metrics import HttpMetrics, HttpMetricsMiddleware
from api.middleware.security import SecurityChecks
from api.openapi import BEARER, document_problems
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
    sign_in,
    spectra,
    web,
)
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
    app.state.drawing = ConcurrencyLimit(2, MOST_DRAWINGS_WAITING, busy)
    app.state.exporting = ConcurrencyLimit(
        2, MOST_EXPORTS_WAITING, f"{MOST_EXPORTS_WAITING} exports wait to be written already: ask again later"
    )
    contract = APIRouter(prefix=PREFIX, dependencies=[Security(BEARER)])
    for noun in (datasets, foils, references, runs, energies, events, results, exports, spectra, figures, options):
        contract.include_router(noun.router)
    app.include_router(contract)
    for noun in (health, web, sign_in, documentation):
        app.include_router(noun.router)
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
