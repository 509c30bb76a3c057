"""Workers with GPU=1 compute batches, and a batch leaves what single steps leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster

from service.execution.batching import Batch, batches_of, parts, perform_together, step_bytes
from service.execution.dask.cluster import GPU_WORKER, Cluster
from service.execution.dask.task import WORKER_ENVIRONMENT, Outcome, TaskSpec
from service.execution.runner import Runner
from service.execution.worker import perform
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.settings import DataPaths, Settings
from service.stages.context import StageContext, StepRequest
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.workflow.step import StepRef
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from tasks.options.run import OPTIONS, RunOptions
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=10, n_positions_side=5, n_pixels=32, n_states=1, n_grains=1, radius_m=0.15e-6, pixel_size_m=30e-9
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatasetRepository]:
    """Ten energies in a sealed dataset."""
    folder = tmp_path_factory.mktemp("batches")
    simulation = simulate(SMALL)
    store = DatasetStore(folder / "datasets")
    about = {"title": "t", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    first = simulation.scans[0]
    lengths = {"distance_m": first.distance_m, "detector_pixel_size_m": first.detector_pixel_size_m}
    made = {"provenance": {"created": "2024-05-01T12:00:00+00:00"}}
    store.create("ds_a", {**about, **lengths, **made, "orientation": 0, "probe": {"kind": "gaussian", "fwhm_m": 300e-9}})
    for number, scan in enumerate(simulation.scans):
        file = folder / "scan.npz"
        energy_ev = np.array(scan.energy_ev)
        np.savez(file, counts=scan.counts, positions_m=scan.positions_m, energy_ev=energy_ev, mask=scan.mask)
        store.add_scan("ds_a", f"e{number}", file)
    store.seal("ds_a")
    catalogue = Catalogue(f"sqlite:///{folder}/datasets.sqlite")
    yield DatasetRepository(catalogue, store)
    catalogue.close()


def run_options(**reconstruct: object) -> RunOptions:
    chosen = {"cycles": 8, "start_from": "optics"} | reconstruct
    return OPTIONS.validate_python({"reconstruct": chosen, "kkr": {"mode": "off"}})


def steps_of(datasets: DatasetRepository, options: RunOptions) -> list[ReconstructStep]:
    """The reconstructions of a run."""
    graph = build_graph(RunInputReader(datasets).read(["ds_a"]), options, "run_1")
    return [step for step in graph.steps.values() if isinstance(step, ReconstructStep)]


@pytest.fixture
def steps(datasets: DatasetRepository) -> list[ReconstructStep]:
    """The first round of every energy."""
    return steps_of(datasets, run_options())


def paths_at(datasets: DatasetRepository, folder: Path) -> DataPaths:
    return DataPaths(datasets.store.root, folder / "units", folder / "runs")


def requests_of(steps: list[ReconstructStep], paths: DataPaths) -> tuple[StepRequest, ...]:
    return tuple(StepRequest("run_1", step, paths) for step in steps)


@pytest.mark.parametrize("start_from", ["optics", "reference"])
def test_a_batch_leaves_what_single_steps_leave(datasets: DatasetRepository, start_from: str, tmp_path: Path) -> None:
    together, alone = paths_at(datasets, tmp_path / "together"), paths_at(datasets, tmp_path / "alone")
    first, *steps = steps_of(datasets, run_options(cycles=16, start_from=start_from))[:4]
    for paths in (together, alone):
        assert perform(StepRequest("run_1", first, paths), lambda _: None).is_computed
    told: list[dict[str, Any]] = []
    batch = Batch(requests_of(steps, together))
    results = perform_together(batch, told.append)
    assert [(result.fate, result.is_computed) for result in results] == [("done", True)] * 3
    assert {one["unit"] for one in told} == {step.name for step in steps}
    for step in steps:
        assert step.needs == ((first.name,) if start_from == "reference" else ())
        assert perform(StepRequest("run_1", step, alone), lambda _: None).is_computed
        one, other = (ArtifactStore(paths.artifacts).read(step.key) for paths in (together, alone))
        assert one.keys() == other.keys()
        for name in ("object", "probe", "errors", "prtf"):
            np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=2e-3 * np.abs(other[name]).max())
        assert not perform(StepRequest("run_1", step, together), lambda _: None).is_computed, "each uses the other's results"
    again = perform_together(batch, told.append)
    assert [result.is_computed for result in again] == [False] * 3


def test_one_that_fails_is_named_and_the_others_are_done(
    datasets: DatasetRepository, steps: list[ReconstructStep], tmp_path: Path
) -> None:
    spoilt = [steps[0], replace(steps[1], previous=StepRef("nothing", "nothing-reconstruct")), steps[2]]
    results = perform_together(Batch(requests_of(spoilt, paths_at(datasets, tmp_path))), lambda _: None)
    assert [result.fate for result in results] == ["done", "lost", "done"]


def test_a_cancelled_batch_computes_nothing(datasets: DatasetRepository, steps: list[ReconstructStep], tmp_path: Path) -> None:
    paths = paths_at(datasets, tmp_path)
    results = perform_together(Batch(requests_of(steps[:3], paths)), lambda _: None, lambda: True)
    assert {result.fate for result in results} == {"cancelled"}
    assert not any(ArtifactStore(paths.artifacts).has(step.key) for step in steps)


def test_a_batch_that_was_given_up_and_fails_is_not_computed_one_by_one(
    datasets: DatasetRepository, steps: list[ReconstructStep], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = [replace(steps[0], previous=StepRef("nothing", "nothing-reconstruct")), steps[1]]
    heard = iter((False, False))  # as each begins; from then on it is given up
    requests = requests_of(spoilt, paths_at(datasets, tmp_path))
    results = perform_together(Batch(requests), lambda _: None, lambda: next(heard, True))
    assert ([result.fate for result in results], caplog.text) == (["cancelled"] * 2, "")


def test_a_batch_is_split_by_memory(datasets: DatasetRepository, steps: list[ReconstructStep], tmp_path: Path) -> None:
    contexts = [StageContext(request, lambda _: None) for request in requests_of(steps, paths_at(datasets, tmp_path))]
    one = step_bytes(steps[0])
    assert [len(part) for part in parts(contexts, 4.5 * one)] == [4, 4, 2]
    assert [len(part) for part in parts(contexts, 0.1 * one)] == [1] * 10
    assert [len(part) for part in parts(contexts, float("inf"))] == [10]


def test_only_steps_of_one_kind_run_together(steps: list[ReconstructStep]) -> None:
    assert batches_of(steps) == [tuple(steps)]
    assert batches_of(steps[:1]) == [(steps[0],)]
    assert batches_of([]) == []
    other = replace(steps[1], n_cycles=3)
    assert batches_of([steps[0], other, steps[2]]) == [(steps[0], steps[2])]


def test_no_step_is_in_one_batch_with_what_it_reads(steps: list[ReconstructStep]) -> None:
    later = [replace(step, label=f"{step.label}-again", previous=step.ref) for step in steps]
    assert batches_of([*steps, *later]) == [tuple(steps)]
    assert batches_of([*steps[1:], *later]) == [(*steps[1:], later[0])]


def test_several_workers_divide_the_steps(steps: list[ReconstructStep]) -> None:
    assert [len(batch) for batch in batches_of(steps, 3)] == [4, 4, 2]
    assert [len(batch) for batch in batches_of(steps, 20)] == [2] * 5


def reconstructed(records: RunRepository) -> list[str]:
    """Reconstructions of the run that have ended well."""
    names = [event.data["unit"] for event in records.events("run_1", 0) if event.kind == "unit"]
    return [name for name in names if name.startswith("reconstruct")]


def test_the_scheduler_gives_batches_to_a_worker_with_a_card(
    datasets: DatasetRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its card is this machine's processor; the run loop goes by what the worker says it has."""
    catalogue = Catalogue(f"sqlite:///{tmp_path}/catalogue.sqlite")
    records, inputs = RunRepository(catalogue), RunInputReader(datasets)
    runner = Runner(records, paths_at(datasets, tmp_path), lambda ids, options: inputs.read(ids), perform)
    submitted: list[TaskSpec] = []
    with LocalCluster(
        n_workers=1, threads_per_worker=1, resources=GPU_WORKER, dashboard_address=":0", env=WORKER_ENVIRONMENT
    ) as one:
        cluster = Cluster(Settings(data_dir=tmp_path, scheduler=one.scheduler_address), runner.hear_progress)
        submit = cluster.submit

        def note_and_submit(tasks: Sequence[TaskSpec], on_end: Callable[[str, Outcome], None]) -> None:
            submitted.extend(tasks)
            submit(tasks, on_end)

        monkeypatch.setattr(cluster, "submit", note_and_submit)
        cluster.start()
        runner.start(cluster)
        records.open_run("run_1", "run_1", ["ds_a"], run_options())
        runner.wake()
        until = time.monotonic() + 120
        while len(reconstructed(records)) < 10 and time.monotonic() < until:
            time.sleep(0.1)
        runner.stop()
        cluster.stop()
    done = reconstructed(records)
    catalogue.close()
    assert len(done) == len(set(done)) == 10
    batches = [task for task in submitted if isinstance(task.request, Batch)]
    assert [(len(batch.request.requests), batch.resources) for batch in batches] == [(10, GPU_WORKER)]
    assert not any(task.request.step.stage == "reconstruct" for task in submitted if task not in batches)
