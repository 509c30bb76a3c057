"""The stages themselves, unit by unit without a cluster: keys in, arrays of the right names out, known answers kept."""

import dataclasses
import io
import json
from typing import get_args

import numpy as np
import pytest
import xarray as xr
from pydantic import TypeAdapter
from scipy.special import erf

from service.execution.worker import perform
from service.previews import read_image, read_partial_image
from service.records.run_inputs import RunInputReader
from service.stages.context import DataPaths, StepRequest, stored_warnings
from service.stages.pipeline import build_graph
from service.stages.scans import as_scan, first_probe
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from storage.results import ResultsStore
from tasks.options import Descriptor, RunOptions
from tasks.ptycho.probe import ProbeSpec
from tasks.ptycho.scan import Canvas

EDGES_EV = (5478.0, 5480.0)
"""Edge energies of the two halves of the made-up specimen."""
STUCK_EV = 5515.0
"""The energy at which R stayed high."""


@pytest.fixture
def places(tmp_path):
    return DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")


def run_options(**stages) -> RunOptions:
    return TypeAdapter(RunOptions).validate_python(stages)


def walk(places: DataPaths, graph: Graph, report=lambda _: None):
    """Perform every unit in order; all must succeed."""
    receipts = {}
    for unit in graph.steps.values():
        receipts[unit.name] = perform(StepRequest("run_1", unit, places), report)
        assert receipts[unit.name].fate == "done", (unit.name, receipts[unit.name].message)
    return receipts


def small_scan(probe=None) -> bytes:
    """A 5 x 5 raster over nothing, lit by a Gaussian: 32 x 32 frames, all alike but for noise."""
    rng = np.random.default_rng(1)
    y, x = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    r2 = ((np.indices((32, 32)) - 16) ** 2).sum(axis=0)
    arrays = {
        "counts": rng.poisson(200 * np.exp(-r2 / 30), (25, 32, 32)).astype(np.uint16),
        "positions_m": np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        "energy_ev": np.array(5420.0),
    }
    file = io.BytesIO()
    np.savez(file, **arrays, **({} if probe is None else {"probe": probe}))
    return file.getvalue()


@pytest.fixture
def single(places, tmp_path):
    store = DatasetStore(places.datasets)
    store.create(
        "ds_a",
        {
            "title": "one energy", "sample": {"name": "", "formula": "LiVO2", "group": ""}, "orientation": 0,
            "absorber": {"element": "V", "edge": "K"}, "probe": {"kind": "gaussian", "fwhm_m": 3e-7},
            "distance_m": 0.5, "detector_pixel_size_m": 75e-6,
        },
    )  # fmt: skip
    file = tmp_path / "scan.npz"
    file.write_bytes(small_scan())
    store.add_scan("ds_a", "e", file)
    store.seal("ds_a")
    return RunInputReader(store)


def test_a_single_energy_is_reconstructed_drawn_and_published(places, single):
    options = run_options(reconstruct={"cycles": 6}, kkr={"start": 4, "every": 2})
    graph = build_graph(single.read(["ds_a"]), options, "run_1")
    told = []
    receipts = walk(places, graph, told.append)
    last = graph.steps["reconstruct-5420.0eV-round2"]
    state = ArtifactStore(places.units).read(last.key)
    assert state["errors"].shape == (6,)
    assert state["errors"][-1] < state["errors"][0]
    assert receipts[last.name].facts["cycle"] == 6
    assert told[0]["unit"] == "reconstruct-5420.0eV-round1"
    tree = xr.open_datatree(places.results("run_1"), engine="zarr")
    assert list(tree["ds_a"].children) == ["reconstruction", "spectra"]
    assert tree["ds_a/spectra/absorption"].dims == ("energy", "y", "x")
    assert tree["ds_a/reconstruction/error"].shape == (1, 6)
    assert tree["ds_a/reconstruction/prtf"].shape == (1, 17)
    assert 0.9 < float(tree["ds_a/reconstruction/prtf"][0, 0]) < 1.1
    assert "frc" not in tree["ds_a/reconstruction"]
    assert tree.attrs["options"]["reconstruct"]["cycles"] == 6
    assert {"reconstruct", "figures"} <= tree.attrs["timings_s"].keys()
    assert tree.attrs["versions"]["jax"]
    listed = json.loads((places.figures("run_1") / "figures.json").read_text())
    assert "images-ds_a" in [figure["name"] for figure in listed]


def test_rounds_are_the_same_as_one_go(places, single):
    whole = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 6}), "run_1")
    rounds = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 6}, kkr={"start": 2, "every": 2}), "run_1")
    errors = []
    for graph, last in ((whole, "reconstruct-5420.0eV-round1"), (rounds, "reconstruct-5420.0eV-round3")):
        for unit in graph.steps.values():
            if unit.stage == "reconstruct":
                receipt = perform(StepRequest("run_1", unit, places), lambda _: None)
                assert receipt.fate == "done", receipt.message
        errors.append(ArtifactStore(places.units).read(graph.steps[last].key, "errors")["errors"])
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_a_unit_that_is_there_is_not_computed_again_and_a_stopped_run_computes_nothing(places, single):
    graph = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 2}), "run_1")
    unit = next(iter(graph.steps.values()))
    assert perform(StepRequest("run_1", unit, places), lambda _: None, lambda: True).fate == "cancelled"
    assert perform(StepRequest("run_1", unit, places), lambda _: None).is_computed
    assert not perform(StepRequest("run_1", unit, places), lambda _: None).is_computed


def test_a_cancelled_reconstruction_ends_within_a_cycle(places, single):
    graph = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 100_000}, kkr={"mode": "off"}), "run_1")
    unit = next(iter(graph.steps.values()))
    reports = []
    receipt = perform(StepRequest("run_1", unit, places), reports.append, lambda: bool(reports))
    assert receipt.fate == "cancelled"
    assert not ArtifactStore(places.units).has(unit.key)


def test_what_is_missing_is_said_in_plain_words(places, single):
    graph = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 4}, kkr={"start": 2}), "run_1")
    receipt = perform(StepRequest("run_1", graph.steps["figures"], places), lambda _: None)
    assert receipt.fate == "lost"  # and what it reads is then computed again
    assert "not finished" in receipt.message


def test_before_the_end_the_last_round_can_be_looked_at(places, single):
    graph = build_graph(single.read(["ds_a"]), run_options(reconstruct={"cycles": 2}), "run_1")
    unit = next(iter(graph.steps.values()))
    perform(StepRequest("run_1", unit, places), lambda _: None)
    picture = read_partial_image(ArtifactStore(places.units), graph, "phase", None)
    assert picture.values.shape == unit.scan.canvas.shape
    assert "so far" in picture.note


@pytest.mark.parametrize(("kind", "same"), [(None, True), ("supplied", True), ("gaussian", False)])
def test_a_supplied_probe_is_used_unless_optics_are_described(places, single, kind, same):
    stored = DatasetStore(places.datasets).read_scan("ds_a", "e")
    supplied = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.complex64)
    probe = first_probe(as_scan(stored), supplied, None if kind is None else ProbeSpec(kind=kind))
    power = float(np.mean(stored["counts"].sum(axis=(1, 2), where=stored["mask"])))
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(power, rel=1e-4)
    correlation = abs(np.vdot(probe, supplied)) / np.linalg.norm(probe) / np.linalg.norm(supplied)
    assert (correlation > 0.999) == same


# ---- a spectrum, from objects that were never measured ---------------------------------------------------------------


def made_up(name: str) -> RunInput:
    """Input of a dataset of 16 energies about the V K edge."""
    canvas = Canvas((64, 64), 15e-9, (0.0, 0.0))
    energies_ev = np.concatenate([[5420, 5450], np.linspace(5464, 5500, 12), [5515, 5540]])
    scans = tuple(ScanInput(f"s{i}", float(e), 100, 64, f"{name}{i}", canvas) for i, e in enumerate(energies_ev))
    return RunInput(name, name, name, "LiVO2", {"element": "V", "edge": "K"}, {"probe": None}, scans)


def write_states(places: DataPaths, graph: Graph, seed: int):
    """A disc of two halves whose edges differ, as the last round would leave it."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64)) - 31.5
    disc = np.clip(18 - np.hypot(y, x), 0, 1)
    edge = np.where(x < 0, *EDGES_EV)
    for unit in graph.steps.values():
        if unit.stage == "reconstruct":
            e = unit.energy_ev
            pre_edge = np.where(x < 0, 0.03, 0.06) / (1 + ((e - 5470) / 1.5) ** 2)
            peak = 0.05 / (1 + ((e - 5490) / 4) ** 2)
            absorption = disc * (0.1 + 0.1 * (1 + erf((e - edge) / 3.2)) + pre_edge + peak)
            phase = -disc * (1.9 + 0.05 * np.log(np.abs(e - edge) + 3))
            noise = rng.normal(0, 1e-3, (2, 64, 64))
            image = np.exp(-(absorption + noise[0]) + 1j * (phase + noise[1])).astype(np.complex64)
            arrays = {
                "object": image, "dose": np.full((64, 64), 1e4, np.float32),
                "probe": np.ones((1, 32, 32), np.complex64),
                "errors": np.linspace(0.1, 0.05 if e == STUCK_EV else 0.01, 5, dtype=np.float32),
                "prtf": np.linspace(1, 0, 33, dtype=np.float32),
                "positions_m": np.zeros((4, 2)), "displacement_px": np.empty((0, 2)), "scale": np.empty(0),
            }  # fmt: skip
            provenance = {"stage": "reconstruct", "seconds": 1.0, "inputs": [], "noise_error": 0.009}
            ArtifactStore(places.units).write(unit.key, arrays, provenance)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two made-up datasets, from their images to the published results."""
    folder = tmp_path_factory.mktemp("study")
    places = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    options = run_options(reconstruct={"cycles": 5}, kkr={"mode": "off"}, domains={"n_domains": 2})
    graph = build_graph([made_up("ds_a"), made_up("ds_b")], options, "run_1")
    write_states(places, graph, 0)
    walk(places, graph)
    return places, graph


def test_maps_find_the_edges_that_were_put_in(study):
    places, _ = study
    maps = xr.open_dataset(places.results("run_1"), group="ds_a/maps", engine="zarr").load()
    half = maps["x"].values < float(maps["x"].mean())
    for side, edge_ev in zip((half, ~half), EDGES_EV, strict=True):
        found = maps["edge_energy"].values[:, side]
        assert np.nanmedian(found) == pytest.approx(edge_ev, abs=0.2)
    assert maps["mask"].values.sum() > 700
    for name in get_args(Descriptor):
        assert np.nanmedian(maps[f"{name}_sigma"].values) > 0, name


def test_domains_are_pooled_over_datasets_and_their_shares_sum_to_one(study):
    places, _ = study
    tree = xr.open_datatree(places.results("run_1"), engine="zarr").load()
    pooled = tree["domains"]
    assert pooled["fraction"].dims == ("dataset", "domain")
    assert np.allclose(pooled["fraction"].sum("domain"), 1)
    assert np.allclose(pooled["group_fraction"].sum("domain"), 1)
    assert pooled["centre"].sel(descriptor="edge_energy").values == pytest.approx(EDGES_EV, abs=0.3)
    for name in ("ds_a", "ds_b"):
        assert set(np.unique(tree[f"{name}/domains/label"])) == {0, 1, 2}
    assert tree["ds_a/maps/edge_energy"].attrs["units"] == "eV"
    assert (places.figures("run_1") / "domain-maps.png").is_file()


def test_resolution_is_published_with_its_curves_and_drawn(study):
    places, _ = study
    found = xr.open_dataset(places.results("run_1"), group="ds_a/reconstruction", engine="zarr").load()
    assert found["frc"].dims == found["prtf"].dims == ("energy", "frequency")
    assert found["frequency"].values[-1] == pytest.approx(1 / (2 * 15e-9), rel=0.03)
    # made-up images have sharp rims and little noise: they are resolved to the last ring
    assert (found["frc"][:, 1:] > found["half_bit"][1:]).all()
    assert found["resolution"].values == pytest.approx(2 * 15e-9, rel=0.03)
    # the transfer of the made-up states falls in a straight line
    assert found["prtf_resolution"].values == pytest.approx(2 * 15e-9 / (1 - 1 / np.e), rel=0.02)
    assert (places.figures("run_1") / "resolution-ds_a.png").is_file()


def test_an_energy_that_stuck_is_named_in_the_results_and_wherever_its_spectra_are_reused(study):
    places, graph = study
    for number in (1, 2):
        remarks = stored_warnings(ArtifactStore(places.units), graph.steps[f"spectra-dataset{number}"])
        assert f"{STUCK_EV:.1f} eV: R 0.05 is 5.0 times its neighbours'" in remarks
    for name in ("ds_a", "ds_b"):
        warnings = xr.open_dataset(places.results("run_1"), group=f"{name}/reconstruction", engine="zarr").attrs["warnings"]
        assert f"{STUCK_EV:.1f} eV: R 0.05 is 5.0 times its neighbours'" in warnings
        assert not any(" R " in text and not text.startswith(f"{STUCK_EV:.1f}") for text in warnings)


def test_a_results_unit_that_died_after_sealing_is_content_with_what_is_there(study):
    places, graph = study
    unit = graph.steps["results"]
    ArtifactStore(places.units).delete(unit.key)
    before = (places.results("run_1") / "seal.json").stat().st_mtime_ns
    assert perform(StepRequest("run_1", unit, places), lambda _: None).fate == "done"
    assert (places.results("run_1") / "seal.json").stat().st_mtime_ns == before


def test_pictures_of_published_arrays_know_their_unit_and_energy(study):
    places, _ = study
    store = ResultsStore(places.results("run_1"))
    picture = read_image(store, "ds_a", "absorption", 5470.0)
    assert picture.values.ndim == 2
    assert "5470.5" in picture.note
    assert read_image(store, "ds_a", "edge_energy", None).unit == "eV"
    assert picture.pixel_size_m == pytest.approx(15e-9, rel=0.05)


def test_a_mean_prior_is_the_same_for_every_tile(study):
    places, graph = study
    facts = [made_up("ds_a")]
    options = run_options(reconstruct={"cycles": 5}, kkr={"mode": "off"}, fit={"prior": "mean"})
    fresh = build_graph(facts, options, "run_2")
    spectra = next(unit for unit in graph.steps.values() if unit.name == "spectra-dataset1")
    fit = next(unit for unit in fresh.steps.values() if unit.stage == "fit")
    halves = []
    for tile in range(2):
        unit = dataclasses.replace(fit, spectra=spectra.ref, tile=tile, n_tiles=2)
        assert perform(StepRequest("run_2", unit, places), lambda _: None).fate == "done"
        halves.append(ArtifactStore(places.units).read(unit.key, "parameters")["parameters"])
    sample = ArtifactStore(places.units).read(spectra.key, "sample_mask")["sample_mask"]
    assert np.concatenate(halves, axis=1).shape == (10, sample.size)
