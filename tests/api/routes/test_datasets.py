"""Datasets and their scans over HTTP."""

import socket
import threading
import time

import httpx
import pytest

DATASETS = "/api/v1/datasets"
BODY = {"title": "p", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
SCAN = b"\x89HDF a scan"


def test_a_dataset_is_created_filled_and_sealed(client: httpx.Client) -> None:
    made = client.post(DATASETS, json=BODY)
    assert made.status_code == 201
    path = made.headers["location"]
    assert path == f"{DATASETS}/{made.json()['id']}"
    put = client.put(f"{path}/scans/a.cxi", content=SCAN)
    assert (put.status_code, put.json()["n_bytes"]) == (201, len(SCAN))
    view = client.get(path).json()
    assert (view["state"], view["energies_ev"], view["n_bytes"]) == ("open", [5420.0], len(SCAN))
    assert client.post(f"{path}/seal").json()["state"] == "sealed"
    assert client.post(f"{path}/seal").json()["code"] == "conflict"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_same_bytes_again_are_200_and_others_409(client: httpx.Client, dataset: dict) -> None:
    path = f"{DATASETS}/{dataset['id']}/scans/b"
    assert client.put(path, content=SCAN).status_code == 201
    assert client.put(path, content=SCAN).status_code == 200
    assert client.put(path, content=SCAN + b"!").status_code == 409


def test_a_bad_file_is_refused_with_every_fault_and_the_others_stay(client: httpx.Client, dataset: dict) -> None:
    refused = client.put(f"{DATASETS}/{dataset['id']}/scans/b", content=b"not a scan")
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == ["format", "positions_m"]
    assert client.get(f"{DATASETS}/{dataset['id']}").json()["scans"] == dataset["scans"]


def test_too_many_bytes_are_413_and_wrong_ones_422(client: httpx.Client, dataset: dict) -> None:
    path = f"{DATASETS}/{dataset['id']}/scans/b"
    assert client.put(path, content=bytes(5 << 20)).json()["code"] == "too-large"
    wrong = client.put(path, content=SCAN, headers={"Content-Digest": "sha-256=:AAAA:"})
    assert wrong.json()["code"] == "digest-mismatch"


def test_the_body_is_streamed(client: httpx.Client, service, dataset: dict) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    async def put_scan(dataset_id, name, stream, digest=None):
        async for block in stream:
            if block:
                arrived.set()
        return service.datasets.get(dataset_id).scans[0], True

    service.datasets.put_scan = put_scan

    def blocks():
        yield SCAN
        assert arrived.wait(5), "the first block waits for the last"
        go_on.set()
        yield SCAN

    assert client.put(f"{DATASETS}/{dataset['id']}/scans/b", content=blocks()).status_code == 201
    assert go_on.is_set()


def test_a_body_that_ends_early_leaves_nothing(client: httpx.Client, dataset: dict) -> None:
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port)) as connection:
        head = f"PUT {DATASETS}/{dataset['id']}/scans/half HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + SCAN)
        time.sleep(0.1)
    time.sleep(0.1)
    assert [scan["name"] for scan in client.get(f"{DATASETS}/{dataset['id']}").json()["scans"]] == ["a.cxi"]


@pytest.mark.parametrize("name", ["..", "a b", ".hidden", "x" * 129, "-a"])
def test_names_of_scans_are_plain(client: httpx.Client, dataset: dict, name: str) -> None:
    assert client.put(f"{DATASETS}/{dataset['id']}/scans/{name}", content=SCAN).status_code in (404, 405, 422)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"sample": {}}, "sample.formula"),
        ({"absorber": {"element": "V", "egde": "K"}}, "absorber.egde"),
        ({"distance_m": -1}, "distance_m"),
        ({"probe": {"kind": "laser"}}, "probe.kind"),
        ({"orientation": 8}, "orientation"),
        ({"samples": {}}, "samples"),
    ],
)
def test_faults_of_a_dataset_name_the_field(client: httpx.Client, change: dict, field: str) -> None:
    refused = client.post(DATASETS, json=BODY | change)
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]


def test_errors_of_the_science_are_told(client: httpx.Client) -> None:
    refused = client.post(DATASETS, json=BODY | {"sample": {"formula": "Xx2"}})
    assert refused.status_code == 422
    assert "Xx2" in refused.json()["detail"]


def test_a_measurement_is_registered_in_place(client: httpx.Client) -> None:
    made = client.post(f"{DATASETS}/register", json=BODY | {"path": "/data/p"})
    assert (made.status_code, made.json()["state"]) == (201, "sealed")
    assert client.post(f"{DATASETS}/register", json=BODY).json()["errors"][0]["field"] == "path"
