"""Rounds of one energy: they continue each other, end early, start from a pilot, and stop when they are cancelled."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.execution.worker import StepResult, perform
from service.results.previews import read_partial_image
from service.settings import DataPaths
from service.stages.context import StepRequest, stored_warnings
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep, convergence_warnings
from service.stages.scans import FIELD_BOX
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput
from service.workflow.step import StepRef
from storage.artifacts import ArtifactStore
from storage.results import ResultsStore
from tasks.gauge import field_box, field_of_view
from tasks.options.reconstruct import ReconstructOptions
from tasks.options.run import RunOptions
from tasks.ptycho.state import State

Options = Callable[..., RunOptions]
Compute = Callable[..., dict[str, StepResult]]


def graph_of(dataset: RunInput, options: RunOptions) -> Graph:
    """The graph of a run on one dataset."""
    return build_graph([dataset], options, "run_1")


def rounds_of(graph: Graph) -> list[ReconstructStep]:
    """Its reconstructions, in order."""
    return [step for step in graph.steps.values() if isinstance(step, ReconstructStep)]


def test_rounds_are_the_same_as_one_go(paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute) -> None:
    errors = []
    for kkr in ({"mode": "off"}, {"start": 2, "every": 2}):
        graph = graph_of(measured, options_of(reconstruct={"cycles": 6}, kkr=kkr))
        compute(paths, graph, "reconstruct")
        last = rounds_of(graph)[-1]
        errors.append(ArtifactStore(paths.artifacts).read(last.key, "errors")["errors"])
    assert errors[0].shape == (6,)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_a_step_that_is_stored_is_not_computed_again_and_a_cancelled_one_computes_nothing(
    paths: DataPaths, measured: RunInput, options_of: Options
) -> None:
    request = StepRequest("run_1", rounds_of(graph_of(measured, options_of(reconstruct={"cycles": 2})))[0], paths)
    assert perform(request, lambda _: None, lambda: True).fate == "cancelled"
    assert perform(request, lambda _: None).is_computed
    assert not perform(request, lambda _: None).is_computed


def test_a_cancelled_reconstruction_ends_within_a_cycle(paths: DataPaths, measured: RunInput, options_of: Options) -> None:
    step = rounds_of(graph_of(measured, options_of(reconstruct={"cycles": 100_000}, kkr={"mode": "off"})))[0]
    reports: list[dict[str, Any]] = []
    assert perform(StepRequest("run_1", step, paths), reports.append, lambda: bool(reports)).fate == "cancelled"
    assert not ArtifactStore(paths.artifacts).has(step.key)


def test_a_round_whose_input_was_removed_is_lost_and_says_so(paths: DataPaths, measured: RunInput, options_of: Options) -> None:
    second = rounds_of(graph_of(measured, options_of(reconstruct={"cycles": 4}, kkr={"start": 2})))[1]
    result = perform(StepRequest("run_1", second, paths), lambda _: None)
    assert result.fate == "lost"  # and its input is then computed again
    assert "not finished" in result.message


def test_before_the_end_the_last_round_can_be_looked_at(
    paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute
) -> None:
    graph = graph_of(measured, options_of(reconstruct={"cycles": 2}))
    compute(paths, graph, "reconstruct")
    picture = read_partial_image(ArtifactStore(paths.artifacts), graph, "phase", None)
    assert picture.values.shape == rounds_of(graph)[0].scan.canvas.shape
    assert "so far" in picture.note
    shared = read_partial_image(ArtifactStore(paths.artifacts), graph, "phase", None, is_cropped=True).values
    whole = np.isfinite(picture.values)
    rows, columns = whole.any(axis=1).nonzero()[0], whole.any(axis=0).nonzero()[0]
    of_one_energy = picture.values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(shared, of_one_energy, "one energy shares its whole field with itself")


def test_a_probe_that_grew_is_a_warning() -> None:
    empty = np.zeros((1, 4, 4), np.complex64)
    state = State(empty[0], empty, empty, empty[0], cycle=60, seed=0, errors=np.ones(60, np.float32))
    grown = replace(state, probe=np.zeros((2, 4, 4)))
    auto = ReconstructOptions(cycles=60)
    (text,) = convergence_warnings(5465.0, grown, auto, modes_before=1)
    assert text.startswith("5465.0 eV: 2 modes of the probe")
    assert convergence_warnings(5465.0, state, auto, modes_before=1) == []
    assert convergence_warnings(5465.0, grown, replace(auto, probe_modes=2), modes_before=1) == []


def test_an_early_end_is_a_warning_and_published_and_later_rounds_leave_it_alone(
    paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute
) -> None:
    chosen = {"cycles": 200, "stop_change": 0.1, "position_refinement": "points", "refine_every": 4, "probe_modes": 2}
    graph = graph_of(measured, options_of(reconstruct=chosen, kkr={"start": 150, "every": 25}))
    results = compute(paths, graph)
    warnings = {text for result in results.values() for text in result.attributes.get("warnings", ())}
    published = ResultsStore(paths.results("run_1"))

    def read(name: str) -> np.ndarray[Any, Any]:
        return published.read("ds_a/reconstruction", name)[0]

    cycles = int(read("cycles")[0])
    assert 30 <= cycles < 150
    assert warnings == {f"{read('energy')[0]:.1f} eV: R has settled, stopped after {cycles} of 200 cycles"}
    last = rounds_of(graph)[-1]
    assert set(stored_warnings(ArtifactStore(paths.artifacts), last)) == warnings, "earlier rounds may be deleted"
    assert read("error").shape == (1, cycles)
    assert read("positions").shape == (1, 36, 2)
    assert 0.3 < read("displacement_rms")[0] < 3
    assert read("mode_power").sum() == pytest.approx(1)


def test_later_rounds_remember_the_probe_that_the_first_began_with(
    paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute
) -> None:
    """A pilot's two modes were there from the start; later rounds, which know no pilot, must not warn that they grew."""
    chosen = {"cycles": 6, "start_from": "pilot", "pilot_cycles": 3, "probe_modes": 2}
    graph = graph_of(measured, options_of(reconstruct=chosen, kkr={"start": 3, "every": 3}))
    compute(paths, graph, "reconstruct")
    store = ArtifactStore(paths.artifacts)
    pilot, first, second = (store.attrs(step.key) for step in rounds_of(graph))
    assert [attributes["guessed_modes"] for attributes in (pilot, first, second)] == [1, 2, 2]
    assert first["hidden_share"] == second["hidden_share"]
    for step in rounds_of(graph):
        dose = store.read(step.key, "dose")["dose"]
        assert store.attrs(step.key)[FIELD_BOX] == list(field_box(field_of_view(dose)))


def test_a_pilot_saves_the_first_cycles(paths: DataPaths, measured: RunInput, options_of: Options, compute: Compute) -> None:
    first_r = {}
    for origin in ("optics", "pilot"):
        pilot = {"pilot_cycles": 40} if origin == "pilot" else {}
        graph = graph_of(measured, options_of(reconstruct={"cycles": 5, "start_from": origin, **pilot}))
        rounds = rounds_of(graph)
        assert [step.name for step in rounds][:-1] == ["reconstruct-pilot-round0"] * (origin == "pilot")
        compute(paths, graph, "reconstruct")
        first_r[origin] = ArtifactStore(paths.artifacts).read(rounds[-1].key, "errors")["errors"][0]
    assert first_r["pilot"] < 0.5 * first_r["optics"]


def test_an_energy_starts_from_a_finished_one_unless_that_is_spoilt_and_later_rounds_say_so_too(
    paths: DataPaths, measured: RunInput, options_of: Options
) -> None:
    chosen = {"cycles": 20, "start_from": "optics", "probe_modes": 1}
    first, second = rounds_of(graph_of(measured, options_of(reconstruct=chosen, kkr={"start": 16, "every": 4})))
    store = ArtifactStore(paths.artifacts)

    def computed(step: ReconstructStep) -> dict[str, Any]:
        result = perform(StepRequest("run_1", step, paths), lambda _: None)
        assert result.fate == "done", result.message
        return store.attrs(step.key)

    cold = computed(first)
    warm = computed(replace(first, label="-warm", reference=first.ref))
    assert (warm["cycle"], warm["first_cycle"], warm["warnings"]) == (16 + 8, 8, [])
    assert warm["r_factor"] < cold["r_factor"]
    spoilt = store.read(first.key)
    store.write("spoilt-reconstruct", spoilt | {"object": np.full_like(spoilt["object"], np.nan)}, cold)
    after_all = replace(first, label="-after-all", reference=StepRef("spoilt", "spoilt-reconstruct"))
    told = computed(after_all)
    assert told["warnings"] == [f"{first.energy_ev:.1f} eV: started from the optics: the reference has diverged"]
    assert computed(replace(second, label="-later", previous=after_all.ref))["warnings"] == told["warnings"]
    assert told["r_factor"] == pytest.approx(cold["r_factor"], rel=1e-3)
