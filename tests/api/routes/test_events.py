"""Server-Sent Events of a run."""

import json
import threading
from collections.abc import Iterator

import httpx

from tasks.options import RunOptions

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


def test_events_come_as_they_happen_and_end_with_the_run(client: httpx.Client, service, run: dict) -> None:
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


def test_the_stream_resumes_after_the_last_event_seen(client: httpx.Client, service, run: dict) -> None:
    for n_done in (1, 2, 3):
        service.runs.advance(run["id"], n_done)
    service.runs.finish(run["id"], "cancelled")
    with client.stream("GET", f"{RUNS}/{run['id']}/events", headers={"Last-Event-ID": "3"}) as answer:
        found = list(events(answer))
    assert [event.get("id") for event in found] == ["4", "5", None]


def test_refusals_come_before_the_stream(client: httpx.Client, run: dict) -> None:
    assert client.get(f"{RUNS}/run_none/events").status_code == 404
    refused = client.get(f"{RUNS}/{run['id']}/events", headers={"Last-Event-ID": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "last-event-id")


def test_an_open_stream_does_not_keep_the_server_from_stopping(own_server) -> None:
    service = own_server.app.state.service
    run = service.runs.submit([], RunOptions())
    with httpx.stream("GET", f"{own_server.url}{RUNS}/{run.id}/events") as answer:
        stream = events(answer)
        next(stream)
        own_server.stop()
        assert list(stream) == []  # ended properly: a cut connection would raise
