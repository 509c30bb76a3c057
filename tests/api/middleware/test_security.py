"""Security headers, same origin, small bodies."""

import gzip
from typing import Any

import httpx
import pytest

from api.middleware.security import MAX_JSON_BYTES, SECURITY_HEADERS

RUNS = "/api/v1/runs"


@pytest.mark.parametrize("path", ["/", "/healthz", "/no/such/path", "/assets/style.css", RUNS])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)


def test_writes_from_another_site_are_refused(client: httpx.Client, run: dict[str, Any]) -> None:
    path = f"{RUNS}/{run['id']}/cancel"
    refused = client.post(path, headers={"Origin": "https://elsewhere.example"})
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"
    assert client.get(f"{RUNS}/{run['id']}").json()["state"] == "queued"
    assert client.post(path, headers={"Origin": str(client.base_url).rstrip("/")}).status_code == 202


def test_reads_from_another_site_are_left_to_cors(client: httpx.Client) -> None:
    assert client.get(RUNS, headers={"Origin": "https://elsewhere.example"}).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_body_is_refused(client: httpx.Client, chunked: bool) -> None:
    content = b'{"datasets": ["' + b"x" * MAX_JSON_BYTES + b'"]}'
    sent = (block for block in [content]) if chunked else content
    answer = client.post(RUNS, content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["code"] == "too-large"


def test_a_body_that_is_encoded_for_its_way_is_refused(client: httpx.Client, dataset: dict[str, Any]) -> None:
    path, packed = f"/api/v1/datasets/{dataset['id']}/scans/e1", {"Content-Encoding": "gzip"}
    refused = client.put(path, content=gzip.compress(b"scan"), headers=packed)
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "identity")
    assert "send the file as it is" in refused.json()["detail"]
    assert client.post("/api/v1/datasets", content=gzip.compress(b"{}"), headers=packed).status_code == 415
    assert client.put(path, content=b"scan", headers={"Content-Encoding": "identity"}).status_code != 415


def test_uploads_may_be_larger(client: httpx.Client, dataset: dict[str, Any]) -> None:
    content = b"\x89HDF" + bytes(2 * MAX_JSON_BYTES)
    assert client.put(f"/api/v1/datasets/{dataset['id']}/scans/big", content=content).status_code == 201


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[broken", "10.0.0.7"])
def test_a_name_that_only_points_here_is_refused(client: httpx.Client, host: str) -> None:
    for path in (RUNS, "/", "/metrics"):
        refused = client.get(path, headers={"Host": host})
        assert (refused.status_code, refused.json()["code"]) == (421, "misdirected-request"), path


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000"])
def test_names_of_this_machine_are_answered(client: httpx.Client, host: str) -> None:
    assert client.get(RUNS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://a]", "null", "", "http://", "\xff", "http://[::1", "//[", "file://"])
def test_an_origin_that_cannot_be_read_is_another_site(shared_server: Any, origin: str) -> None:
    with httpx.Client(base_url=shared_server.url) as client:
        refused = client.post(RUNS, json={"datasets": ["ds_0"]}, headers=[(b"Origin", origin.encode("latin-1"))])
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert client.get(RUNS, headers=[(b"Origin", origin.encode("latin-1"))]).status_code == 200
