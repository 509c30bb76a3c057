"""A run on one energy ends after its reconstruction; two to nine energies are refused."""

from pathlib import Path

import pytest
from lab import Job, Lab, Measure, Writer

SKIPPED = ["couple", "spectra", "fit", "maps", "domains"]


@pytest.fixture(scope="module")
def single(lab: Lab, specimen: Measure, writers: dict[str, Writer], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Job]:
    dataset = lab.upload(specimen(0), tmp_path_factory.mktemp("files"), [writers["cxi"]], n=1)
    return dataset, lab.run([dataset], {"reconstruct": {"cycles": 20}})


def test_a_single_energy_stops_after_its_image_and_says_so(single: tuple[str, Job]) -> None:
    _, job = single
    assert job.view["state"] == "succeeded", job.view["error"]
    stages = {stage["name"]: stage for stage in job.view["stages"]}
    assert {name for name, stage in stages.items() if stage["state"] == "skipped"} >= set(SKIPPED)
    for name in SKIPPED:
        assert "need at least 10" in stages[name]["note"]
    assert [event["unit"] for event in job.events if event["kind"] == "unit"] == [
        "reconstruct-5420.0eV-round1", "results", "figures",
    ]  # fmt: skip


def test_a_single_energy_is_published(single: tuple[str, Job], lab: Lab) -> None:
    dataset, job = single
    assert lab.array(job, f"{dataset}/spectra/absorption").shape[0] == 1
    assert lab.array(job, f"{dataset}/reconstruction/error")[0, -1] < 1e-3
    assert lab.http.get(f"/runs/{job.id}/images/{dataset}/phase.png").content.startswith(b"\x89PNG")
    assert lab.http.get(f"/runs/{job.id}/images/{dataset}/edge_energy.png").status_code == 404
    names = [figure["name"] for figure in lab.client.call("GET", f"/runs/{job.id}/figures")["items"]]
    assert {f"images-{dataset}", f"probe-{dataset}", f"convergence-{dataset}"} <= set(names)
    assert "state-maps" not in names


@pytest.mark.parametrize("n", [2, 9])
def test_fewer_energies_than_parameters_are_refused_at_once(
    lab: Lab, specimen: Measure, writers: dict[str, Writer], tmp_path: Path, n: int
) -> None:
    dataset = lab.upload(specimen(0), tmp_path, [writers["npz"]], n=n)
    runs = lab.client.call("GET", "/runs")["items"]
    answer = lab.http.post("/runs", json={"datasets": [dataset]})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["code"] == "invalid-input"
    assert [error["field"] for error in problem["errors"]] == ["datasets.0"]
    assert f"has {n} energies" in problem["detail"]
    assert "ten parameters" in problem["detail"]
    assert lab.client.call("GET", "/runs")["items"] == runs
