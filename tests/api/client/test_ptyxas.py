"""The client, against answers as the service gives them."""

import base64
import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis.strategies import text
from pydantic import TypeAdapter

from api.client import ptyxas as client_module
from api.client.ptyxas import Client, FieldError, RefusedError, RunEndedError, UnreachableError, connect, scan_name
from api.dependencies import ScanName
from storage.datasets.scans import check_name

PROBLEM = {
    "type": "urn:ptyxas:problem:invalid-input", "title": "t", "status": 422, "detail": "cycles: too few",
    "code": "invalid-input", "errors": [{"field": "cycles", "message": "too few"}],
}  # fmt: skip

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, key: str | None = None) -> Client:
    client = Client("http://service/", key)
    client._http = httpx.Client(base_url=client.url, headers=client._http.headers, transport=httpx.MockTransport(handler))
    return client


def stream(*lines: str) -> httpx.Response:
    return httpx.Response(200, content="\n".join(lines) + "\n")


def test_answers_are_read_and_paths_are_prefixed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://service/api/v1/runs/run_1"
        assert request.headers["authorization"] == "Bearer secret"
        return httpx.Response(200, json={"id": "run_1"})

    with client_of(answer, "secret") as client:
        assert client.run("run_1") == {"id": "run_1"}


def test_a_problem_is_an_error_with_its_fields() -> None:
    refusing = client_of(lambda request: httpx.Response(422, json=PROBLEM))
    with refusing as client, pytest.raises(RefusedError, match="cycles: too few") as refused:
        client.submit(["ds_1"], {"reconstruct": {"cycles": 0}})
    assert (refused.value.code, refused.value.faults) == ("invalid-input", (FieldError("cycles", "too few"),))


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>bad gateway"), httpx.Response(500, json=[1])])
def test_an_error_that_is_no_problem_is_told_all_the_same(answer: httpx.Response) -> None:
    with client_of(lambda request: answer) as client, pytest.raises(RefusedError, match=str(answer.status_code)):
        client.run("run_1")


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(UnreachableError, match="no service answers"):
        client.run("run_1")


def test_a_file_is_sent_in_blocks_with_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BLOCK_BYTES", 10)
    content = bytes(range(25))
    (tmp_path / "a.cxi").write_bytes(content)

    def answer(request: httpx.Request) -> httpx.Response:
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert request.headers["content-digest"] == f"sha-256=:{digest}:"
        assert request.headers["content-length"] == "25"
        assert (request.method, request.url.path) == ("PUT", "/api/v1/datasets/ds_1/scans/a.cxi")
        assert request.read() == content
        return httpx.Response(201, json={"name": "a.cxi"})

    heard: list[int] = []
    with client_of(answer) as client:
        assert client.put_scan("ds_1", tmp_path / "a.cxi", on_bytes=heard.append) == {"name": "a.cxi"}
    assert heard == [10, 10, 5]


def test_a_reference_is_kept_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "foil.nor").write_bytes(b"# energy norm\n")

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("PUT", "/api/v1/references/foil")
        return httpx.Response(201, json={"items": [{"name": request.read().decode().split()[1]}]})

    with client_of(answer) as client:
        assert client.keep_reference("foil", tmp_path / "foil.nor") == [{"name": "energy"}]


def test_events_are_followed_over_interruptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RECONNECT_S", 0.0)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["last-event-id"])
        if len(asked) == 2:
            raise httpx.ConnectError("refused")
        if len(asked) == 1:
            return stream("retry: 1000", "", ": ping", "", "event: state", 'data: {"state": "running"}', "id: 7", "")
        event = json.dumps({"unit": "fit"})
        return stream("event: unit", f"data: {event}", "id: 8", "", "event: end", 'data: {"state": "failed"}', "")

    with client_of(answer) as client:
        events = list(client.follow("run_1"))
    assert [event["kind"] for event in events] == ["state", "interrupted", "unit", "end"]
    assert asked == ["0", "7", "7"]
    assert (events[2]["unit"], events[3]["state"]) == ("fit", "failed")


@pytest.mark.parametrize(
    "answer", [httpx.Response(502, text="<html>bad gateway"), httpx.Response(503, json=PROBLEM | {"code": "not-ready"})]
)
def test_a_service_that_refuses_for_the_time_being_interrupts_what_follows_it(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response
) -> None:
    monkeypatch.setattr(client_module, "RECONNECT_S", 0.0)
    answers = iter([answer, stream("event: end", 'data: {"state": "succeeded"}', "")])
    with client_of(lambda request: next(answers)) as client:
        assert [event["kind"] for event in client.follow("run_1")] == ["interrupted", "end"]


@pytest.mark.parametrize(
    ("status", "may_pass"), [(429, True), (503, True), (507, True), (404, False), (422, False), (500, False)]
)
def test_a_refusal_says_whether_it_may_pass(status: int, may_pass: bool) -> None:
    with client_of(lambda request: httpx.Response(status, json=PROBLEM)) as client, pytest.raises(RefusedError) as refused:
        client.run("run_1")
    assert refused.value.may_pass is may_pass


def test_following_an_unknown_run_is_refused() -> None:
    refusing = client_of(lambda request: httpx.Response(404, json=PROBLEM | {"code": "not-found"}))
    with refusing as client, pytest.raises(RefusedError) as refused:
        next(client.follow("run_1"))
    assert refused.value.code == "not-found"


def test_a_dataset_is_created_filled_and_sealed(tmp_path: Path) -> None:
    sent: list[tuple[str, str, object]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.url.path.endswith("/datasets") else request.read()
        sent.append((request.method, request.url.path.removeprefix("/api/v1"), body))
        return httpx.Response(201, json={"id": "ds_1", "state": "sealed"})

    for name in ("b.npz", "a.npz", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    with client_of(answer) as client:
        dataset = client.create("particle", formula="LiVO2", element="V", group="g", distance_m=1.0)
        assert client.upload(dataset, f"{tmp_path}/*.npz") == {"id": "ds_1", "state": "sealed"}
        with pytest.raises(FileNotFoundError, match="no files"):
            client.upload(dataset, f"{tmp_path}/*.cxi")
    sample = {"name": "particle", "formula": "LiVO2", "group": "g"}
    created = {"title": "particle", "sample": sample, "absorber": {"element": "V", "edge": "K"}, "distance_m": 1.0}
    assert sent == [
        ("POST", "/datasets", created),
        ("PUT", "/datasets/ds_1/scans/a.npz", b"a.npz"),
        ("PUT", "/datasets/ds_1/scans/b.npz", b"b.npz"),
        ("POST", "/datasets/ds_1/seal", b""),
    ]


@pytest.mark.parametrize(("state", "error"), [("succeeded", None), ("failed", "no vacuum was found"), ("cancelled", None)])
def test_a_run_is_watched_to_its_end(state: str, error: str | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"id": "run_1", "state": state, "error": error})
        steps = [f'event: progress\ndata: {{"progress": {share}}}\n' for share in (0.01, 0.04, 0.55, 1.0)]
        return stream(*steps, "event: end", 'data: {"state": "x"}', "")

    told: list[str] = []
    with client_of(answer) as client:
        if state == "succeeded":
            assert client.watch("run_1", told.append)["state"] == state
        else:
            with pytest.raises(RunEndedError, match=error or state):
                client.watch("run_1", told.append)
    assert told == ["run_1: 0 %", "run_1: 50 %", "run_1: 100 %"]


def test_figures_are_copied_under_their_own_names_only(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/figures"):
            return httpx.Response(200, json={"items": [{"name": "elbow"}, {"name": "../../up"}]})
        return httpx.Response(200, content=b"png")

    with client_of(answer) as client:
        assert client.figures("run_1", tmp_path / "new") == [tmp_path / "new" / "elbow.png", tmp_path / "new" / "up.png"]


def test_what_is_deleted_is_told_by_its_id() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(204)

    with client_of(answer) as client:
        client.delete("run_1")
        client.delete("ds_1")
    assert asked == ["/api/v1/runs/run_1", "/api/v1/datasets/ds_1"]


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYXAS_URL", "http://beamline:9/")
    monkeypatch.setenv("PTYXAS_API_KEY", "secret")
    client = connect()
    assert (client.url, client._http.headers["authorization"]) == ("http://beamline:9", "Bearer secret")
    assert connect("http://other").url == "http://other"


@pytest.mark.parametrize("url", ["http://at", "http://at/", "http://at/api/v1", "http://at/api/v1/", "http://at/?run=run_1#x"])
def test_the_address_of_the_api_or_of_the_page_serves_as_well(url: str) -> None:
    with Client(url) as client:
        assert client.url == "http://at"


@pytest.mark.parametrize("key", ["clé", "two words", "line\n"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="an API key holds ASCII"):
        Client("http://at", key)


def test_the_distribution_is_one_module_that_needs_nothing_of_the_server() -> None:
    folder = Path(client_module.__file__).parent
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"].values()
    assert [target["only-include"] for target in targets] == [["ptyxas.py"], ["ptyxas.py"]]
    packages = {name.partition(">")[0] for name in project["project"]["dependencies"]}
    assert packages == {"aiohttp", "fsspec", "httpx", "xarray", "zarr"}
    alone = "import sys, ptyxas; print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    ours = ["api", "service", "tasks", "storage", "fastapi", "dask", "jax", "xarray"]
    done = subprocess.run([sys.executable, "-c", alone, *ours], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wheel_holds_the_module(tmp_path: Path) -> None:
    folder = Path(client_module.__file__).parent
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=folder, capture_output=True, text=True, check=True)
    archive = zipfile.ZipFile(tmp_path / done.stdout.split()[-1])
    assert {name for name in archive.namelist() if ".dist-info/" not in name} == {"ptyxas.py"}
    assert b"Requires-Dist: httpx>=0.28" in archive.read("ptyxas_client-0.1.0.dist-info/METADATA")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a b.cxi", "a_b.cxi"),
        ("é#1?.cxi", "1_.cxi"),
        ("5420+0.5%20eV.h5", "5420_0.5_20eV.h5"),
        (".-x.cxi", "x.cxi"),
        ("é" * 60 + "1", "1"),
        ("1" + "é" * 60, "1" + "_" * 60),
    ],
)
def test_a_file_of_any_name_is_sent_under_one_that_a_scan_may_have(tmp_path: Path, name: str, sent: str) -> None:
    (tmp_path / name).write_bytes(b"frames")

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json={"name": request.url.raw_path.decode().rpartition("/")[2]})

    with client_of(answer) as client:
        assert client.put_scan("ds_1", tmp_path / name) == {"name": sent}


@given(text())
def test_every_path_makes_a_name_that_the_service_takes(path: str) -> None:
    name = scan_name(path)
    assert TypeAdapter(ScanName).validate_python(name) == check_name(name) == name
    assert scan_name(name) == name
