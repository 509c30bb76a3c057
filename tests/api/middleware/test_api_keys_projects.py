"""Two projects on one service: whatever the route, neither sees, guesses or cancels what is the other's."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from api.app import create_app
from service.api_keys import Key, make_key, write_keys
from service.bootstrap import Service
from service.settings import Settings
from storage.figures import FigureStore
from storage.results import Group, write_results

API = "/api/v1"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"\x00\x00\x00\x08\x00\x00\x00\x08"
BODY = {
    "title": "the secret specimen",
    "sample": {"formula": "LiVO2"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 0.5,
    "detector_pixel_size_m": 75e-6,
    "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
}


REFERENCE = "# energy mu\n" + "\n".join(f"{5400 + 10 * number} {0.1 * number}" for number in range(12))


class Neighbours:
    """Two holders of keys, and what the first of them has: a dataset, a queued run and a published one."""

    def __init__(self, service: Service, mine: httpx.Client, theirs: httpx.Client) -> None:
        self.service, self.mine, self.theirs = service, mine, theirs
        self.dataset = mine.post(f"{API}/datasets", json=BODY).raise_for_status().json()["id"]
        mine.put(f"{API}/datasets/{self.dataset}/scans/a", content=scan()).raise_for_status()
        mine.post(f"{API}/datasets/{self.dataset}/seal").raise_for_status()
        mine.put(f"{API}/references/elbow", content=REFERENCE).raise_for_status()
        self.done, self.queued = self.submit("a"), self.submit("b")
        paths, records = service._runner._paths, service._runner._records
        plane = {"y": np.arange(8) * 1e-8, "x": np.arange(8) * 1e-8}
        tree = {f"{self.dataset}/maps": Group(plane, {"edge_energy": np.ones((8, 8), np.float32)})}
        FigureStore(paths.figures(self.done)).write({"elbow": PNG}, [{"name": "elbow", "title": "Elbow", "dataset": None}])
        write_results(paths.results(self.done), tree, {})
        records.begin_run(self.done)
        records.end_run(self.done, "succeeded", None)

    def submit(self, key: str) -> str:
        sent = {"datasets": [self.dataset], "options": {"reconstruct": {"cycles": 2}}}
        answer = self.mine.post(f"{API}/runs", json=sent, headers={"Idempotency-Key": key})
        return str(answer.raise_for_status().json()["id"])

    def fill(self, path: str) -> str:
        """A route's path with everything in it that is the first project's."""
        named = {
            "dataset_id": self.dataset, "run_id": self.done, "name": "a" if "scans" in path else "elbow",
            "variable": "edge_energy", "key": "zarr.json",
        }  # fmt: skip
        for name, value in named.items():
            path = path.replace("{" + name + "}", value)
        assert "{" not in path, f"this test does not know how to fill {path}"
        return path


def scan() -> bytes:
    rng = np.random.default_rng(1)
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    file = io.BytesIO()
    positions_m = np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9
    np.savez(file, counts=rng.poisson(50, (16, 32, 32)).astype(np.uint16), positions_m=positions_m, energy_ev=np.array(5420.0))
    return file.getvalue()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, serve: Any, quiet_service: Any) -> Iterator[Neighbours]:
    folder = tmp_path_factory.mktemp("service")
    (mine, first), (theirs, second) = make_key(), make_key()
    write_keys(folder / "keys", [Key(first, "mine", "p1", "admin"), Key(second, "theirs", "p2", "admin")])
    service = quiet_service(Settings(data_dir=folder / "data", api_keys_file=folder / "keys", min_free_bytes=0))
    with serve(create_app(service)) as url:
        clients = [httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) for key in (mine, theirs)]
        yield Neighbours(service, *clients)
        for client in clients:
            client.close()


def calls(neighbours: Neighbours) -> list[tuple[str, str, dict[str, Any]]]:
    """One call of every documented operation on the first project's things; deletions last."""
    document = create_app(neighbours.service).openapi()
    sent_to: dict[str, dict[str, Any]] = {
        f"post {API}/runs": {"json": {"datasets": [neighbours.dataset]}},
        f"post {API}/runs/{{run_id}}/spectra": {"json": {"areas": [{"dataset": neighbours.dataset, "pixel": [1, 1]}]}},
        f"post {API}/datasets/{{dataset_id}}/foil": {"json": {"xdi": "no spectrum"}},
        f"patch {API}/datasets/{{dataset_id}}": {"json": {"title": "theirs"}},
        f"patch {API}/runs/{{run_id}}": {"json": {"name": "theirs"}},
        f"get {API}/runs/{{run_id}}/export": {"params": {"format": "csv"}},
        f"get {API}/runs/{{run_id}}/spectrum": {"params": {"dataset": neighbours.dataset, "y": 1, "x": 1}},
    }
    found = []
    for path, operations in document["paths"].items():
        for method in operations:
            content = REFERENCE if "references" in path else scan()
            sent = {"content": content} if method == "put" else sent_to.get(f"{method} {path}", {})
            filled = neighbours.fill(path)
            if path.endswith("/cancel"):
                filled = filled.replace(neighbours.done, neighbours.queued)
            found.append((method.upper(), filled, sent))
    return sorted(found, key=lambda call: call[0] == "DELETE")


OWN = ("POST /api/v1/datasets", "POST /api/v1/datasets/register", "PUT /api/v1/references/elbow")
"""Make something new for the caller: there is nothing of another's in them."""


def test_every_route_denies_that_there_is_anything_of_another_project(both: Neighbours) -> None:
    names = (both.dataset, both.done, both.queued, BODY["title"])
    seen = 0
    for method, path, sent in calls(both):
        if f"{method} {path}" in OWN:
            continue
        answer = both.theirs.request(method, path, **sent)
        if both.dataset in path or both.done in path or both.queued in path or "/references/" in path or sent:
            seen += 1
            assert answer.status_code in (404, 410), (method, path, answer.status_code, answer.text)
            unknown = both.theirs.request(method, path.replace(both.dataset, "ds_x").replace(both.done, "run_x"), **sent)
            assert unknown.status_code == answer.status_code, (method, path)
        else:
            assert answer.status_code < 500 or path == "/dask", (method, path, answer.text)
            assert not any(str(name) in answer.text for name in names), (method, path)
    assert seen >= 15
    assert both.theirs.get(f"{API}/datasets").json()["items"] == []
    assert both.theirs.get(f"{API}/runs").json()["items"] == []
    page = both.theirs.get("/")
    assert page.status_code == 200
    assert not any(str(name) in page.text for name in names)
    assert both.theirs.get("/", params={"run": both.done}).status_code == 404


def test_nothing_of_that_was_done(both: Neighbours) -> None:
    assert both.mine.get(f"{API}/runs/{both.queued}").json()["state"] == "queued"
    assert not both.service._runner._paths.stop_flag(both.queued).exists()
    assert both.mine.get(f"{API}/runs/{both.done}").json()["state"] == "succeeded"
    assert [run["id"] for run in both.mine.get(f"{API}/runs").json()["items"]] == [both.queued, both.done]
    assert both.mine.get(f"{API}/datasets/{both.dataset}").json()["energies_ev"] == [5420.0]


def test_every_route_opens_to_its_own_project(both: Neighbours) -> None:
    """What the first test calls 404 is there: the calls are right."""
    refused = {}
    for method, path, sent in calls(both):
        if method == "DELETE" or "events" in path or f"{method} {path}" in OWN:
            continue
        answer = both.mine.request(method, path, **sent)
        if answer.status_code >= 400:
            refused[f"{method} {path.replace(both.dataset, '').replace(both.done, '')}"] = answer.status_code
    # nothing to try again in a run that has succeeded; its made-up results hold no spectra and nothing to draw, and it has no
    # finished steps; the foil is no spectrum; no cluster in this test
    nothing = {"POST /api/v1/runs//retry": 409, "POST /api/v1/runs//spectra": 404, "GET /api/v1/runs//spectrum": 404}
    nothing |= {f"GET /api/v1/runs//figures/elbow.{form}": 404 for form in ("pdf", "svg")} | {"GET /api/v1/runs//export": 409}
    nothing["POST /api/v1/datasets//foil"] = 422
    assert refused == {**nothing, "GET /dask": 503}, refused
    with both.mine.stream("GET", f"{API}/runs/{both.done}/events") as events:
        assert "succeeded" in "".join(events.iter_text())


def test_the_same_idempotency_key_of_two_projects_is_two_keys(both: Neighbours) -> None:
    dataset = both.theirs.post(f"{API}/datasets", json=BODY).raise_for_status().json()["id"]
    both.theirs.put(f"{API}/datasets/{dataset}/scans/a", content=scan()).raise_for_status()
    answer = both.theirs.post(f"{API}/runs", json={"datasets": [dataset]}, headers={"Idempotency-Key": "a"})
    assert answer.status_code == 202
    assert answer.json()["id"] not in (both.done, both.queued)
    mixed = {"datasets": [dataset, both.dataset]}
    assert both.theirs.post(f"{API}/runs", json=mixed).status_code == 404
    assert both.mine.get(f"{API}/runs/{answer.json()['id']}").status_code == 404


def test_a_folder_is_registered_by_its_project_only(both: Neighbours, tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "a.npz").write_bytes(scan())
    object.__setattr__(both.service.settings, "register_roots", (tmp_path / "{project}",))
    body = {**BODY, "path": str(tmp_path / "p1")}
    assert both.theirs.post(f"{API}/datasets/register", json=body).status_code == 403
    assert both.mine.post(f"{API}/datasets/register", json=body).status_code == 201
