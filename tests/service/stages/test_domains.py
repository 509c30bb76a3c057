"""What the step of the domains says of its options, and what it takes for the spectra of pixels."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imaged import PIXEL_M, imaged

from service.execution.worker import perform
from service.settings import DataPaths
from service.stages.context import StepRequest
from service.stages.pipeline import build_graph
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.options.run import RunOptions
from tasks.scattering import Absorber


@pytest.fixture
def store(paths: DataPaths, tmp_path: Path) -> DatasetStore:
    """With one sealed dataset of images."""
    store = DatasetStore(paths.datasets)
    about = {"sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
    store.create("ds_a", {"title": "images", "kind": "images", "provenance": {"created": "2024-05-01T12:00:00+00:00"}} | about)
    np.savez(tmp_path / "images.npz", pixel_size_m=PIXEL_M, energy_ev=imaged().energies_ev, object=imaged().objects)
    store.add_scan("ds_a", "stack", tmp_path / "images.npz")
    store.seal("ds_a")
    return store


def test_a_number_of_domains_far_from_the_elbow_is_warned_of(
    paths: DataPaths, store: DatasetStore, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    def warnings(k: int) -> list[str]:
        options = options_of(domains={"n_domains": k, "replicates": 0}, fit={"min_jump_to_sigma": 3.0})
        graph = build_graph([read_input(store)], options, "run_1")
        results = compute(paths, graph, "spectra", "fit", "maps", "domains")
        [step] = [step for step in graph.steps.values() if step.stage == "domains"]
        return list(results[step.name].attributes["warnings"])

    [told] = warnings(6)
    assert told.startswith("domains.n_domains is 6, the elbow of the inertia lies at 2")
    assert warnings(3) == []


def test_components_are_of_spectra_in_edge_jumps_at_the_wavelength_of_the_edge(
    paths: DataPaths, store: DatasetStore, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    options = options_of(domains={"n_domains": 3, "replicates": 0}, fit={"min_jump_to_sigma": 3.0})
    graph = build_graph([read_input(store)], options, "run_1")
    compute(paths, graph, "spectra", "fit", "maps", "domains")
    artifacts = ArtifactStore(paths.artifacts)
    spectra, maps, domains = (
        artifacts.read(next(step.key for step in graph.steps.values() if step.stage == stage))
        for stage in ("spectra", "maps", "domains")
    )
    mask = maps["mask"]
    scale = (spectra["energy_ev"] / Absorber("V", "K").edge_energy_ev)[:, None]
    expected = (spectra["absorption"][:, mask] * scale - maps["offset"][mask]) / maps["edge_jump"][mask]
    np.testing.assert_allclose(domains["mean_spectrum"], expected.mean(axis=1), atol=1e-4)


def test_a_run_whose_pixels_are_all_masked_says_what_became_of_them(
    paths: DataPaths, store: DatasetStore, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    options = options_of(domains={"n_domains": 1, "replicates": 0}, fit={"min_jump_to_sigma": 1e4})
    graph = build_graph([read_input(store)], options, "run_1")
    compute(paths, graph, "spectra", "fit", "maps")
    [step] = [step for step in graph.steps.values() if step.stage == "domains"]
    outcome = perform(StepRequest("run_1", step, paths), lambda *_: None)
    assert outcome.fate == "failed"
    assert re.search(r"of the \d{3} of the specimens 0 are kept, \d{3} have an edge jump too small", outcome.message)
