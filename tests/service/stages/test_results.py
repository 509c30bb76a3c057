"""What a run publishes: of a single energy, and of two made-up specimens from their objects to domains."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from places import on_disk
from scipy.special import erf

from service.execution.worker import StepResult, perform
from service.results.figures import published_study
from service.results.previews import read_image
from service.settings import DataPaths
from service.stages.context import StageContext, StepRequest, stored_warnings
from service.stages.dataset_results import RunResultsStep
from service.stages.figures import FiguresStep, study_of
from service.stages.fit import FitStep
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.stages.spectra import SpectraStep
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.errors import ResultsError
from storage.figures import FigureStore
from storage.results import ResultsStore
from tasks.figures import gallery
from tasks.figures.gallery import Drawing, drawing
from tasks.figures.study import Study
from tasks.figures.style import new_figure
from tasks.options.domains import Descriptor
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas

Options = Callable[..., RunOptions]
Compute = Callable[..., dict[str, StepResult]]
Run = tuple[DataPaths, Graph]

EDGES_EV = (5478.0, 5480.0)
"""Edge energies of the two halves of the made-up specimen."""
STUCK_EV = 5515.0
"""The energy at which R stayed high."""
DRAWN = ("domain-maps", "elbow", "resolution-ds_a", "resolution-ds_b")
"""Figures of the two specimens that are drawn here."""


def published(paths: DataPaths, group: str) -> xr.Dataset:
    """One group of the published results."""
    with xr.open_dataset(on_disk(paths.results("run_1")), group=group, engine="zarr") as opened:
        return opened.load()


def test_a_single_energy_is_reconstructed_drawn_and_published(
    paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute
) -> None:
    options = options_of(reconstruct={"cycles": 6}, kkr={"start": 4, "every": 2})
    graph = build_graph([measured], options, "run_1")
    reports: list[dict[str, Any]] = []
    results = compute(paths, graph, report=reports.append)
    last = [step for step in graph.steps.values() if isinstance(step, ReconstructStep)][-1]
    errors = ArtifactStore(paths.artifacts).read(last.key, "errors")["errors"]
    assert errors[-1] < errors[0]
    assert results[last.name].attributes["cycle"] == 6
    assert reports[0]["cycle"] in (1, 2)
    with xr.open_datatree(on_disk(paths.results("run_1")), engine="zarr") as tree:
        assert list(tree.children["ds_a"].children) == ["reconstruction", "spectra"]
        attributes = tree.attrs
    assert published(paths, "ds_a/spectra")["absorption"].dims == ("energy", "y", "x")
    found = published(paths, "ds_a/reconstruction")
    assert found["error"].shape == (1, 6)
    assert found["prtf"].shape == (1, 25)
    assert 0.9 < found["prtf"].values[0, 0] < 1.1
    assert "frc" not in found
    assert found.attrs["warnings"] == []
    assert attributes["options"]["reconstruct"]["cycles"] == 6
    assert attributes["datasets"][0]["measurement"]["probe"]["kind"] == "kb"
    assert attributes["timings_s"].keys() == {"reconstruct"}
    assert attributes["versions"]["jax"]
    assert listed_figures(paths) == ["images-ds_a", "resolution-ds_a", "probe-ds_a", "convergence-ds_a"]
    assert [*gallery.figure_list(published_study(ResultsStore(paths.results("run_1")), options))] == listed_figures(paths)


def test_figures_without_what_they_draw_are_lost_and_say_so(paths: DataPaths, measured: RunInput, options_of: Options) -> None:
    graph = build_graph([measured], options_of(), "run_1")
    result = perform(StepRequest("run_1", graph.steps["figures"], paths), lambda _: None)
    assert result.fate == "lost"  # and what they read is then computed again
    assert "not finished" in result.message


def listed_figures(paths: DataPaths) -> list[str]:
    """Names of the figures that were drawn."""
    return [figure["name"] for figure in json.loads((paths.figures("run_1") / "figures.json").read_text())]


# ---- spectra, from objects that were never measured ------------------------------------------------------------------


def made_up(name: str) -> RunInput:
    """A dataset of 16 energies about the V K edge."""
    canvas = Canvas((64, 64), 15e-9, (0.0, 0.0))
    energies_ev = np.concatenate([[5420, 5450], np.linspace(5464, 5500, 12), [5515, 5540]])
    scans = tuple(ScanInput(f"s{i}", float(e), 100, 64, f"{name}{i}", canvas) for i, e in enumerate(energies_ev))
    return RunInput(name, name, name, "LiVO2", {"element": "V", "edge": "K"}, {"probe": None}, scans)


def write_states(paths: DataPaths, graph: Graph, seed: int) -> None:
    """Store a disc of two halves whose edges differ, as the last round would leave it."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((64, 64)) - 31.5
    disc = np.clip(18 - np.hypot(y, x), 0, 1)
    edge = np.where(x < 0, *EDGES_EV)
    for step in graph.steps.values():
        if isinstance(step, ReconstructStep):
            e = step.energy_ev
            pre_edge = np.where(x < 0, 0.03, 0.06) / (1 + ((e - 5470) / 1.5) ** 2)
            peak = 0.05 / (1 + ((e - 5490) / 4) ** 2)
            absorption = disc * (0.1 + 0.1 * (1 + erf((e - edge) / 3.2)) + pre_edge + peak)
            phase = -disc * (1.9 + 0.05 * np.log(np.abs(e - edge) + 3))
            noise = rng.normal(0, 1e-3, (2, 64, 64))
            object_ = np.exp(-(absorption + noise[0]) + 1j * (phase + noise[1])).astype(np.complex64)
            arrays: dict[str, NDArray[Any]] = {
                "object": object_, "dose": np.full((64, 64), 1e4, np.float32),
                "probe": np.ones((1, 32, 32), np.complex64),
                "errors": np.linspace(0.1, 0.05 if e == STUCK_EV else 0.01, 5, dtype=np.float32),
                "prtf": np.linspace(1, 0, 33, dtype=np.float32),
                "frame_px": np.full(5, 32, np.int16),
                "positions_m": np.zeros((4, 2)), "displacement_px": np.empty((0, 2)), "scale": np.empty(0),
            }  # fmt: skip
            provenance = {"stage": "reconstruct", "seconds": 1.0, "inputs": [], "noise_error": 0.009}
            ArtifactStore(paths.artifacts).write(step.key, arrays, provenance)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, options_of: Options, compute: Compute) -> Run:
    """Two made-up datasets, from their objects to the published results."""
    folder = tmp_path_factory.mktemp("study")
    paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    options = options_of(reconstruct={"cycles": 5}, kkr={"mode": "off"}, domains={"n_domains": 2})
    graph = build_graph([made_up("ds_a"), made_up("ds_b")], options, "run_1")
    write_states(paths, graph, 0)
    every = gallery.figure_list
    with pytest.MonkeyPatch.context() as patch:  # drawing is slow, and tested in tests/tasks/figures
        patch.setattr(gallery, "figure_list", lambda study: {name: one for name, one in every(study).items() if name in DRAWN})
        compute(paths, graph)
    return paths, graph


def test_components_tell_the_two_halves_apart(study: Run) -> None:
    pooled, own = published(study[0], "components"), published(study[0], "ds_a/components")
    assert pooled["scree"].values.sum() == pytest.approx(1.0)
    assert pooled["eigenspectrum"].dims == ("component", "energy")
    score, x = own["score"].sel(component=1), own["x"].values
    left, right = (np.nanmedian(score.values[:, side]) for side in (x < x.mean(), x >= x.mean()))
    assert abs(left - right) > 3 * np.nanstd(score.values[:, x < x.mean()])
    assert "factor_spectrum" not in pooled


def test_maps_find_the_edges_that_were_put_in(study: Run) -> None:
    maps = published(study[0], "ds_a/maps")
    half = maps["x"].values < float(maps["x"].mean())
    for side, edge_ev in zip((half, ~half), EDGES_EV, strict=True):
        assert np.nanmedian(maps["edge_energy"].values[:, side]) == pytest.approx(edge_ev, abs=0.2)
    assert maps["mask"].values.sum() > 700
    for name in get_args(Descriptor):
        assert np.nanmedian(maps[f"{name}_sigma"].values) > 0, name
    assert maps["edge_energy"].attrs["units"] == "eV"
    assert 0 <= maps.attrs["blur_px"] < 2


def test_domains_are_pooled_over_datasets_and_their_shares_sum_to_one(study: Run) -> None:
    paths, _ = study
    pooled = published(paths, "domains")
    assert pooled["fraction"].dims == ("dataset", "domain")
    assert np.allclose(pooled["fraction"].sum("domain"), 1)
    assert np.allclose(pooled["group_fraction"].sum("domain"), 1)
    assert pooled["centre"].sel(descriptor="edge_energy").values == pytest.approx(EDGES_EV, abs=0.3)
    for name in ("ds_a", "ds_b"):
        assert set(np.unique(published(paths, f"{name}/domains")["label"])) == {0, 1, 2}
    assert (paths.figures("run_1") / "domain-maps.png").is_file()


def test_resolution_is_published_with_its_curves_and_drawn(study: Run) -> None:
    paths, _ = study
    found = published(paths, "ds_a/reconstruction")
    assert found["frc"].dims == found["prtf"].dims == ("energy", "frequency")
    assert found["frequency"].values[-1] == pytest.approx(1 / (2 * 15e-9), rel=0.03)
    # made-up objects have sharp rims and little noise: they are resolved to the last ring
    assert (found["frc"][:, 1:] > found["half_bit"][1:]).all()
    assert found["resolution"].values == pytest.approx(2 * 15e-9, rel=0.03)
    # the transfer of the made-up states falls in a straight line
    assert found["prtf_resolution"].values == pytest.approx(2 * 15e-9 / (1 - 1 / np.e), rel=0.02)
    assert (paths.figures("run_1") / "resolution-ds_a.png").is_file()


def test_an_energy_that_stuck_is_named_in_the_results_and_wherever_its_spectra_are_reused(study: Run) -> None:
    paths, graph = study
    warning = f"{STUCK_EV:.1f} eV: R 0.05 is 5.0 times its neighbours'"
    for number in (1, 2):
        assert warning in stored_warnings(ArtifactStore(paths.artifacts), graph.steps[f"spectra-dataset{number}"])
    for name in ("ds_a", "ds_b"):
        warnings = published(paths, f"{name}/reconstruction").attrs["warnings"]
        assert warning in warnings
        assert not any(" R " in text and not text.startswith(f"{STUCK_EV:.1f}") for text in warnings)


def test_a_results_step_that_died_after_sealing_takes_what_is_there(study: Run) -> None:
    paths, graph = study
    step = graph.steps["results"]
    ArtifactStore(paths.artifacts).delete(step.key)
    before = (on_disk(paths.results("run_1")) / "seal.json").stat().st_mtime_ns
    assert perform(StepRequest("run_1", step, paths), lambda _: None).fate == "done"
    assert (on_disk(paths.results("run_1")) / "seal.json").stat().st_mtime_ns == before


def assert_alike(one: Any, other: Any, where: str = "study") -> None:
    """Compare two studies, field by field."""
    if isinstance(one, np.ndarray):
        np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=where)  # results are published in single precision
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_alike(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_alike(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_alike(first, second, f"{where}[{number}]")
    else:
        assert one == other, where


def test_the_results_hold_all_that_the_figures_show(study: Run) -> None:
    paths, graph = study
    step = graph.steps["figures"]
    assert isinstance(step, FiguresStep)
    context = StageContext(StepRequest("run_1", step, paths), lambda _: None)
    of_steps = study_of(step.read_datasets(context), *step.read_domains(context), step.options)
    assert_alike(of_steps, published_study(ResultsStore(paths.results("run_1")), step.options))


def test_figures_read_no_maps_of_scores_which_they_do_not_show(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, graph = study
    step, read, of_step, of_results = graph.steps["figures-grouped"], list[str](), ArtifactStore.read, ResultsStore.arrays
    assert isinstance(step, RunResultsStep)

    def recorded_step(self: ArtifactStore, key: str, *names: str) -> dict[str, NDArray[Any]]:
        found = of_step(self, key, *names)
        read.extend(found)
        return found

    def recorded_group(self: ResultsStore, group: str) -> list[str]:
        read.append(group)
        return of_results(self, group)

    monkeypatch.setattr(ArtifactStore, "read", recorded_step)
    monkeypatch.setattr(ResultsStore, "arrays", recorded_group)
    context = StageContext(StepRequest("run_1", step, paths), lambda _: None)
    assert step.read_datasets(context)[0].label is not None
    assert step.read_domains(context)[0]["inertia"].size
    published_study(ResultsStore(paths.results("run_1")), step.options)
    assert {"label0", "inertia", "ds_a/domains"} <= set(read)
    assert [name for name in read if "score" in name or "components" in name] == []


def test_figures_are_whole_and_the_same_whether_a_part_was_drawn_before_or_not(study: Run) -> None:
    paths, graph = study
    folder = paths.figures("run_1")
    before = {name: (on_disk(folder) / f"{name}.png").read_bytes() for name in listed_figures(paths)}
    artifacts = ArtifactStore(paths.artifacts)
    parts = {"ungrouped": ("resolution-ds_a", "resolution-ds_b"), "grouped": ("domain-maps", "elbow")}
    for part, names in parts.items():
        drawn = artifacts.read(graph.steps[f"figures-{part}"].key)
        assert {name: content.tobytes() for name, content in drawn.items()} == {f"png-{name}": before[name] for name in names}
    for name in ("figures", "figures-ungrouped", "figures-grouped"):  # as if the step that draws a part had failed
        artifacts.delete(graph.steps[name].key)
    with pytest.MonkeyPatch.context() as patch:
        every = gallery.figure_list
        patch.setattr(gallery, "figure_list", lambda study: {name: one for name, one in every(study).items() if name in DRAWN})
        assert perform(StepRequest("run_1", graph.steps["figures"], paths), lambda _: None).is_computed
    assert {name: (on_disk(folder) / f"{name}.png").read_bytes() for name in listed_figures(paths)} == before


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_costs_no_other(study: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, graph = study
    step = graph.steps["figures"]
    before = listed_figures(paths)
    artifacts = ArtifactStore(paths.artifacts)
    artifacts.delete(step.key)

    def figures(_: Study) -> dict[str, Drawing]:
        return {name: drawing("T", "", plain if name != "elbow" else broken) for name in before}

    def plain() -> Figure:
        figure = new_figure(80, 60)
        figure.add_subplot()
        return figure

    def broken(*_: object) -> Figure:
        raise IndexError("tuple index out of range")

    monkeypatch.setattr(gallery, "figure_list", figures)
    result = perform(StepRequest("run_1", step, paths), lambda _: None)
    assert result.fate == "done"
    reason = "the figure elbow (T) cannot be drawn: IndexError: tuple index out of range"
    assert stored_warnings(artifacts, step) == [reason]
    assert listed_figures(paths) == [name for name in before if name != "elbow"]


@pytest.mark.parametrize("name", ["results", "figures"])
def test_a_run_that_is_cancelled_meanwhile_publishes_nothing(study: Run, name: str) -> None:
    paths, graph = study
    step = dataclasses.replace(graph.steps[name], run_id="run_cancelled")  # type: ignore[call-arg]  # both steps have a run
    heard = iter((False,))  # as the step begins
    result = perform(StepRequest("run_cancelled", step, paths), lambda _: None, lambda: next(heard, True))
    assert result.fate == "cancelled"
    assert not ResultsStore(paths.results("run_cancelled")).is_sealed()
    with pytest.raises(ResultsError, match="not written"):
        FigureStore(paths.figures("run_cancelled")).listed()


def test_pictures_of_published_arrays_know_their_unit_and_energy(study: Run) -> None:
    store = ResultsStore(study[0].results("run_1"))
    picture = read_image(store, "ds_a", "absorption", 5470.0)
    assert picture.values.ndim == 2
    assert "5470.5" in picture.note
    assert read_image(store, "ds_a", "edge_energy", None).unit == "eV"
    assert picture.pixel_size_m == pytest.approx(15e-9, rel=0.05)


def test_a_mean_prior_is_the_same_for_every_tile(study: Run, options_of: Options) -> None:
    paths, graph = study
    artifacts = ArtifactStore(paths.artifacts)
    options = options_of(reconstruct={"cycles": 5}, kkr={"mode": "off"}, fit={"prior": "mean"})
    fit = next(step for step in build_graph([made_up("ds_a")], options, "run_2").steps.values() if isinstance(step, FitStep))
    spectra = next(step for step in graph.steps.values() if isinstance(step, SpectraStep))
    parameters = {}
    for n_tiles in (1, 2):
        tiles = [dataclasses.replace(fit, spectra=spectra.ref, tile=tile, n_tiles=n_tiles) for tile in range(n_tiles)]
        for step in tiles:
            assert perform(StepRequest("run_2", step, paths), lambda _: None).fate == "done"
        parameters[n_tiles] = np.concatenate([artifacts.read(step.key, "parameters")["parameters"] for step in tiles], axis=1)
    sample = artifacts.read(spectra.key, "sample_mask")["sample_mask"]
    assert parameters[1].shape == (10, sample.size)
    np.testing.assert_allclose(parameters[1], parameters[2], rtol=1e-9)
