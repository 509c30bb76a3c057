"""A worker with GPU=1 takes batches, and what comes of them is what single units leave."""

import time
from dataclasses import replace

import numpy as np
import pytest
from distributed import LocalCluster
from pydantic import TypeAdapter

from service.execution.batching import Batch, batch_of, parts, perform_together, unit_bytes
from service.execution.cluster import GPU_WORKER, WORKER_ENVIRONMENT, Cluster
from service.execution.runner import Runner
from service.execution.worker import perform
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.settings import Settings
from service.stages.context import DataPaths, StageContext, StepRequest
from service.stages.pipeline import build_graph
from service.workflow.step import StepRef
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from tasks.options import RunOptions
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=10, n_positions_side=5, n_pixels=32, n_states=1, n_grains=1, radius_m=0.15e-6, pixel_size_m=30e-9
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
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
        fields = {"positions_m": scan.positions_m, "energy_ev": np.array(scan.energy_ev), "mask": scan.mask}
        np.savez(file, counts=scan.counts, **fields)
        store.add_scan("ds_a", f"e{number}", file)
    store.seal("ds_a")
    catalogue = Catalogue(f"sqlite:///{folder}/datasets.sqlite")
    yield DatasetRepository(catalogue, store)
    catalogue.close()


def run_options():
    return TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 8}, "kkr": {"mode": "off"}})


@pytest.fixture
def units(datasets):
    """The first round of every energy."""
    graph = build_graph(RunInputReader(datasets).read(["ds_a"]), run_options(), "run_1")
    return [unit for unit in graph.steps.values() if unit.stage == "reconstruct"]


def places_at(datasets, folder):
    return DataPaths(datasets.store.root, folder / "units", folder / "runs")


def test_a_batch_leaves_what_single_units_leave(datasets, units, tmp_path):
    together, alone = places_at(datasets, tmp_path / "together"), places_at(datasets, tmp_path / "alone")
    told = []
    batch = Batch(tuple(StepRequest("run_1", unit, together) for unit in units[:4]))
    receipts = perform_together(batch, told.append)
    assert [(receipt.fate, receipt.is_computed) for receipt in receipts] == [("done", True)] * 4
    assert {one["unit"] for one in told} == {unit.name for unit in units[:4]}
    for unit in units[:4]:
        assert perform(StepRequest("run_1", unit, alone), lambda _: None).is_computed
        one, other = (ArtifactStore(places.artifacts).read(unit.key) for places in (together, alone))
        assert one.keys() == other.keys()
        for name in ("object", "probe", "errors", "prtf"):
            np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=2e-3 * np.abs(other[name]).max())
        assert not perform(StepRequest("run_1", unit, together), lambda _: None).is_computed, "markers serve both ways"
    again = perform_together(batch, told.append)
    assert [receipt.is_computed for receipt in again] == [False] * 4


def test_one_that_fails_is_named_and_the_others_are_done(datasets, units, tmp_path):
    places = places_at(datasets, tmp_path)
    spoilt = replace(units[1], previous=StepRef("nothing", "nothing-reconstruct"))
    calls = [StepRequest("run_1", unit, places) for unit in units[:3]]
    calls[1] = StepRequest("run_1", spoilt, places)
    receipts = perform_together(Batch(tuple(calls)), lambda _: None)
    assert [receipt.fate for receipt in receipts] == ["done", "lost", "done"]


def test_a_cancelled_batch_computes_nothing(datasets, units, tmp_path):
    places = places_at(datasets, tmp_path)
    batch = Batch(tuple(StepRequest("run_1", unit, places) for unit in units[:3]))
    receipts = perform_together(batch, lambda _: None, lambda: True)
    assert {receipt.fate for receipt in receipts} == {"cancelled"}
    assert not any(ArtifactStore(places.artifacts).has(unit.key) for unit in units)


def test_a_batch_is_split_by_memory(datasets, units, tmp_path):
    desks = [StageContext(StepRequest("run_1", unit, places_at(datasets, tmp_path)), lambda _: None) for unit in units]
    one = unit_bytes(units[0])
    assert [len(part) for part in parts(desks, 4.5 * one)] == [4, 4, 2]
    assert [len(part) for part in parts(desks, 0.1 * one)] == [1] * 10
    assert [len(part) for part in parts(desks, float("inf"))] == [10]


def test_only_units_of_one_kind_run_together(units):
    assert batch_of(units) == units
    assert batch_of(units[:1]) == []
    other = replace(units[1], n_cycles=3)
    assert batch_of([units[0], other, units[2]]) == [units[0], units[2]]


def test_the_scheduler_gives_batches_to_a_worker_with_a_card(datasets, tmp_path):
    """Its card is this machine's processor; the wheel goes by what the worker says it has."""
    ledger = RunRepository(Catalogue(f"sqlite:///{tmp_path}/catalogue.sqlite"))
    places = places_at(datasets, tmp_path)
    facts = RunInputReader(datasets)
    wheel = Runner(ledger, places, lambda ids, options: facts.read(ids), perform)
    submitted = []
    with LocalCluster(
        n_workers=1, threads_per_worker=1, resources=GPU_WORKER, dashboard_address=":0", env=WORKER_ENVIRONMENT
    ) as one:
        cluster = Cluster(Settings(data_dir=tmp_path, scheduler=one.scheduler_address), wheel.hear_progress)
        submit = cluster.submit
        cluster.submit = lambda *call: submitted.append(call) or submit(*call)
        cluster.start()
        wheel.start(cluster)
        ledger.open_run("run_1", "run_1", ["ds_a"], run_options())
        wheel.nudge()
        until = time.monotonic() + 120
        while ledger.view("run_1").state in ("queued", "running") and time.monotonic() < until:
            time.sleep(0.1)
        wheel.stop()
        cluster.stop()
    done = [event.data["unit"] for event in ledger.events("run_1", 0) if event.kind == "unit"]
    reconstructed = [name for name in done if name.startswith("reconstruct")]
    assert len(reconstructed) == len(set(reconstructed)) == 10
    first = submitted[0]
    assert (len(first[2].calls), first[4]) == (10, GPU_WORKER)
    assert not any(call[2].step.stage == "reconstruct" for call in submitted[1:])
