"""Server-Sent Events of a run."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from service.api_keys import Key, make_key, write_keys
from service.settings import Settings
from tasks.options.run import RunOptions

RUNS = "/api/v1/runs"


def events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Events with data, as a browser would take them."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line == "" and "data" in fields:
            yield fields
        if line == "":
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def test_events_come_as_they_happen_and_end_with_the_run(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    path = f"{RUNS}/{run['id']}/events"
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = events(answer)
        first = next(stream)
        assert (first["event"], json.loads(first["data"])["state"]) == ("state", "queued")
        service.runs.advance(run["id"], 3)
        second = next(stream)
        assert (second["event"], second["id"]) == ("stage", "2")
        threading.Timer(0.05, service.runs.finish, [run["id"], "failed", "broken"]).start()
        rest = list(stream)
    assert [event["event"] for event in rest] == ["state", "end"]
    assert json.loads(rest[-1]["data"]) == {"state": "failed"}


def test_the_stream_resumes_after_the_last_event_seen(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    for n_done in (1, 2, 3):
        service.runs.advance(run["id"], n_done)
    service.runs.finish(run["id"], "cancelled")
    with client.stream("GET", f"{RUNS}/{run['id']}/events", headers={"Last-Event-ID": "3"}) as answer:
        found = list(events(answer))
    assert [event.get("id") for event in found] == ["4", "5", None]


def test_refusals_come_before_the_stream(client: httpx.Client, run: dict[str, Any]) -> None:
    assert client.get(f"{RUNS}/run_none/events").status_code == 404
    refused = client.get(f"{RUNS}/{run['id']}/events", headers={"Last-Event-ID": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "last-event-id")


def test_an_open_stream_does_not_keep_the_server_from_stopping(own_server: Any) -> None:
    service = own_server.app.state.service
    run = service.runs.submit([], RunOptions())
    with httpx.stream("GET", f"{own_server.url}{RUNS}/{run.id}/events") as answer:
        stream = events(answer)
        next(stream)
        own_server.stop()
        assert list(stream) == []  # ended properly: a cut connection would raise


def test_the_stream_of_a_run_that_is_removed_ends(own_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    service = own_server.app.state.service
    run = service.runs.submit([], RunOptions())
    with httpx.stream("GET", f"{own_server.url}{RUNS}/{run.id}/events") as answer:
        stream = events(answer)
        next(stream)
        service.runs.delete(run.id)
        assert list(stream) == []  # ended properly: a cut connection would raise
    own_server.stop()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("change", ["revoked", "expired", "narrowed", "unreadable"])
def test_the_open_stream_of_a_key_that_is_no_longer_valid_ends(
    tmp_path: Path, fake_service: Any, serve: Any, change: str
) -> None:
    path, (secret, digest) = tmp_path / "keys", make_key()
    kept = Key("0" * 64, "kept", "p")
    write_keys(path, [kept, Key(digest, "leaver", "p", "write")])
    service = fake_service(tmp_path)
    service.settings = Settings(data_dir=tmp_path, api_keys_file=path)
    run = service.runs.submit([], RunOptions())
    changed = {"expired": Key(digest, "leaver", "p", "write", date(2020, 1, 1)), "narrowed": Key(digest, "leaver", "p", "read")}
    headers = {"Authorization": f"Bearer {secret}"}
    with serve(create_app(service)) as url, httpx.stream("GET", f"{url}{RUNS}/{run.id}/events", headers=headers) as answer:
        stream = events(answer)
        next(stream)
        if change == "unreadable":
            path.write_text("damaged")
        else:
            write_keys(path, [kept, *([changed[change]] if change in changed else [])])
        time.sleep(0.6)
        service.runs.advance(run.id, 3)
        assert list(stream) == [], "nothing is told after the key has gone, and the stream ends"


def test_who_leaves_in_the_middle_of_a_burst_is_no_error(own_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    service = own_server.app.state.service
    run = service.runs.submit([], RunOptions())
    for n_done in range(3000):
        service.runs.advance(run.id, n_done % 8)
    for _ in range(5):
        with httpx.stream("GET", f"{own_server.url}{RUNS}/{run.id}/events") as answer:
            next(events(answer))
    own_server.stop()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
