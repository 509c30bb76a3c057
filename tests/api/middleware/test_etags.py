"""JSON answers carry validators; who has the answer is told so."""

from typing import Any

import httpx


def test_polling_an_unchanged_run_sends_no_body(client: httpx.Client, service: Any, run: dict[str, Any]) -> None:
    path = f"/api/v1/runs/{run['id']}"
    first = client.get(path)
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get(path, headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-security-policy" in again.headers
    service.runs.advance(run["id"], 3)
    changed = client.get(path, headers=known)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


def test_lists_and_options_have_validators_and_problems_have_none(client: httpx.Client, dataset: dict[str, Any]) -> None:
    for path in ("datasets", f"datasets/{dataset['id']}", "runs", "options"):
        answer = client.get(f"/api/v1/{path}")
        assert client.get(f"/api/v1/{path}", headers={"If-None-Match": f'"x", {answer.headers["etag"]}'}).status_code == 304
    assert "etag" not in client.get("/api/v1/runs/no-such").headers


def test_streams_are_not_held_back(client: httpx.Client, finished: dict[str, Any]) -> None:
    with client.stream("GET", f"/api/v1/runs/{finished['id']}/events") as events:
        assert "etag" not in events.headers
        assert "event: end" in "".join(events.iter_text())
