"""Datasets and their scans over HTTP."""

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from service.records.views import ScanView

DATASETS = "/api/v1/datasets"
BODY: dict[str, Any] = {"title": "p", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}
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
    assert view["warnings"] == put.json()["warnings"] == view["scans"][0]["warnings"]
    assert "assumed: KB mirrors, 300 nm, in focus" in view["warnings"][0]
    assert client.post(f"{path}/seal").json()["state"] == "sealed"
    assert client.post(f"{path}/seal").json()["code"] == "conflict"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_same_bytes_again_are_200_and_others_409(client: httpx.Client, dataset: dict[str, Any]) -> None:
    path = f"{DATASETS}/{dataset['id']}/scans/b"
    assert client.put(path, content=SCAN).status_code == 201
    assert client.put(path, content=SCAN).status_code == 200
    assert client.put(path, content=SCAN + b"!").status_code == 409


def test_a_bad_file_is_refused_with_every_fault_and_the_others_stay(client: httpx.Client, dataset: dict[str, Any]) -> None:
    refused = client.put(f"{DATASETS}/{dataset['id']}/scans/b", content=b"not a scan")
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == ["format", "positions_m"]
    assert client.get(f"{DATASETS}/{dataset['id']}").json()["scans"] == dataset["scans"]


def test_too_many_bytes_are_413_and_wrong_ones_422(client: httpx.Client, dataset: dict[str, Any]) -> None:
    path = f"{DATASETS}/{dataset['id']}/scans/b"
    assert client.put(path, content=bytes(5 << 20)).json()["code"] == "too-large"
    wrong = client.put(path, content=SCAN, headers={"Content-Digest": "sha-256=:AAAA:"})
    assert wrong.json()["code"] == "digest-mismatch"


def test_the_body_is_streamed(client: httpx.Client, service: Any, dataset: dict[str, Any]) -> None:
    arrived, go_on = threading.Event(), threading.Event()

    async def put_scan(
        dataset_id: str, name: str, stream: AsyncIterator[bytes], digest: str | None = None
    ) -> tuple[ScanView, bool]:
        async for block in stream:
            if block:
                arrived.set()
        scan: ScanView = service.datasets.get(dataset_id).scans[0]
        return scan, True

    service.datasets.put_scan = put_scan

    def blocks() -> Iterator[bytes]:
        yield SCAN
        assert arrived.wait(60), "the first block waits for the last"
        go_on.set()
        yield SCAN

    assert client.put(f"{DATASETS}/{dataset['id']}/scans/b", content=blocks()).status_code == 201
    assert go_on.is_set()


def test_a_body_that_ends_early_leaves_nothing(client: httpx.Client, dataset: dict[str, Any]) -> None:
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port)) as connection:
        head = f"PUT {DATASETS}/{dataset['id']}/scans/half HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + SCAN)
        time.sleep(0.1)
    time.sleep(0.1)
    assert [scan["name"] for scan in client.get(f"{DATASETS}/{dataset['id']}").json()["scans"]] == ["a.cxi"]


@pytest.mark.parametrize("name", ["..", "a b", ".hidden", "x" * 129, "-a"])
def test_names_of_scans_are_plain(client: httpx.Client, dataset: dict[str, Any], name: str) -> None:
    assert client.put(f"{DATASETS}/{dataset['id']}/scans/{name}", content=SCAN).status_code in (404, 405, 422)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"sample": {}}, "sample.formula"),
        ({"absorber": {"element": "V", "egde": "K"}}, "absorber.egde"),
        ({"distance_m": -1}, "distance_m"),
        ({"distance_m": 5e-324}, "distance_m"),
        ({"detector_pixel_size_m": 1e-300}, "detector_pixel_size_m"),
        ({"pixel_size_m": 1e-320}, "pixel_size_m"),
        ({"probe": {"fwhm_m": 1e-300, "defocus_m": 1e-3}}, "probe.fwhm_m"),
        ({"probe": {"kind": "zone_plate", "outer_zone_m": 5e-324}}, "probe.outer_zone_m"),
        ({"probe": {"kind": "zone_plate", "outer_diameter_m": 1e300}}, "probe.outer_diameter_m"),
        ({"probe": {"kind": "laser"}}, "probe.kind"),
        ({"orientation": 8}, "orientation"),
        ({"orientation": "sideways"}, "orientation"),
        ({"orientation": 1.5}, "orientation"),
        ({"samples": {}}, "samples"),
    ],
)
def test_faults_of_a_dataset_name_the_field(client: httpx.Client, change: dict[str, Any], field: str) -> None:
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


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1e400"])
@pytest.mark.parametrize("field", ["distance_m", "detector_pixel_size_m", "probe.fwhm_m", "probe.defocus_m", "beam_centre_px.1"])
def test_numbers_that_are_not_finite_are_refused_by_field(client: httpx.Client, field: str, number: str) -> None:
    name, _, inner = field.partition(".")
    value = {"": number, "1": f"[1, {number}]"}.get(inner, f'{{"{inner}": {number}}}')
    body = json.dumps(BODY)[:-1] + f', "{name}": {value}}}'
    refused = client.post(DATASETS, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]


@pytest.mark.parametrize("title", ["", " ", "\u200b\ufeff", "\u3000 \xa0", "\xad"])
def test_a_title_that_nobody_sees_is_refused(client: httpx.Client, title: str) -> None:
    refused = client.post(DATASETS, json={**BODY, "title": title})
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == ["title"]


CONTROLS = ["a\nb", "\x1b[31mred", "\x00", "tab\there", "\x9b31m", "line\u2028line", "left\u202eright", "\x7f"]


@pytest.mark.parametrize("text", CONTROLS)
@pytest.mark.parametrize("field", ["title", "sample.name", "sample.group", "sample.formula", "path"])
def test_control_characters_are_refused_by_field(client: httpx.Client, field: str, text: str) -> None:
    name, _, inner = field.partition(".")
    change = {name: {**BODY["sample"], inner: f"V{text}"} if inner else text}
    refused = client.post(f"{DATASETS}/register", json={"path": "/data", **BODY, **change})
    assert refused.status_code == 422
    [fault] = refused.json()["errors"]
    assert fault["field"] == field
    assert "control characters" in fault["message"]


def test_titles_may_be_in_any_language(client: httpx.Client) -> None:
    for title in ("粒子3、脱リチウム化", "Teilchen 3 (ß, µm, Å)", "частица", "🧪 é"):
        assert client.post(DATASETS, json=BODY | {"title": title}).json()["title"] == title


@pytest.mark.parametrize("surrogate", [r"\ud800", r"\udfff", r"a\udc80", r"\ud800\ud800"])
@pytest.mark.parametrize("place", ['"element": "V"', '"edge": "K"', '"formula": "LiVO2"', '"title": "p"'])
def test_lone_surrogates_are_refused_and_the_connection_goes_on(shared_server: Any, place: str, surrogate: str) -> None:
    body = json.dumps(BODY).replace(place, place[: place.rindex('"', 0, -1) + 1] + surrogate + '"')
    with httpx.Client(base_url=shared_server.url) as client:
        refused = client.post(DATASETS, content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422
        assert refused.json()["errors"]
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("sizes", [{"stop_diameter_m": 1e-3}, {"outer_diameter_m": 60e-6}, {"outer_diameter_m": 1e-6}])
def test_a_beam_stop_wider_than_its_zone_plate_is_refused(client: httpx.Client, sizes: dict[str, float]) -> None:
    refused = client.post(DATASETS, json=BODY | {"probe": {"kind": "zone_plate", **sizes}})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    assert "no light passes the zone plate" in refused.json()["detail"]


def test_a_dataset_gets_another_title_group_and_labels(client: httpx.Client, dataset: dict[str, Any]) -> None:
    path = f"/api/v1/datasets/{dataset['id']}"
    changed = client.patch(path, json={"title": "particle 7", "sample": {"group": "charged"}, "labels": ["good"]}).json()
    assert (changed["title"], changed["labels"]) == ("particle 7", ["good"])
    assert changed["sample"] == {**dataset["sample"], "group": "charged"}
    for body in ({"title": ""}, {"sample": {"formula": "V2O5"}}, {"title": "a\u202eb"}, {"state": "open"}):
        assert client.patch(path, json=body).status_code == 422, body
    assert client.patch("/api/v1/datasets/ds_none", json={"title": "x"}).status_code == 404
    assert client.get(f"{path}/scans/none/overview.png").status_code == 404
