"""Runs on images: no reconstruction, and without a phase no electrons."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from imaged import PIXEL_M, imaged

from service.errors import InvalidInputError
from service.settings import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.preflight import check_run
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.options.run import RunOptions
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import reference_text
from tasks.simulation.specimen import SimulationOptions, grow_specimen

SHOWN = ("spectra", "maps")
OPTIONS = {"domains": {"n_domains": 2, "replicates": 0}, "fit": {"min_jump_to_sigma": 3.0}}


def store_images(paths: DataPaths, folder: Path, read_input: Callable[[DatasetStore], RunInput], **arrays: Any) -> RunInput:
    """The dataset ``ds_a`` of one file of images, as a run takes it."""
    store = DatasetStore(paths.datasets)
    store.create(
        "ds_a",
        {
            "title": "images", "kind": "images", "sample": {"name": "", "formula": "LiVO2", "group": ""},
            "absorber": {"element": "V", "edge": "K"}, "provenance": {"created": "2024-05-01T12:00:00+00:00"},
        },
    )  # fmt: skip
    np.savez(folder / "images.npz", pixel_size_m=PIXEL_M, **{"energy_ev": imaged().energies_ev, **arrays})
    store.add_scan("ds_a", "stack", folder / "images.npz")
    store.seal("ds_a")
    return read_input(store)


def published(paths: DataPaths, group: str) -> set[str]:
    """Names of the arrays in a group of the results."""
    return set(zarr.open_group(paths.results("run_1") / group, mode="r").array_keys())


def test_objects_are_coupled_and_mapped_without_a_reconstruction(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    # each energy in a gauge of its own, as reconstructions leave them
    gauges = np.exp(1j * np.linspace(0, 5, 12))[:, None, None] * np.linspace(0.9, 1.1, 12)[:, None, None]
    dataset = store_images(paths, tmp_path, read_input, object=imaged().objects * gauges)
    options = options_of(**OPTIONS)
    check_run([dataset], options)
    graph = build_graph([dataset], options, "run_1")
    assert [step.stage for step in graph.steps.values()] == ["spectra", "fit", "maps", "domains", "results", *["figures"] * 3]
    assert graph.skipped["reconstruct"] == "all datasets are images, which need no reconstruction"
    compute(paths, graph, "spectra", "fit", "maps", "domains")
    arrays = {step.stage: ArtifactStore(paths.artifacts).read(step.key) for step in graph.steps.values() if step.stage in SHOWN}
    assert {"absorption", "phase", "kk_residual", "frc", "resolution_m"} <= arrays["spectra"].keys()
    assert np.abs(arrays["spectra"]["phase"][:, arrays["spectra"]["vacuum_mask"]].mean(axis=1)).max() < 1e-3
    assert {"edge_energy", "electron_ratio"} <= arrays["maps"].keys()


def test_a_hole_in_the_specimen_bends_nothing_around_it(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    arrays = []
    for name, hole in (("whole", slice(0)), ("holed", slice(24, 30))):
        objects = imaged().objects.copy()
        objects[:, hole, hole] = np.nan
        folder = tmp_path / name
        folder.mkdir()
        of_its_own = replace(paths, datasets=folder / "datasets", artifacts=folder / "units")
        graph = build_graph([store_images(of_its_own, folder, read_input, object=objects)], options_of(**OPTIONS), "run_1")
        compute(of_its_own, graph, "spectra")
        key = next(step.key for step in graph.steps.values() if step.stage == "spectra")
        arrays.append(ArtifactStore(of_its_own.artifacts).read(key))
    whole, holed = arrays
    both = whole["sample_mask"] & holed["sample_mask"]
    assert 36 <= np.count_nonzero(whole["sample_mask"] & ~both) < 150
    assert np.abs(holed["shift_px"] - whole["shift_px"]).max() < 0.03  # 0.19 where the hole is filled with vacuum and looked at
    for name, most in (("absorption", 0.006), ("phase", 0.02)):  # beside a step to vacuum 0.034 and 0.098
        assert np.abs(holed[name] - whole[name])[:, both].max() < most


@pytest.fixture
def absorption_run(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> tuple[Graph, dict[str, Any]]:
    """A run on counts without I0, and what its steps returned."""
    counts = 1000 * imaged().transmission * np.linspace(1, 2, 12)[:, None, None]
    dataset = store_images(paths, tmp_path, read_input, intensity=counts)
    graph = build_graph([dataset], options_of(**OPTIONS), "run_1")
    return graph, compute(paths, graph)


def test_absorption_alone_goes_to_domains_and_says_what_it_leaves_out(
    paths: DataPaths, absorption_run: tuple[Graph, dict[str, Any]]
) -> None:
    _, results = absorption_run
    spectra, maps = published(paths, "ds_a/spectra"), published(paths, "ds_a/maps")
    assert {"absorption", "incident_intensity"} <= spectra
    assert not {"phase", "kk_residual", "sigma_phase"} & spectra
    assert {"edge_energy", "n_absorber"} <= maps
    measured = next((found.attributes or {}) for name, found in results.items() if name.startswith("maps"))
    stated = zarr.open_group(paths.results("run_1") / "ds_a/maps", mode="r").attrs
    assert measured["blur_px"] > 0.2
    assert stated["blur_px"] == pytest.approx(measured["blur_px"])
    assert stated["noise_correlation"] == measured["noise_correlation"]
    assert not {"n_electron", "n_electron_sigma", "electron_ratio", "electron_ratio_sigma"} & maps
    descriptors = zarr.open_array(paths.results("run_1") / "domains/descriptor", mode="r")
    assert np.asarray(descriptors[...]).tolist() == ["edge_energy", "pre_edge_ratio"]
    incident = zarr.open_array(paths.results("run_1") / "ds_a/spectra/incident_intensity", mode="r")
    np.testing.assert_allclose(np.asarray(incident[...]), 1000 * np.linspace(1, 2, 12), rtol=2e-3)
    said = " ".join(text for result in results.values() for text in (result.attributes or {}).get("warnings", ()))
    assert "Kramers-Kronig" in said
    assert "electron_ratio needs the phase" in said


def test_options_that_need_a_phase_are_refused_without_one(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions]
) -> None:
    dataset = store_images(paths, tmp_path, read_input, transmission=imaged().transmission)
    with pytest.raises(InvalidInputError, match="has no phase"):
        check_run([dataset], options_of(fit={"joint": True}, kkr={"mode": "off"}))
    with pytest.raises(InvalidInputError, match="need a phase"):
        check_run([dataset], options_of(domains={"descriptors": ["electron_ratio"]}))


def test_one_image_is_published_as_it_is(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    one = imaged()
    dataset = store_images(paths, tmp_path, read_input, transmission=one.transmission[0], energy_ev=one.energies_ev[:1])
    compute(paths, build_graph([dataset], options_of(), "run_1"), "results")
    found = zarr.open_array(paths.results("run_1") / "ds_a/spectra/absorption", mode="r")[0]
    np.testing.assert_allclose(np.asarray(found), -0.5 * np.log(one.transmission[0]), rtol=1e-4, atol=1e-6)


def test_a_model_with_parameters_of_its_own_is_fitted_and_mapped(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    dataset = store_images(paths, tmp_path, read_input, transmission=imaged(20).transmission, energy_ev=imaged(20).energies_ev)
    graph = build_graph(
        [dataset], options_of(**{**OPTIONS, "fit": {"model": "two_pre_edges", "min_jump_to_sigma": 3.0}}), "run_1"
    )
    compute(paths, graph, "spectra", "fit", "maps")
    arrays = {step.stage: ArtifactStore(paths.artifacts).read(step.key) for step in graph.steps.values() if step.stage == "maps"}
    assert "pre_edge_2_energy" in arrays["maps"], sorted(arrays["maps"])


def test_images_are_explained_as_mixtures_of_references(
    paths: DataPaths, tmp_path: Path, read_input: Any, options_of: Callable[..., RunOptions], compute: Callable[..., Any]
) -> None:
    absorber = Absorber("V", "K")
    texts = [reference_text(state, absorber) for state in grow_specimen(SimulationOptions(n_states=2)).states]
    dataset = store_images(paths, tmp_path, read_input, transmission=imaged().transmission)
    options = options_of(**OPTIONS, references={"xdi": texts})
    check_run([dataset], options)
    graph = build_graph([dataset], options, "run_1")
    compute(paths, graph, "spectra", "fit", "maps", "references")
    wanted = [step for step in graph.steps.values() if step.stage in ("maps", "references")]
    found = {step.stage: ArtifactStore(paths.artifacts).read(step.key) for step in wanted}
    mask, shares = found["maps"]["mask"], found["references"]["fraction"]
    assert shares.shape == (2, *mask.shape)
    np.testing.assert_allclose(shares[:, mask].sum(axis=0), 1, atol=1e-6)
    assert 0.1 < shares[0, mask].mean() < 0.9, "both states are there"
    assert shares[0, mask].std() > 0.2, "in grains of their own"
