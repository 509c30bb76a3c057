"""The application: routes, middleware and error handlers over one service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from api import problems as errors
from api.dependencies import problems
from api.middleware.api_keys import KeyCheck
from api.middleware.cors import Cors
from api.middleware.etags import JsonTags
from api.middleware.metrics import HttpCounts, HttpMeter
from api.middleware.security import Guard
from api.routes import datasets, events, figures, health, options, results, runs, web
from api.schemas import ProblemAnswer
from service.api_keys import ApiKeys
from service.bootstrap import Service
from service.settings import LOOPBACK_HOSTS, Settings

PREFIX: Final = "/api/v1"
PAGES: Final = Path(__file__).parent / "pages"

DESCRIPTION: Final = """
X-ray spectroscopic ptychography as a service: diffraction patterns at many energies in, maps of chemical state and
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
    app.state.counts = HttpCounts()
    app.state.closing = asyncio.Event()
    contract = APIRouter(prefix=PREFIX)
    for noun in (datasets, runs, events, results, figures, options):
        contract.include_router(noun.router)
    app.include_router(contract)
    app.include_router(health.router)
    app.include_router(web.router)
    app.mount("/assets", StaticFiles(directory=PAGES / "assets"), name="assets")
    errors.register(app)
    app.add_middleware(JsonTags)
    guard(app, service.settings)
    app.add_middleware(HttpMeter, counts=app.state.counts)
    document_problems(app)
    return app


def guard(app: FastAPI, settings: Settings) -> None:
    """Put what every request has to pass around ``app``, the innermost first."""
    hosts = None
    if settings.api_keys_file is not None:
        app.add_middleware(KeyCheck, ring=ApiKeys(settings.api_keys_file))
    else:
        hosts = LOOPBACK_HOSTS.union(settings.allowed_hosts)
    if settings.cors_origins:
        app.add_middleware(Cors, origins=settings.cors_origins, prefix=PREFIX)
    app.add_middleware(Guard, hosts=hosts, origins=settings.cors_origins)


def name_of(route: APIRoute) -> str:
    """A route's function names its operation."""
    return route.name


def document_problems(app: FastAPI) -> None:
    """Put problems into the OpenAPI document of ``app`` wherever FastAPI writes its own kind of error."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            for method, operation in (item for path in document["paths"].values() for item in path.items()):
                operation["responses"].update(problems(401, 403, 421))
                if "requestBody" in operation:
                    operation["responses"].update(problems(400, 413))
                if method == "get" and "application/json" in operation["responses"].get("200", {}).get("content", {}):
                    operation["responses"]["304"] = {"description": "The reader has it."}
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    operation["responses"]["422"] = problems(422)[422]
            schemas = document["components"]["schemas"]
            problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas[ProblemAnswer.__name__] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
