"""The service killed in the middle of a reconstruction, and started again: nothing finished is computed twice."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from lab import BRIEF_OPTIONS, N_WORKERS, Array, Job, Lab, OpenLab, Writer, brief_specimen

from service.execution.reporter import EVENTS_S
from storage.atomic import PREFIX, abandoned

Survivor = tuple[Lab, str, Job, dict[str, int], list[int]]
"""What the fixture of that name holds."""


def finished_steps(data_dir: Path) -> dict[str, int]:
    """When each finished step was written, by its key; one killed just before its rename may have a manifest, but no place."""
    return {manifest.parent.name: manifest.stat().st_mtime_ns for manifest in data_dir.glob("units/*/[!.]*/manifest.json")}


def wait_for_second_round(lab: Lab, n_steps: int, timeout_s: float = 180) -> None:
    """Until some energies are through the second round, and others are not."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if sum(key.endswith("-reconstruct") for key in finished_steps(lab.serving.data_dir)) >= n_steps:
            return
        time.sleep(0.02)
    raise AssertionError("the run did not come so far")


def event_ids(lab: Lab, run: str, after: int, n: int | None = None) -> list[int]:
    """Numbers of a run's events after the one seen last, to the end of the stream, or the first ``n``."""
    found: list[int] = []
    with lab.http.stream("GET", f"/runs/{run}/events", headers={"Last-Event-ID": str(after)}) as stream:
        for line in stream.iter_lines():
            found += [int(line.removeprefix("id: "))] if line.startswith("id: ") else []
            if n is not None and len(found) >= n:
                break
    return found


@pytest.fixture(scope="module")
def rounds_are_kept() -> Iterator[None]:
    """What was written when can be seen after the run has succeeded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PTYXAS_KEEP_ROUNDS", "1")
        yield


@pytest.fixture(scope="module")
def survivor(
    rounds_are_kept: None,
    own_lab: OpenLab,
    writers: dict[str, Writer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Survivor]:
    """Service, dataset, run, its events, and what was finished when the first service died."""
    folder = tmp_path_factory.mktemp("killed")
    with own_lab(folder / "data") as lab:
        dataset = lab.upload(brief_specimen(), folder, [writers["cxi"]])
        run = lab.submit([dataset], BRIEF_OPTIONS, is_drawn=False)
        wait_for_second_round(lab, len(brief_specimen().scans) + 1)
        seen = event_ids(lab, run, 0, n=5)
        table = lab.client.call("GET", f"/runs/{run}/energies")["items"]
        assert len(table) == len(brief_specimen().scans), "a run under way shows what its energies have come to"
        assert all(row["r_factor"] > 0 and row["resolution_m"] is None for row in table)
        lab.serving.kill()
        finished = finished_steps(folder / "data")
    with own_lab(folder / "data") as lab:
        events = list(lab.client.follow(run))
        lab.simulations[dataset] = brief_specimen()
        yield lab, dataset, lab.job(run, events), finished, seen


def test_it_was_in_the_middle_of_a_round(survivor: Survivor) -> None:
    lab, finished = survivor[0], survivor[3]
    n = len(brief_specimen().scans)
    done = sum(key.endswith("-reconstruct") for key in finished)
    assert n < done < 2 * n
    assert sum(key.endswith("-couple") for key in finished) == 1
    assert len(finished) < len(finished_steps(lab.serving.data_dir))


def test_the_run_goes_on_by_itself_to_its_end(survivor: Survivor) -> None:
    job = survivor[2]
    assert job.view["state"] == "succeeded", job.view["error"]
    assert {stage["state"] for stage in job.view["stages"]} <= {"done", "skipped"}
    assert job.view["stages"][-1] | {"note": None} == {"name": "figures", "done": 3, "total": 3, "state": "done", "note": None}
    states = [event["state"] for event in job.events if event["kind"] == "state"]
    assert states == ["queued", "running", "succeeded"], "one run, not a second"


def test_nothing_finished_is_computed_twice(survivor: Survivor) -> None:
    lab, job, finished = survivor[0], survivor[2], survivor[3]
    now = finished_steps(lab.serving.data_dir)
    assert {key: now[key] for key in finished} == finished, "a finished step was written again"
    computed = Counter(event["unit"] for event in job.events if event["kind"] == "unit" and event["computed"])
    assert [step for step, times in computed.items() if times > 1] == []
    assert sum(computed.values()) <= sum(stage["total"] for stage in job.view["stages"]) == len(now)
    last = max(finished.values())
    n_untold = sum(last - written < 2e9 * EVENTS_S for written in finished.values())
    assert computed.total() >= len(now) - max(4, n_untold), "at most what was finished right before goes untold"


def test_a_listener_goes_on_after_the_last_event_it_saw(survivor: Survivor) -> None:
    lab, job, seen = survivor[0], survivor[2], survivor[4]
    everything = event_ids(lab, job.id, 0)
    assert seen + event_ids(lab, job.id, seen[-1]) == everything
    assert everything == sorted(set(everything))
    assert len(everything) > len(seen)


def test_nothing_half_way_has_its_place(survivor: Survivor) -> None:
    data = survivor[0].serving.data_dir
    whole = {manifest.parent for manifest in data.glob("units/*/[!.]*/manifest.json")}
    folders = {path for path in data.glob("units/*/*") if path.is_dir()}
    killed_at_work = {path for path in folders if path.name.startswith(PREFIX)}
    assert folders - killed_at_work == whole
    assert len(killed_at_work) <= N_WORKERS, "each worker was writing one at most when it was killed, and none was killed since"
    assert set(abandoned(data / "units", older_than_s=0)) == killed_at_work, "gc finds them once they are old"
    assert list((data / "uploads").iterdir()) == []


def test_results_are_those_of_a_run_that_nobody_disturbed(survivor: Survivor, undisturbed: dict[str, Array]) -> None:
    lab, dataset, job = survivor[:3]
    disturbed = lab.arrays(job.id, dataset)
    assert disturbed.keys() == undisturbed.keys()
    assert len(disturbed) > 50
    for name, values in disturbed.items():
        np.testing.assert_allclose(values, undisturbed[name], rtol=1e-6, atol=0, err_msg=name)


def test_scans_sent_before_are_still_known(survivor: Survivor, writers: dict[str, Writer], tmp_path: Path) -> None:
    lab, dataset = survivor[:2]
    view = lab.client.call("GET", f"/datasets/{dataset}")
    assert (view["state"], len(view["scans"])) == ("sealed", len(brief_specimen().scans))
    writers["cxi"](tmp_path / "again", brief_specimen().scans[0])
    assert lab.put(dataset, "e000", tmp_path / "again").status_code == httpx.codes.OK
