"""The main job: a measurement is uploaded over HTTP; the service returns progress, maps, figures and results."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from lab import Array, Job, Lab, Measure
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
STAGES = ["reconstruct", "couple", "spectra", "fit", "maps", "domains", "results", "figures"]
MAPS = ["edge_energy", "pre_edge_ratio", "electron_ratio", "n_absorber", "edge_jump", "residual", "status", "edge_energy_sigma"]


def pixels(content: bytes) -> Array:
    assert content.startswith(PNG)
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def test_a_run_succeeds_and_reports_every_stage(main_job: Job, lab: Lab, specimen: Measure) -> None:
    assert (main_job.view["state"], main_job.view["error"]) == ("succeeded", None)
    assert main_job.view["progress"] == 1
    stages = {stage["name"]: stage for stage in main_job.view["stages"]}
    assert [name for name, stage in stages.items() if stage["state"] == "done"] == STAGES
    assert {stage["state"] for name, stage in stages.items() if name not in STAGES} <= {"skipped"}
    n = len(specimen(0).scans)
    assert [stages[name]["done"] for name in ("reconstruct", "couple", "spectra")] == [2 * n, 1, 1]


def test_progress_is_reported_during_the_run(main_job: Job) -> None:
    told = [event for event in main_job.events if event["kind"] == "progress"]
    shares = [event["progress"] for event in told]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) >= 5
    under_way = [stage["name"] for event in told for stage in event["stages"] if stage["state"] == "running"]
    assert "reconstruct" in under_way
    states = [event["state"] for event in main_job.events if event["kind"] == "state"]
    assert states == ["queued", "running", "succeeded"]
    assert main_job.events[-1]["kind"] == "end"


def test_every_step_is_reported_once_by_a_readable_name(main_job: Job, specimen: Measure) -> None:
    steps = [event for event in main_job.events if event["kind"] == "unit"]
    names = [event["unit"] for event in steps]
    assert len(names) == len(set(names)) == sum(stage["total"] for stage in main_job.view["stages"])
    assert all(event["computed"] for event in steps)
    assert {"reconstruct-5420.0eV-round1", "reconstruct-5420.0eV-round2", "couple-round1", "fit-tile1of1"} <= set(names)
    assert {event["energy_ev"] for event in steps if event["stage"] == "reconstruct"} == set(specimen(0).energies_ev)


def test_a_round_waits_for_the_barrier_before_it(main_job: Job) -> None:
    names = [event["unit"] for event in main_job.events if event["kind"] == "unit"]
    barrier = names.index("couple-round1")
    assert all("round1" in name for name in names[:barrier])
    assert all("round1" not in name for name in names[barrier + 1 :])


def test_events_resume_where_a_reader_left(main_job: Job, lab: Lab) -> None:
    def ids(after: int) -> list[int]:
        text = lab.http.get(f"/runs/{main_job.id}/events", headers={"Last-Event-ID": str(after)}).text
        return [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]

    everything = ids(0)
    assert everything == sorted(set(everything))
    assert ids(everything[10]) == everything[11:]


@pytest.mark.parametrize(("job", "dataset"), [("main_job", "pristine"), ("joint_job", "charged")])
def test_maps_are_near_the_truth(request: pytest.FixtureRequest, lab: Lab, job: str, dataset: str) -> None:
    found = lab.assess(request.getfixturevalue(job), request.getfixturevalue(dataset))
    assert abs(found.edge_energy_off_ev) < 0.15
    assert found.edge_energy_sd_ev < 0.6
    assert abs(found.pre_edge_ratio_off_ev) < 0.25
    assert found.pre_edge_ratio_sd_ev < 0.5
    assert abs(found.n_absorber_ratio - 1) < 0.03
    assert abs(found.electron_ratio_off) < 1.0
    assert found.electron_ratio_sd < 2.5
    assert found.coverage > 0.65


def test_the_kramers_kronig_relation_holds_afterwards(main_job: Job, lab: Lab, pristine: str) -> None:
    before, after = (lab.array(main_job, f"{pristine}/spectra/{name}") for name in ("kk_residual_before", "kk_residual"))
    assert before.mean() < 1.5
    assert (after < 1e-3 * before).all()


def test_every_figure_is_listed_and_is_a_picture(main_job: Job, lab: Lab, pristine: str) -> None:
    listed = lab.client.call("GET", f"/runs/{main_job.id}/figures")["items"]
    names = [figure["name"] for figure in listed]
    wanted = {"state-maps", "histograms", "domain-maps", "domain-fractions", "elbow"}
    assert wanted | {f"{kind}-{pristine}" for kind in ("images", "area-spectra", "probe", "convergence")} <= set(names)
    for figure in listed:
        answer = lab.http.get(f"{lab.client.url}{figure['url']}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        image = pixels(answer.content)
        assert min(image.shape[:2]) >= 200
        assert max(image.shape[:2]) <= 6000
        assert image.std() > 5, f"{figure['name']} is blank"


def test_figures_are_vectors_too(main_job: Job, lab: Lab, pristine: str) -> None:
    figures = f"/runs/{main_job.id}/figures"
    assert lab.http.get(f"{figures}/state-maps.pdf").content.startswith(b"%PDF")
    drawn = lab.http.get(f"{figures}/convergence-{pristine}.svg")
    assert drawn.headers["content-type"].startswith("image/svg+xml")
    assert ElementTree.fromstring(drawn.content).tag.endswith("}svg")


@pytest.mark.parametrize("variable", MAPS)
def test_every_map_is_a_picture(main_job: Job, lab: Lab, pristine: str, variable: str) -> None:
    image = pixels(lab.http.get(f"/runs/{main_job.id}/images/{pristine}/{variable}.png?width=300").content)
    assert image.shape[1] == 300
    assert image.std() > 5


def test_pictures_of_one_energy_follow_the_absorption(main_job: Job, lab: Lab, pristine: str) -> None:
    def mean_brightness(energy_ev: float) -> float:
        query: dict[str, str | float] = {"energy_ev": energy_ev, "cmap": "gray", "vmin": 0, "vmax": 0.15, "width": 200}
        image = pixels(lab.http.get(f"/runs/{main_job.id}/images/{pristine}/absorption.png", params=query).content)
        middle = image[image.shape[0] // 3 : image.shape[0] * 2 // 3, 70:130]
        return float(middle.mean())

    below, above = mean_brightness(5420), mean_brightness(5540)
    assert above > below + 20, "the specimen absorbs more above the edge"


def test_a_picture_that_means_nothing_is_refused(main_job: Job, lab: Lab, pristine: str) -> None:
    for query, field in (("cmap=nosuchmap", "cmap"), ("width=1", "width"), ("vmin=2&vmax=1", "vmin")):
        answer = lab.http.get(f"/runs/{main_job.id}/images/{pristine}/edge_energy.png?{query}")
        assert answer.status_code == 422, query
        assert answer.headers["content-type"] == "application/problem+json"
        assert field in answer.text
    assert lab.http.get(f"/runs/{main_job.id}/images/{pristine}/nothing.png").status_code == 404
