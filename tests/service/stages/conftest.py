"""Runs without a cluster: folders, options, a dataset of one energy, and steps performed one after another."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.execution.worker import StepResult, perform
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.settings import DataPaths
from service.stages.context import Report, StepRequest
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from tasks.options.run import OPTIONS, RunOptions
from tasks.simulation.specimen import SimulationOptions, simulate


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    """Empty folders."""
    return DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")


@pytest.fixture(scope="session")
def options_of() -> Callable[..., RunOptions]:
    """``options_of(stage={...})``: options of a run that differ from the defaults."""

    def options_of(**stages: Any) -> RunOptions:
        return OPTIONS.validate_python(stages)

    return options_of


@pytest.fixture(scope="session")
def read_input() -> Callable[[DatasetStore], RunInput]:
    """``read_input(store)``: the dataset ``ds_a`` of a store, as a run takes it."""

    def read_input(store: DatasetStore) -> RunInput:
        with closing(Catalogue(f"sqlite:///{store.root.parent}/catalogue.sqlite")) as catalogue:
            return RunInputReader(DatasetRepository(catalogue, store)).read(["ds_a"])[0]

    return read_input


@pytest.fixture(scope="session")
def compute() -> Callable[..., dict[str, StepResult]]:
    """``compute(paths, graph, *stages)``: every step of a graph, or of some stages of it, in order; all must succeed."""

    def compute(paths: DataPaths, graph: Graph, *stages: str, report: Report = lambda _: None) -> dict[str, StepResult]:
        results = {}
        for step in graph.steps.values():
            if not stages or step.stage in stages:
                results[step.name] = perform(StepRequest("run_1", step, paths), report)
                assert results[step.name].fate == "done", (step.name, results[step.name].message)
        return results

    return compute


@pytest.fixture
def measured(paths: DataPaths, tmp_path: Path, read_input: Callable[[DatasetStore], RunInput]) -> RunInput:
    """The dataset ``ds_a`` of one energy, whose positions are wrong by up to a pixel."""
    simulation = simulate(
        SimulationOptions(
            n_energies=1, n_positions_side=6, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
        )
    )
    scan = simulation.scans[0]
    store = DatasetStore(paths.datasets)
    store.create(
        "ds_a",
        {
            "title": "one energy", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "orientation": 0,
            "absorber": {"element": "V", "edge": "K"}, "probe": {"kind": "kb", "fwhm_m": 3e-7, "defocus_m": 2e-4},
            "distance_m": scan.distance_m, "detector_pixel_size_m": scan.detector_pixel_size_m,
            "provenance": {"created": "2024-05-01T12:00:00+00:00"},
        },
    )  # fmt: skip
    jitter = np.random.default_rng(0).uniform(-20e-9, 20e-9, scan.positions_m.shape)
    np.savez(
        tmp_path / "scan.npz",
        counts=scan.counts,
        mask=scan.mask,
        positions_m=scan.positions_m + jitter,
        energy_ev=np.array(scan.energy_ev),
    )
    store.add_scan("ds_a", "e", tmp_path / "scan.npz")
    store.seal("ds_a")
    return read_input(store)
