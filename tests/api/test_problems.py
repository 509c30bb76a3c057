"""Every error is a problem of RFC 9457 with a stable code."""

import errno
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from api.app import create_app
from api.problems import BY_STATUS, TABLE, problem_of
from service.errors import (
    CatalogueBusyError,
    CatalogueFullError,
    CatalogueUnavailableError,
    ConflictError,
    ObjectStoreError,
    QuotaError,
    ResultsNotReadyError,
    ServiceError,
    StorageFullError,
    TooCostlyError,
    TooManyRunsError,
)
from service.settings import Settings
from tasks.errors import EnergyGridError

RUNS = "/api/v1/runs"


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"].endswith(code)
    assert problem["title"]
    assert problem["detail"]
    return problem


def test_unknown_things_and_paths_are_404(client: httpx.Client) -> None:
    assert "run_x" in check_problem(client.get(f"{RUNS}/run_x"), 404, "not-found")["detail"]
    check_problem(client.get("/no/such/path"), 404, "not-found")
    check_problem(client.get("/assets/none.css"), 404, "not-found")


def test_wrong_method_is_405_and_says_what_is_allowed(client: httpx.Client) -> None:
    answer = client.patch(RUNS, json={})
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"]


def test_unknown_option_names_the_field_and_the_nearest_name(client: httpx.Client) -> None:
    body = {"datasets": ["ds_0"], "options": {"reconstruct": {"cycels": 3}, "kkr": {"mode": "sideways"}}}
    problem = check_problem(client.post(RUNS, json=body), 422, "invalid-input")
    faults = {fault["field"]: fault["message"] for fault in problem["errors"]}
    assert set(faults) == {"options.reconstruct.cycels", "options.kkr.mode"}
    assert "did you mean 'cycles'" in faults["options.reconstruct.cycels"]
    assert "'sideways'" in faults["options.kkr.mode"]


def test_a_run_on_no_datasets_names_the_field(client: httpx.Client) -> None:
    problem = check_problem(client.post(RUNS, json={"datasets": []}), 422, "invalid-input")
    assert [fault["field"] for fault in problem["errors"]] == ["datasets"]


def test_faults_between_options_name_no_wrong_field(client: httpx.Client) -> None:
    body = {"datasets": ["ds_0"], "options": {"domains": {"descriptors": ["edge_energy", "edge_energy"]}}}
    problem = check_problem(client.post(RUNS, json=body), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "options"
    assert "distinct" in problem["errors"][0]["message"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1, 2]", b"null", b""])
def test_unreadable_bodies_are_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post(RUNS, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    check_problem(answer, answer.status_code, {400: "bad-request", 422: "invalid-input"}[answer.status_code])


def test_a_fault_of_ours_has_an_incident_number_and_no_story(
    client: httpx.Client, service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service.runs.get = lambda run_id: 1 / 0
    problem = check_problem(client.get(f"{RUNS}/run_x"), 500, "internal-error")
    incident = problem["detail"].split()[-1]
    assert incident in caplog.text
    assert "division" not in str(problem)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageFullError("little is free"), 507, "storage-full"),
        (QuotaError("too many bytes"), 507, "quota-exceeded"),
        (TooManyRunsError("too many runs"), 429, "too-many-runs"),
        (TooCostlyError("too many cycles"), 422, "run-too-costly"),
        (CatalogueFullError("no room"), 507, "storage-full"),
        (CatalogueBusyError("locked"), 503, "catalogue-busy"),
        (CatalogueUnavailableError("damaged"), 503, "catalogue-unavailable"),
        (ObjectStoreError("no answer"), 503, "storage-unavailable"),
    ],
)
def test_limits_are_told_as_what_they_are(
    client: httpx.Client, service: Any, dataset: dict[str, Any], error: Exception, status: int, code: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    service.runs.submit = refuse
    assert str(error) in check_problem(client.post(RUNS, json={"datasets": [dataset["id"]]}), status, code)["detail"]


@pytest.mark.parametrize(
    ("number", "status", "code", "told"),
    [
        (errno.ENOSPC, 507, "storage-full", "make room"),
        (errno.EDQUOT, 507, "storage-full", "make room"),
        (errno.EROFS, 503, "storage-unavailable", "read-only"),
        (errno.EACCES, 503, "storage-unavailable", "another user's"),
        (errno.EIO, 503, "storage-unavailable", "broken"),
        (errno.ENOENT, 500, "internal-error", "incident"),
    ],
)
def test_what_the_file_system_says_is_answered_as_that(
    client: httpx.Client, service: Any, number: int, status: int, code: str, told: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "as the system says it", "/secret/path")

    service.datasets.create = refuse
    detail = check_problem(client.post("/api/v1/datasets", json=DATASET), status, code)["detail"]
    assert told in detail
    assert "/secret" not in detail


@pytest.mark.parametrize(
    "body",
    [
        {"datasets": ["ds_0"], "options": {"x" * 900_000: {}}},
        {"datasets": ["ds_0"], "options": {"chemistry": {"compounds": ["V" * 900_000]}}},
        {"datasets": ["ds_0"], "name": "n" * 900_000},
        {"datasets": ["ds_0"] * 100_000},
        {f"name{i}": 1 for i in range(50_000)},
    ],
)
def test_an_answer_does_not_echo_all_that_was_sent(client: httpx.Client, body: dict[str, Any]) -> None:
    answer = client.post(RUNS, json=body)
    assert answer.status_code == 422
    assert len(answer.content) < 500_000
    assert len(answer.json()["detail"]) < 3000
    assert len(answer.json()["errors"]) <= 100


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"fit": {"pre_edge_ev": [1, 0]}}, "pre_edge_ev must be two ascending numbers below 0, got (1.0, 0.0)"),
        ({"reconstruct": {"momentum_every": 1}}, "got momentum_every=1: leave it out, or choose the rule that uses it"),
    ],
)
def test_fields_that_do_not_fit_together_are_told_once(
    client: httpx.Client, dataset: dict[str, Any], chosen: dict[str, Any], said: str
) -> None:
    problem = check_problem(client.post(RUNS, json={"datasets": [dataset["id"]], "options": chosen}), 422, "invalid-input")
    (error,) = problem["errors"]
    assert error["message"].endswith(said)


def test_nearest_class_of_the_table_decides() -> None:
    assert problem_of(ResultsNotReadyError("later")).code == "results-not-ready"
    assert problem_of(ConflictError("no")).code == "conflict"
    assert problem_of(EnergyGridError("few")).status == 422
    assert problem_of(ServiceError("?")).status == 500


def test_codes_mean_one_thing_each() -> None:
    entries = [*TABLE.values(), *BY_STATUS.values()]
    assert len({(entry.code, entry.status) for entry in entries}) == len({entry.code for entry in entries})


DATASET = {"title": "t", "sample": {"formula": "LiVO2"}, "absorber": {"element": "V", "edge": "K"}}


def test_a_run_that_a_full_disk_refuses_does_not_exist(tmp_path: Path, quiet_service: Any, serve: Any) -> None:
    growth = [True]

    def forbid_growth(connection: Any, _: Any) -> None:
        if not growth[0]:
            connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")

    event.listen(Engine, "connect", forbid_growth)
    try:
        settings = Settings(data_dir=tmp_path / "data", min_free_bytes=0)
        with serve(create_app(quiet_service(settings))) as url, httpx.Client(base_url=url) as client:
            dataset = client.post("/api/v1/datasets", json=DATASET).raise_for_status().json()["id"]
        growth[0] = False
        with serve(create_app(quiet_service(settings))) as url, httpx.Client(base_url=url) as client:
            answers = [client.post(RUNS, json={"datasets": [dataset]}, headers={"Idempotency-Key": f"k{i}"}) for i in range(12)]
            check_problem(answers[-1], 507, "storage-full")
            accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
            assert {run["id"] for run in client.get(RUNS).json()["items"]} == set(accepted)
            assert client.get("/healthz").status_code == 200
        growth[0] = True
        with serve(create_app(quiet_service(settings))) as url, httpx.Client(base_url=url) as client:
            again = client.post(RUNS, json={"datasets": [dataset]}, headers={"Idempotency-Key": "other"})
            assert again.status_code == 202
    finally:
        event.remove(Engine, "connect", forbid_growth)
