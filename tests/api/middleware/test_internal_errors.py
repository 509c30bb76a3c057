"""Exceptions that no handler knows: a problem, on a connection that goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from api.middleware.internal_errors import InternalErrors

RUNS = "/api/v1/runs"


def fail(*_: object) -> None:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("method", "path", "part", "name"),
    [
        ("GET", f"{RUNS}/run_x", "runs", "get"),
        ("GET", RUNS, "runs", "page"),
        ("GET", "/", "runs", "page"),
        ("POST", f"{RUNS}/run_x/cancel", "runs", "cancel"),
        ("DELETE", "/api/v1/datasets/ds_x", "datasets", "delete"),
        ("PUT", "/api/v1/datasets/ds_x/scans/a", "datasets", "put_scan"),
        ("GET", f"{RUNS}/run_x/results.zarr/zarr.json", "runs", "get"),
    ],
)
def test_the_connection_goes_on_after_an_internal_error(
    shared_server: Any, service: Any, method: str, path: str, part: str, name: str
) -> None:
    setattr(getattr(service, part), name, fail)
    with httpx.Client(base_url=shared_server.url) as client:
        for _ in range(3):
            answer = client.request(method, path, content=b"x" * 10 if method == "PUT" else None)
            assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
            assert "content-security-policy" in answer.headers
            assert client.get("/healthz").status_code == 200
        pool: Any = client._transport
        assert len(pool._pool.connections) == 1, "one connection served every request"


def test_an_internal_error_is_counted(client: httpx.Client, service: Any) -> None:
    service.runs.get = fail
    client.get(f"{RUNS}/run_x")
    assert 'ptyxas_http_requests_total{method="GET",route="get_run",status="500"}' in client.get("/metrics").text


def failing_app(answer: Callable[[], Any]) -> FastAPI:
    app = FastAPI()
    app.state.closing = asyncio.Event()
    app.add_middleware(InternalErrors)
    app.add_api_route("/", answer, response_model=None)
    return app


def test_an_answer_that_has_begun_breaks_off(serve: Any) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("broken")

    app = failing_app(lambda: StreamingResponse(blocks()))
    with serve(app) as url, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url)


def test_an_error_before_the_answer_is_a_problem(serve: Any) -> None:
    with serve(failing_app(lambda: 1 / 0)) as url:
        answer = httpx.get(url)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "division" not in answer.text
