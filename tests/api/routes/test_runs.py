"""Runs over HTTP."""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
import httpx
import pytest

RUNS = "/api/v1/runs"


def test_a_run_has_defaults_for_everything(client: httpx.Client, dataset: dict[str, Any]) -> None:
    made = client.post(RUNS, json={"datasets": [dataset["id"]]})
    assert made.status_code == 202
    view = client.get(made.headers["location"]).json()
    assert view["id"] == made.json()["id"]
    assert (view["state"], view["progress"], view["datasets"]) == ("queued", 0.0, [dataset["id"]])
    assert view["options"]["reconstruct"]["cycles"] == "auto"
    assert {"name": "reconstruct", "done": 0, "total": 4, "state": "waiting", "note": None} in view["stages"]


def test_a_status_call_takes_one_thread_and_answers_what_the_list_does(
    client: httpx.Client, dataset: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is asked in a thread, because the catalogue may be slow; what costs more threads costs more time."""
    run_id = client.post(RUNS, json={"datasets": [dataset["id"]], "name": "one"}).json()["id"]
    called: list[str] = []
    in_thread = anyio.to_thread.run_sync

    async def noted(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        called.append(getattr(function, "__name__", str(function)))
        return await in_thread(function, *arguments, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    answer = client.get(f"{RUNS}/{run_id}")
    assert len(called) == 1, called
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == client.get(RUNS).json()["items"][0]
    assert len(called) > 1  # so threads are seen here


def test_options_are_taken(client: httpx.Client, dataset: dict[str, Any]) -> None:
    options = {"domains": {"n_domains": 3}, "chemistry": {"phase_energy_ev": 5440}}
    made = client.post(RUNS, json={"datasets": [dataset["id"]], "options": options, "name": "three"}).json()
    assert (made["options"]["domains"]["n_domains"], made["name"]) == (3, "three")
    assert made["options"]["chemistry"]["phase_energy_ev"] == 5440


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "-Infinity"])
@pytest.mark.parametrize(
    "field",
    [
        "chemistry.phase_energy_ev", "fit.min_jump_to_sigma", "reconstruct.alpha", "reconstruct.settle", "kkr.gamma",
        "align.energy_offset_ev", "align.min_vacuum_fraction", "reconstruct.cycles", "domains.n_domains",
    ],
)  # fmt: skip
def test_numbers_that_are_not_finite_are_refused_by_field(
    client: httpx.Client, dataset: dict[str, Any], field: str, number: str
) -> None:
    stage, _, name = field.partition(".")
    body = f'{{"datasets": ["{dataset["id"]}"], "options": {{"{stage}": {{"{name}": {number}}}}}}}'
    refused = client.post(RUNS, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [f"options.{field}"]
    assert client.get(RUNS).json()["items"] == []


@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize(
    ("stage", "name", "place"),
    [
        ("reconstruct", "cycles", ""), ("reconstruct", "alpha", ""), ("kkr", "gamma", ""), ("domains", "n_domains", ""),
        ("align", "vacuum_box", ".1"),
    ],
)  # fmt: skip
def test_a_boolean_is_no_number(
    client: httpx.Client, dataset: dict[str, Any], stage: str, name: str, place: str, truth: bool
) -> None:
    value = [0, truth, 4, 9] if place else truth
    refused = client.post(RUNS, json={"datasets": [dataset["id"]], "options": {stage: {name: value}}})
    assert refused.status_code == 422
    fault = refused.json()["errors"][0]
    assert fault["field"].startswith(f"options.{stage}.{name}")
    if truth:  # pydantic reads it as 1, which is within most limits
        assert (fault["field"], str(truth) in fault["message"]) == (f"options.{stage}.{name}{place}", True)
    assert client.get(RUNS).json()["items"] == []


@pytest.mark.parametrize(
    "box", [[5, 1, 0, 9], [0, 9, 5, 1], [3, 3, 0, 9], [0, 9, 4, 4], [-1, 9, 0, 9], [0, 9, -2, 9], [0, 9, 0], [0, 10**400, 0, 9]]
)
def test_a_vacuum_box_without_pixels_is_refused(client: httpx.Client, dataset: dict[str, Any], box: list[int]) -> None:
    refused = client.post(RUNS, json={"datasets": [dataset["id"]], "options": {"align": {"vacuum_box": box}}})
    assert refused.status_code == 422
    assert all(fault["field"].startswith("options.align.vacuum_box") for fault in refused.json()["errors"])


@pytest.mark.parametrize("name", ["a\nb", "\x1b]0;title\x07", "\x00", "a\u202eb"])
def test_control_characters_in_a_name_are_refused(client: httpx.Client, dataset: dict[str, Any], name: str) -> None:
    refused = client.post(RUNS, json={"datasets": [dataset["id"]], "name": name})
    assert [fault["field"] for fault in refused.json()["errors"]] == ["name"]


@pytest.mark.parametrize(
    "body",
    [
        r'{"datasets": ["\ud800"]}',
        r'{"datasets": ["a"], "\udfff": 1}',
        r'{"datasets": ["a"], "name": "\ud800"}',
        r'{"datasets": ["a"], "options": {"\ud800": {}}}',
        r'{"datasets": ["a"], "options": {"kkr": {"mode": "\ud800"}}}',
    ],
)
def test_lone_surrogates_are_refused_and_the_connection_goes_on(shared_server: Any, body: str) -> None:
    with httpx.Client(base_url=shared_server.url) as client:
        refused = client.post(RUNS, content=body, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422
        assert client.get("/healthz").status_code == 200


def test_unknown_and_repeated_datasets_are_refused(client: httpx.Client, dataset: dict[str, Any]) -> None:
    assert client.post(RUNS, json={"datasets": ["ds_none"]}).status_code == 404
    twice = client.post(RUNS, json={"datasets": [dataset["id"]] * 2})
    assert twice.json()["errors"][0]["field"] == "datasets"


def test_an_idempotency_key_names_one_run(client: httpx.Client, dataset: dict[str, Any]) -> None:
    body, headers = {"datasets": [dataset["id"]]}, {"Idempotency-Key": "once"}
    first = client.post(RUNS, json=body, headers=headers).json()
    assert client.post(RUNS, json=body, headers=headers).json()["id"] == first["id"]
    assert client.post(RUNS, json=body).json()["id"] != first["id"]
    other = client.post(RUNS, json=body | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


def test_cancel_retry_and_delete(client: httpx.Client, run: dict[str, Any]) -> None:
    path = f"{RUNS}/{run['id']}"
    assert client.post(f"{path}/retry").status_code == 409
    cancelled = client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert client.post(f"{path}/cancel").json()["code"] == "conflict"
    assert client.post(f"{path}/retry").json()["state"] == "queued"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404


def test_options_have_defaults_and_a_schema(client: httpx.Client) -> None:
    options = client.get("/api/v1/options").json()
    assert options["defaults"]["reconstruct"]["cycles"] == "auto"
    assert options["defaults"]["kkr"]["mode"] == "joint"
    assert set(options["schema"]["properties"]) == set(options["defaults"])


def test_a_run_gets_another_name(client: httpx.Client, run: dict[str, Any]) -> None:
    path = f"{RUNS}/{run['id']}"
    assert client.patch(path, json={"name": "second look"}).json()["name"] == "second look"
    assert client.get(path).json()["name"] == "second look"
    assert client.patch(path, json={"name": ""}).status_code == 422
    assert client.patch(f"{RUNS}/run_none", json={"name": "x"}).status_code == 404


def test_what_is_no_list_is_told_what_one_looks_like(client: httpx.Client, dataset: dict[str, Any]) -> None:
    refused = client.post(RUNS, json={"datasets": [dataset["id"]], "options": {"align": {"vacuum_box": 5}}})
    assert [(fault["field"], fault["message"]) for fault in refused.json()["errors"]] == [
        ("options.align.vacuum_box", "Input should be a list, such as [1, 2], got 5")
    ]
