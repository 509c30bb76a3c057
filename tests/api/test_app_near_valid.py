"""Bodies, options and files that are valid or nearly so: refused with 422, or accepted, planned, begun, cancelled and deleted."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from near_valid import NEAR, QUICK, UNFORESEEN, npz, options

from api.app import create_app
from service.execution.worker import perform
from service.settings import DataPaths, Settings
from service.stages.context import StepRequest
from service.stages.pipeline import build_graph
from service.workflow.step import Step
from tasks.options.run import OPTIONS

API = "/api/v1"
DATASET: dict[str, Any] = {
    "title": "t",
    "sample": {"formula": "LiVO2"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 0.5,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serve: Any, quiet_service: Any) -> Iterator[tuple[httpx.Client, Any, str]]:
    """A client, the service behind it, and a sealed dataset of ten energies."""
    service = quiet_service(Settings(data_dir=tmp_path_factory.mktemp("service"), min_free_bytes=0))
    with serve(create_app(service)) as url, httpx.Client(base_url=url, timeout=120) as client:
        dataset = client.post(f"{API}/datasets", json=DATASET).raise_for_status().json()["id"]
        for number, energy_ev in enumerate(np.linspace(5420, 5540, 10)):
            client.put(f"{API}/datasets/{dataset}/scans/e{number}", content=npz(energy_ev)).raise_for_status()
        client.post(f"{API}/datasets/{dataset}/seal").raise_for_status()
        yield client, service, dataset


BROKEN = "broke its reader"
"""What a file is refused with whose reader died of an error that nobody foresaw."""


def begin(step: Step, settings_: Settings) -> str:
    """Compute a step as a worker does, for half a second at most, and return what became of it."""
    until = time.monotonic() + 0.5
    paths = DataPaths.of(settings_)
    found = perform(StepRequest("run_1", step, paths), lambda _: None, lambda: time.monotonic() > until)
    assert not UNFORESEEN.search(found.message), (step, found.message)
    return found.fate


def begun_and_ended(client: httpx.Client, service: Any, dataset: str, run: dict[str, Any]) -> str:
    """Plan a run, compute its first step, cancel and delete it; what became of the step."""
    graph = build_graph(service.runs._inputs.read([dataset]), OPTIONS.validate_python(run["options"]), run["id"])
    assert len({step.key for step in graph.steps.values()}) == len(graph.steps)
    fate = begin(next(step for step in graph.steps.values() if not step.inputs), service.settings)
    assert client.post(f"{API}/runs/{run['id']}/cancel").status_code == 202
    assert client.get(f"{API}/runs/{run['id']}").json()["state"] == "cancelled"
    assert client.delete(f"{API}/runs/{run['id']}").status_code == 204
    return fate


def test_options_are_refused_or_make_a_run_that_begins_and_ends(served: tuple[httpx.Client, Any, str]) -> None:
    client, service, dataset = served
    outcomes, fates = set(), set()

    @settings(QUICK, max_examples=60)
    @given(chosen=options())
    def submit(chosen: dict[str, Any]) -> None:
        answer = client.post(f"{API}/runs", json={"datasets": [dataset], "options": chosen})
        outcomes.add(answer.status_code)
        assert answer.status_code in (202, 422), answer.text
        if answer.status_code == 422:
            assert answer.json()["errors"], "which field is at fault"
            return
        fates.add(begun_and_ended(client, service, dataset, answer.json()))

    submit()
    assert outcomes == {202, 422}
    assert fates & {"done", "cancelled"}
    assert client.get(f"{API}/runs").json()["items"] == []


FAULTY: dict[str, Any] = {
    "counts": [
        np.zeros((16, 32, 32), np.uint16), np.full((16, 32, 32), np.nan), np.full((16, 32, 32), -1, np.int32),
        np.ones((16, 1, 1), np.uint8), np.ones((0, 32, 32), np.uint8), np.ones((16, 32, 33), np.int64),
        np.ones((4, 4, 32, 32), ">u4"),
        np.full((16, 32, 32), 2**31 - 1, np.int32), np.ones((16, 32, 32), bool), np.ones((16, 32, 32), complex),
        np.array("counts"),
    ],
    "positions_m": [
        np.zeros((16, 2)), np.full((16, 2), np.inf), np.ones((15, 2)), np.ones((2, 16)), np.ones(16), np.ones((16, 3)) * 1e300,
        np.arange(32).reshape(16, 2), np.arange(32).reshape(16, 2) * 1e-7, np.array("x"),
    ],
    "energy_ev": [0, -5420, np.nan, np.inf, 1e300, 1e-16, 5420.0, [5420.0, 5430.0], "5420", 30.0],
    "detector_pixel_size_m": [0, -1, np.nan, 75.0, 1e-300, "75 um", [75e-6, 75e-6]],
    "distance_m": [0, -1, np.inf, 1e300, 0.5, 1e-9],
    "mask": [np.zeros((32, 32), bool), np.ones((32, 32), bool), np.ones((31, 32), bool), np.ones((32, 32), int), np.array(1.0)],
    "beam_centre_px": [[16, 16], [0, 0], [31.5, 2], [np.nan, 1], [1e9, 1e9], 16.0],
    "saturation_count": [0, 1, 51, -1, np.inf, 65535],
    "bad_pixels": [np.zeros((32, 32), np.uint8), np.ones((32, 32)), np.zeros((16, 32, 32), bool), np.zeros(32, int)],
    "probe": [np.zeros((32, 32)), np.ones((3, 32, 32), complex), np.ones((16, 16)), np.full((32, 32), np.inf), np.ones(3)],
}  # fmt: skip


STATED: dict[str, Any] = {
    "n_pixels": st.sampled_from([8, 31, 32, 33, 4096]),
    "orientation": st.sampled_from([3, 7, "auto"]),
    "bad_frames": st.sampled_from(["leave_out", "keep"]),
    "probe": st.sampled_from([{"kind": "supplied"}, {"kind": "gaussian", "fwhm_m": 1e-9}, {"kind": "kb", "defocus_m": 1.0}]),
    "distance_m": st.sampled_from([1e-6, 999.0]),
}
"""What a dataset may state of its scans."""


def test_files_are_refused_or_make_a_run_that_begins_and_ends(served: tuple[httpx.Client, Any, str]) -> None:
    client, service, _ = served
    pairs = st.sampled_from([(name, index) for name, values in FAULTY.items() for index in range(len(values))])
    outcomes, fates = set(), set()

    @settings(QUICK, max_examples=20)
    @given(chosen=st.lists(pairs, max_size=2), stated=st.fixed_dictionaries({}, optional=STATED))
    def put(chosen: list[tuple[str, int]], stated: dict[str, Any]) -> None:
        opened = client.post(f"{API}/datasets", json={**DATASET, **stated})
        assert opened.status_code in (201, 422), opened.text
        if opened.status_code == 422:
            return
        dataset = opened.json()["id"]
        changes = {name: np.array(FAULTY[name][index]) for name, index in chosen}
        answer = client.put(f"{API}/datasets/{dataset}/scans/s", content=npz(**changes))
        outcomes.add(answer.status_code)
        assert answer.status_code in (201, 422), answer.text
        assert BROKEN not in answer.text
        assert answer.status_code == 201 or answer.json()["errors"]
        assert client.get(f"{API}/datasets/{dataset}").json()["faults"] == []
        if answer.status_code == 201:
            client.post(f"{API}/datasets/{dataset}/seal").raise_for_status()
            run = client.post(f"{API}/runs", json={"datasets": [dataset]})
            assert run.status_code in (202, 422), run.text
            if run.status_code == 202:
                fates.add(begun_and_ended(client, service, dataset, run.json()))
        assert client.delete(f"{API}/datasets/{dataset}").status_code == 204

    put()
    assert outcomes == {201, 422}
    assert fates & {"done", "cancelled"}


PLACES = [
    "title", "kind", "distance_m", "detector_pixel_size_m", "pixel_size_m", "orientation", "beam_centre_px", "n_pixels",
    "saturation_count", "bad_frames", "sample", "sample.name", "sample.formula", "sample.group", "sample.standard", "absorber",
    "absorber.element", "absorber.edge", "probe", "probe.kind", "probe.fwhm_m", "probe.defocus_m", "probe.apodisation",
    "probe.outer_zone_m", "probe.stop_diameter_m", "unknown",
]  # fmt: skip
LIKELY: Any = st.sampled_from(
    ["images", "diffraction", "auto", "keep", "V2O5", "V2O3·0.5H2O", "Fe", "L3", "K", "zone_plate", "supplied", "日本", "\u202e",
     "\ud800", 5e-324, 1e-9, 3e-7, 2e-5, 0.5, 31, 32, 64, [16, 16], [0.5, 1e5], {"formula": "VO2"}, {"kind": "gaussian"}]
)  # fmt: skip


def with_places(body: dict[str, Any], changes: list[tuple[str, Any]]) -> dict[str, Any]:
    """``body`` with values in places such as ``sample.name``."""
    for place, value in changes:
        outer, _, inner = place.partition(".")
        held = body.get(outer)
        body = {**body, outer: {**(held if isinstance(held, dict) else {}), inner: value} if inner else value}
    return body


def test_bodies_of_datasets_are_refused_or_make_one_that_takes_a_file(served: tuple[httpx.Client, Any, str]) -> None:
    client = served[0]
    outcomes = set()

    @settings(QUICK, max_examples=120)
    @given(changes=st.lists(st.tuples(st.sampled_from(PLACES), st.one_of(LIKELY, NEAR)), max_size=2))
    def post(changes: list[tuple[str, Any]]) -> None:
        content = json.dumps(with_places(DATASET, changes)).encode()
        made = client.post(f"{API}/datasets", content=content, headers={"Content-Type": "application/json"})
        outcomes.add(made.status_code)
        assert made.status_code in (201, 422), made.text
        if made.status_code == 422:
            assert made.json()["errors"], "which field is at fault"
            return
        path = f"{API}/datasets/{made.json()['id']}"
        put = client.put(f"{path}/scans/s", content=npz())
        assert put.status_code == 201 or put.json()["errors"], put.text
        assert put.status_code in (201, 422), put.text
        assert BROKEN not in put.text
        assert client.get(path).json()["faults"] == []
        assert client.delete(path).status_code == 204

    post()
    assert outcomes == {201, 422}


def test_bodies_of_runs_are_refused_or_make_one_that_ends(served: tuple[httpx.Client, Any, str]) -> None:
    client, _, dataset = served
    outcomes = set()
    likely = st.sampled_from(["paper", "default", "first", [], {}, [dataset], [dataset, dataset], ["ds_0"], [dataset, 3]])

    @settings(QUICK, max_examples=80)
    @given(
        changes=st.lists(
            st.tuples(st.sampled_from(["datasets", "name", "options", "options.preset", "x"]), st.one_of(likely, NEAR)),
            max_size=2,
        )
    )
    def post(changes: list[tuple[str, Any]]) -> None:
        made = client.post(f"{API}/runs", json=with_places({"datasets": [dataset]}, changes))
        outcomes.add(made.status_code)
        assert made.status_code in (202, 404, 422), made.text
        if made.status_code == 202:
            path = f"{API}/runs/{made.json()['id']}"
            assert client.post(f"{path}/cancel").status_code == 202
            assert client.delete(path).status_code == 204

    post()
    assert outcomes >= {202, 422}
    assert client.get(f"{API}/runs").json()["items"] == []
