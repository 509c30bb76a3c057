"""References over HTTP: kept, listed, read, named by a run, forgotten."""

from typing import Any

import httpx
import pytest

PATH = "/api/v1/references"
COLUMNS = "# energy xmu\n" + "\n".join(f"{5400 + 10 * number} {0.1 * number:.3f}" for number in range(16))


def test_a_reference_is_kept_until_it_is_forgotten(client: httpx.Client) -> None:
    made = client.put(f"{PATH}/V2O3", content=COLUMNS)
    assert made.status_code == 201
    (shown,) = client.get(PATH).json()["items"]
    assert made.json()["items"] == [shown]
    assert (shown["name"], shown["n_points"], shown["first_ev"], shown["last_ev"]) == ("V2O3", 16, 5400, 5550)
    text = client.get(f"{PATH}/V2O3")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.startswith("#XDI/1.0")
    assert client.delete(f"{PATH}/V2O3").status_code == 204
    assert client.get(f"{PATH}/V2O3").status_code == client.delete(f"{PATH}/V2O3").status_code == 404


@pytest.mark.parametrize(("name", "content"), [("a", b""), ("a", b"\0"), ("a", b"<html>"), ("a b", b"1 2"), ("%2e%2e", b"1 2")])
def test_what_is_no_reference_is_refused(client: httpx.Client, name: str, content: bytes) -> None:
    assert client.put(f"{PATH}/{name}", content=content).status_code in (404, 405, 422)
    assert client.get(PATH).json()["items"] == []


def test_a_run_names_what_is_kept(client: httpx.Client, dataset: dict[str, Any]) -> None:
    client.put(f"{PATH}/V2O3", content=COLUMNS).raise_for_status()
    body = {"datasets": [dataset["id"]], "options": {"references": {"names": ["V2O3"]}}}
    made = client.post("/api/v1/runs", json=body)
    assert made.status_code == 202, made.text
    assert made.json()["options"]["references"] == {"names": [], "xdi": [client.get(f"{PATH}/V2O3").text]}
    body["options"] = {"references": {"names": ["V2O5"]}}
    refused = client.post("/api/v1/runs", json=body)
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == ["options.references.names.0"]
