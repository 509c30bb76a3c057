"""The client, against answers as the service gives them."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api.cli import client as client_module
from api.cli.client import Client, RefusedError, UnreachableError
from service.errors import FieldError

PROBLEM = {
    "type": "urn:ptyxas:problem:invalid-input", "title": "t", "status": 422, "detail": "cycles: too few",
    "code": "invalid-input", "errors": [{"field": "cycles", "message": "too few"}],
}  # fmt: skip

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, key: str | None = None) -> Client:
    client = Client("http://service/", key)
    client._http = httpx.Client(base_url=client.url, headers=client._http.headers, transport=httpx.MockTransport(handler))
    return client


def stream(*lines: str) -> httpx.Response:
    return httpx.Response(200, content="\n".join(lines) + "\n")


def test_answers_are_read_and_paths_are_prefixed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://service/api/v1/runs/run_1"
        assert request.headers["authorization"] == "Bearer secret"
        return httpx.Response(200, json={"id": "run_1"})

    with client_of(answer, "secret") as client:
        assert client.run("run_1") == {"id": "run_1"}


def test_a_problem_is_an_error_with_its_fields() -> None:
    refusing = client_of(lambda request: httpx.Response(422, json=PROBLEM))
    with refusing as client, pytest.raises(RefusedError, match="cycles: too few") as refused:
        client.submit(["ds_1"], {"reconstruct": {"cycles": 0}})
    assert (refused.value.code, refused.value.faults) == ("invalid-input", (FieldError("cycles", "too few"),))


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>bad gateway"), httpx.Response(500, json=[1])])
def test_an_error_that_is_no_problem_is_told_all_the_same(answer: httpx.Response) -> None:
    with client_of(lambda request: answer) as client, pytest.raises(RefusedError, match=str(answer.status_code)):
        client.run("run_1")


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(UnreachableError, match="no service answers"):
        client.run("run_1")


def test_a_file_is_sent_in_blocks_with_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BLOCK_BYTES", 10)
    content = bytes(range(25))
    (tmp_path / "a.cxi").write_bytes(content)

    def answer(request: httpx.Request) -> httpx.Response:
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert request.headers["content-digest"] == f"sha-256=:{digest}:"
        assert request.headers["content-length"] == "25"
        assert (request.method, request.url.path) == ("PUT", "/api/v1/datasets/ds_1/scans/a.cxi")
        assert request.read() == content
        return httpx.Response(201, json={"name": "a.cxi"})

    heard: list[int] = []
    with client_of(answer) as client:
        assert client.put_scan("ds_1", tmp_path / "a.cxi", on_bytes=heard.append) == {"name": "a.cxi"}
    assert heard == [10, 10, 5]


def test_events_are_followed_over_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RECONNECT_S", 0.0)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["last-event-id"])
        if len(asked) == 2:
            raise httpx.ConnectError("refused")
        if len(asked) == 1:
            return stream("retry: 1000", "", ": ping", "", "event: state", 'data: {"state": "running"}', "id: 7", "")
        event = json.dumps({"unit": "fit"})
        return stream("event: unit", f"data: {event}", "id: 8", "", "event: end", 'data: {"state": "failed"}', "")

    with client_of(answer) as client:
        events = list(client.follow("run_1"))
    assert [event["kind"] for event in events] == ["state", "interrupted", "unit", "end"]
    assert asked == ["0", "7", "7"]
    assert (events[2]["unit"], events[3]["state"]) == ("fit", "failed")


def test_following_an_unknown_run_is_refused() -> None:
    refusing = client_of(lambda request: httpx.Response(404, json=PROBLEM | {"code": "not-found"}))
    with refusing as client, pytest.raises(RefusedError) as refused:
        next(client.follow("run_1"))
    assert refused.value.code == "not-found"
