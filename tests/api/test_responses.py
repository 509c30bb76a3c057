"""Conditional requests and byte ranges of one file."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from api.problems import add_error_handlers
from api.responses import send_file

CONTENT = bytes(range(100))
RUNS = "/api/v1/runs"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "chunk"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def client(file: Path, serve: Any) -> Iterator[httpx.Client]:
    """A client of an application that serves one file of 100 bytes."""
    app = FastAPI()
    app.state.closing = asyncio.Event()
    add_error_handlers(app)

    @app.api_route("/chunk", methods=["GET", "HEAD"], response_model=None)
    def get_chunk(request: Request) -> Response:
        return send_file(request, file, "application/octet-stream")

    with serve(app) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    ("header", "begin", "end"),
    [
        ("bytes=0-9", 0, 10), ("bytes=90-", 90, 100), ("bytes=90-500", 90, 100), ("bytes=-10", 90, 100), ("bytes=-500", 0, 100),
        ("bytes=99-99", 99, 100), ("bytes=0-" + "9" * 18, 0, 100),
    ],
)  # fmt: skip
def test_a_range_is_answered_with_that_part(client: httpx.Client, header: str, begin: int, end: int) -> None:
    answer = client.get("/chunk", headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, CONTENT[begin:end])
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/100"
    head = client.head("/chunk", headers={"Range": header})
    assert (head.status_code, head.content, head.headers["content-length"]) == (206, b"", str(end - begin))


UNREADABLE = [
    "bytes=9-3", "bytes=0-1,5-6", "bytes=-", "lines=1-2", "bytes=a-b", "bytes", "bytes=" + "1" * 4301 + "-", "bytes=--1", "",
    "bytes=0-" + "9" * 5000, "bytes=-" + "9" * 4300, "bytes=" + ",".join("0-1" for _ in range(2000)), "bytes=\u0661-\u0662",
]  # fmt: skip


@pytest.mark.parametrize("header", UNREADABLE)
def test_a_range_that_cannot_be_read_is_answered_with_the_whole(client: httpx.Client, header: str) -> None:
    answer = client.get("/chunk", headers=[(b"range", header.encode())])
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_problem(client: httpx.Client, header: str) -> None:
    answer = client.get("/chunk", headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */100"


def test_what_the_client_has_is_not_sent_again(client: httpx.Client) -> None:
    whole = client.get("/chunk")
    for known in (whole.headers["etag"], f'"x", {whole.headers["etag"]}', f"W/{whole.headers['etag']}", "*"):
        answer = client.get("/chunk", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", whole.headers["etag"])
    assert client.get("/chunk", headers={"If-None-Match": '"x"'}).status_code == 200


def test_a_range_of_another_version_is_answered_with_the_whole(client: httpx.Client) -> None:
    etag = client.get("/chunk").headers["etag"]
    for wanted, status in ((etag, 206), ('"other"', 200)):
        answer = client.get("/chunk", headers={"Range": "bytes=3-9", "If-Range": wanted})
        assert answer.status_code == status
    assert client.get("/chunk", headers={"Range": "bytes=500-", "If-Range": '"other"'}).status_code == 200


def test_a_file_that_is_gone_is_410_and_never_404(client: httpx.Client, file: Path) -> None:
    file.unlink()
    answer = client.get("/chunk")
    assert (answer.status_code, answer.json()["code"]) == (410, "gone")
