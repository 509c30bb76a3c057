"""Input that cannot be used: each a problem that names the field and the cause, and what was there stays as it was."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from lab import Lab, Measure, Writer

from tasks.ptycho.scan import Scan

JOULE_EV = 1.602176634e-19
Change = Callable[[Any], None]
"""Spoils the group of a measurement in a CXI file."""


@pytest.fixture(scope="module")
def scan(specimen: Measure) -> Scan:
    return specimen(0).scans[3]


@pytest.fixture(scope="module")
def dataset(lab: Lab, specimen: Measure, writers: dict[str, Writer], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An open dataset with one good scan, which all bad ones leave alone."""
    path = tmp_path_factory.mktemp("files") / "good"
    writers["cxi"](path, specimen(0).scans[0])
    dataset = lab.create(title="besieged")
    assert lab.put(dataset, "good", path).status_code == 201
    return dataset


@pytest.fixture
def intact(lab: Lab, dataset: str) -> Iterator[str]:
    """The dataset, checked after the test: not a byte of it has changed."""

    def state() -> Any:
        folder = lab.serving.data_dir / "datasets" / dataset
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return lab.client.call("GET", f"/datasets/{dataset}"), {
            name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
        }

    before = state()
    yield dataset
    assert state() == before
    assert list((lab.serving.data_dir / "uploads").iterdir()) == [], "nothing half-way is left lying about"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert (told["status"], told["code"]) == (status, code)
    assert told["type"].endswith(code)
    assert told["title"]
    assert told["detail"]
    return told


def refused(answer: httpx.Response, field: str, *words: str, status: int = 422, code: str = "invalid-input") -> None:
    told = problem(answer, status, code)
    messages = [error["message"] for error in told["errors"] if error["field"] == field]
    assert messages, told["errors"]
    for word in words:
        assert any(word in message for message in messages), messages
        assert word in told["detail"]


def cxi(tmp_path: Path, scan: Scan, writers: dict[str, Writer], change: Change) -> Path:
    path = tmp_path / "scan"
    writers["cxi"](path, scan)
    with h5py.File(path, "a") as file:
        change(file["entry_1"])
    return path


def replace(node: h5py.Group, name: str, values: Any) -> None:
    del node[name]
    node[name] = values


def without(*names: str) -> Change:
    def change(entry: h5py.Group) -> None:
        for name in names:
            del entry[name]

    return change


def with_one_position_less(entry: h5py.Group) -> None:
    positions = entry["instrument_1/detector_1/translation"][...]
    replace(entry, "instrument_1/detector_1/translation", positions[:-1])


def with_position_nowhere(entry: h5py.Group) -> None:
    entry["instrument_1/detector_1/translation"][5, 0] = np.nan


def with_count(value: float) -> Change:
    def change(entry: h5py.Group) -> None:
        counts = entry["instrument_1/detector_1/data"][...].astype(np.float32)
        counts[7, 20, 21] = value
        replace(entry, "instrument_1/detector_1/data", counts)

    return change


def with_energy_of_the_good_scan(entry: h5py.Group) -> None:
    replace(entry, "instrument_1/source_1/energy", 5420.0 * JOULE_EV)


BAD_CXI = {
    "no energy": (without("instrument_1/source_1/energy"), "energy_ev", ["missing"]),
    "no distance": (without("instrument_1/detector_1/distance"), "distance_m", ["missing"]),
    "no pixel size": (
        without("instrument_1/detector_1/x_pixel_size", "instrument_1/detector_1/y_pixel_size"),
        "detector_pixel_size_m",
        ["missing"],
    ),
    "no counts": (without("data_1/data", "instrument_1/detector_1/data"), "counts", ["missing"]),
    "frames and positions": (with_one_position_less, "positions_m", ["63 positions for 64 frames"]),
    "position nowhere": (with_position_nowhere, "positions_m", ["finite"]),
    "NaN": (with_count(np.nan), "counts", ["not finite", "frame 7, row 20, column 21"]),
    "negative": (with_count(-3), "counts", ["negative", "frame 7, row 20, column 21"]),
    "not a count": (with_count(2.5), "counts", ["not whole numbers"]),
    "same energy": (with_energy_of_the_good_scan, "energy_ev", ["5420", "good"]),
}


@pytest.mark.parametrize("change, field, words", BAD_CXI.values(), ids=BAD_CXI)  # noqa: PT006
def test_a_bad_scan_is_refused_by_field(
    lab: Lab, intact: str, scan: Scan, writers: dict[str, Writer], tmp_path: Path, change: Change, field: str, words: str
) -> None:
    path = cxi(tmp_path, scan, writers, change)
    refused(lab.put(intact, "bad", path), field, *words)


def test_every_fault_is_named_at_once(lab: Lab, intact: str, scan: Scan, writers: dict[str, Writer], tmp_path: Path) -> None:
    def change(entry: h5py.Group) -> None:
        del entry["instrument_1/source_1/energy"]
        with_one_position_less(entry)
        with_count(-3)(entry)

    told = problem(lab.put(intact, "bad", cxi(tmp_path, scan, writers, change)), 422, "invalid-input")
    assert {"energy_ev", "positions_m", "counts"} <= {error["field"] for error in told["errors"]}


def test_a_bad_archive_is_refused_by_field(lab: Lab, intact: str, scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    with path.open("wb") as file:
        np.savez(file, counts=-scan.counts.astype(np.int32), energy_ev=5465.0, distance_m=1.0, detector_pixel_size_m=75e-6)
    answer = lab.put(intact, "bad", path)
    refused(answer, "positions_m", "missing")
    refused(answer, "counts", "negative")


@pytest.mark.parametrize("body", [b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(200), b"PK\x03\x04" + bytes(60), b""])
def test_a_file_in_no_format_is_refused(lab: Lab, intact: str, tmp_path: Path, body: Any) -> None:
    path = tmp_path / "bad"
    path.write_bytes(body)
    told = problem(lab.put(intact, "bad", path), 422, "invalid-input")
    assert len(told["errors"]) == 1
    assert told["errors"][0]["field"] in ("file", "format", "body")


def test_a_file_cut_short_is_refused(lab: Lab, intact: str, scan: Scan, writers: dict[str, Writer], tmp_path: Path) -> None:
    path = tmp_path / "whole"
    writers["cxi"](path, scan)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told = problem(lab.put(intact, "bad", path), 422, "invalid-input")
    assert told["errors"][0]["field"]


def test_bytes_that_changed_on_the_way_are_refused(lab: Lab, intact: str, scan: Scan, writers: dict[str, Writer]) -> None:
    file = io.BytesIO()
    np.savez(file, counts=scan.counts)
    digest = base64.b64encode(hashlib.sha256(b"what was meant").digest()).decode()
    answer = lab.http.put(
        f"/datasets/{intact}/scans/bad", content=file.getvalue(), headers={"Content-Digest": f"sha-256=:{digest}:"}
    )
    refused(answer, "Content-Digest", code="digest-mismatch")


def test_other_bytes_under_a_name_that_is_taken_are_refused(
    lab: Lab, intact: str, scan: Scan, specimen: Measure, writers: dict[str, Writer], tmp_path: Path
) -> None:
    path = tmp_path / "other"
    writers["cxi"](path, scan)
    assert "good" in problem(lab.put(intact, "good", path), 409, "conflict")["detail"]
    writers["cxi"](path, specimen(0).scans[0])
    assert lab.put(intact, "good", path).status_code == 200, "the same measurement again is no error"


def test_no_dataset_takes_a_scan_for_another(lab: Lab, scan: Scan, writers: dict[str, Writer], tmp_path: Path) -> None:
    path = tmp_path / "scan"
    writers["cxi"](path, scan)
    assert "ds_0123456789abcdef" in problem(lab.put("ds_0123456789abcdef", "a", path), 404, "not-found")["detail"]


BAD_RUNS = {
    "no datasets": ({"datasets": []}, "datasets"),
    "datasets left out": ({}, "datasets"),
    "unknown option": ({"options": {"reconstruct": {"cyles": 10}}}, "options.reconstruct.cyles"),
    "unknown stage": ({"options": {"recontruct": {}}}, "options.recontruct"),
    "option out of range": ({"options": {"kkr": {"gamma": 2}}}, "options.kkr.gamma"),
    "option of the wrong kind": ({"options": {"domains": {"n_domains": "many"}}}, "options.domains.n_domains"),
    "unknown name": ({"dataset": "x"}, "dataset"),
}


@pytest.mark.parametrize("body, field", BAD_RUNS.values(), ids=BAD_RUNS)  # noqa: PT006
def test_a_bad_run_is_refused_by_field(lab: Lab, intact: str, body: Any, field: str) -> None:
    runs = lab.client.call("GET", "/runs")["items"]
    given = {"datasets": [intact], **body} if field != "datasets" else body
    refused(lab.http.post("/runs", json=given), field)
    assert lab.client.call("GET", "/runs")["items"] == runs


def test_a_misspelt_option_gets_a_hint(lab: Lab, intact: str) -> None:
    answer = lab.http.post("/runs", json={"datasets": [intact], "options": {"reconstruct": {"cyles": 10}}})
    refused(answer, "options.reconstruct.cyles", "did you mean 'cycles'?")


def test_a_run_on_a_dataset_that_is_not_there_is_refused(lab: Lab) -> None:
    answer = lab.http.post("/runs", json={"datasets": ["ds_0123456789abcdef"]})
    assert "ds_0123456789abcdef" in problem(answer, 404, "not-found")["detail"]


def test_what_was_there_before_can_still_be_used(lab: Lab, dataset: str) -> None:
    lab.client.seal(dataset)
    job = lab.run([dataset], {"reconstruct": {"cycles": 10}}, is_drawn=False)
    assert job.view["state"] == "succeeded", job.view["error"]
