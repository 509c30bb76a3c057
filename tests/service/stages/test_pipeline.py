"""The graph of a run: which step needs which, and whose key changes when what changes."""

import dataclasses
import math
import subprocess
import sys
from typing import Any

import pytest

from service.stages.couple.step import CoupleStep
from service.stages.domains import DomainsStep
from service.stages.figures import UngroupedFiguresStep
from service.stages.pipeline import STAGE_NAMES, STAGES, build_graph
from service.stages.reconstruct import ReconstructStep
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput, energy_label
from tasks.options.run import OPTIONS, RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages: Any) -> RunOptions:
    """Options that differ from their defaults."""
    return OPTIONS.validate_python(stages)


def dataset(n_energies: int = 12, name: str = "ds_a", is_open: bool = False) -> RunInput:
    """A dataset whose scans were never measured."""
    canvas = Canvas((96, 128), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"scan{i}", 5420.0 + 10 * i, 144, 96, f"{i:064x}", canvas) for i in range(n_energies))
    return RunInput(name, name, "pristine", "LiVO2", {"element": "V", "edge": "K"}, {"distance_m": 1.0}, scans, is_open)


def reconstructions(graph: Graph) -> list[ReconstructStep]:
    """All reconstructions of a graph, in order."""
    return [step for step in graph.steps.values() if isinstance(step, ReconstructStep)]


def keys(graph: Graph, *stages: str) -> set[str]:
    """Keys of the steps of some stages."""
    return {step.key for step in graph.steps.values() if step.stage in stages}


ROUNDS = {"reconstruct": {"cycles": 800, "start_from": "optics"}}
"""Seven rounds with barriers between them."""

SCIENCE = ("reconstruct", "couple", "spectra", "fit", "maps")


def test_every_unit_comes_after_all_that_it_needs() -> None:
    graph = build_graph([dataset(), dataset(name="ds_b")], options(), "run_1")
    seen: set[str] = set()
    for name, step in graph.steps.items():
        assert seen.issuperset(step.needs), name
        seen.add(name)


def test_the_barrier_needs_all_energies_and_every_energy_of_the_next_round_needs_it() -> None:
    graph = build_graph([dataset(12)], options(reconstruct={"cycles": 600, "start_from": "optics"}), "run_1")
    couple = graph.steps["couple-round1"]
    assert set(couple.needs) == {f"reconstruct-{5420 + 10 * i}.0eV-round1" for i in range(12)}
    second = [step for step in reconstructions(graph) if step.name.endswith("round2")]
    assert len(second) == 12
    assert all("couple-round1" in step.needs for step in second)
    assert [step.index for step in second] == list(range(12))


@pytest.mark.parametrize(
    ("cycles", "mode", "n_rounds"),
    [(800, "joint", 7), (500, "joint", 1), (520, "joint", 2), (800, "off", 1), ("auto", "joint", 1)],
)
def test_there_is_a_barrier_between_rounds_and_nowhere_else(cycles: int | str, mode: str, n_rounds: int) -> None:
    graph = build_graph([dataset(10)], options(reconstruct={"cycles": cycles}, kkr={"mode": mode}), "run_1")
    n_cycles = [step.n_cycles for step in reconstructions(graph) if "5420.0eV" in step.name]
    assert len(n_cycles) == n_rounds
    assert sum(n_cycles) == (800 if cycles == "auto" else cycles)
    assert sum(isinstance(step, CoupleStep) for step in graph.steps.values()) == n_rounds - 1


def test_other_domains_options_change_only_the_keys_of_domains_and_what_follows() -> None:
    before = build_graph([dataset()], options(domains={"n_domains": 6}), "run_1")
    after = build_graph([dataset()], options(domains={"n_domains": 4}), "run_1")
    assert keys(before, *SCIENCE) == keys(after, *SCIENCE)
    differing = {name for name in before.steps if before.steps[name].key != after.steps[name].key}
    assert differing == {"domains", "figures", "figures-grouped", "results"}


def test_other_kkr_options_keep_the_rounds_before_the_first_barrier() -> None:
    """The first round knows nothing of the coupling that follows it."""
    before = build_graph([dataset()], options(**ROUNDS, kkr={"gamma": 1.0}), "run_1")
    after = build_graph([dataset()], options(**ROUNDS, kkr={"gamma": 0.5}), "run_1")
    shared = keys(before, "reconstruct") & keys(after, "reconstruct")
    assert len(shared) == 12
    assert keys(before, "couple").isdisjoint(keys(after, "couple"))


def test_another_scan_changes_the_keys_of_its_own_first_round_and_of_all_that_meets_it() -> None:
    whole = dataset()
    changed = dataclasses.replace(whole.scans[3], sha256="f" * 64)
    other = dataclasses.replace(whole, scans=(*whole.scans[:3], changed, *whole.scans[4:]))
    before, after = (build_graph([d], options(**ROUNDS), "run_1") for d in (whole, other))
    differing = {name for name in before.steps if before.steps[name].key != after.steps[name].key}
    assert "reconstruct-5450.0eV-round1" in differing
    assert "reconstruct-5420.0eV-round1" not in differing
    assert {"couple-round1", "reconstruct-5420.0eV-round2", "spectra", "maps", "results", "figures"} <= differing


def test_results_are_published_before_figures_are_listed() -> None:
    graph = build_graph([dataset()], options(), "run_1")
    assert "results" in graph.steps["figures"].needs
    assert "figures" not in graph.steps["results"].needs
    assert [name for name, step in graph.steps.items() if step.is_optional] == [
        "figures-ungrouped", "figures-grouped", "figures",
    ]  # fmt: skip


def test_figures_without_domains_wait_for_maps_alone_and_have_the_descriptors_of_the_domains() -> None:
    graph = build_graph([dataset(), dataclasses.replace(dataset(name="ds_b"), has_phase=False)], options(), "run_1")
    step, grouping = graph.steps["figures-ungrouped"], graph.steps["domains"]
    assert isinstance(step, UngroupedFiguresStep)
    assert isinstance(grouping, DomainsStep)
    assert {"maps-dataset1", "maps-dataset2"} <= set(step.needs)
    assert {"domains", "results"}.isdisjoint(step.needs)
    assert step.options.domains.descriptors == grouping.options.descriptors == ("edge_energy", "pre_edge_ratio")
    assert {"figures-ungrouped", "figures-grouped"} <= set(graph.steps["figures"].needs)
    assert "domains" in graph.steps["figures-grouped"].needs
    assert "results" not in graph.steps["figures-grouped"].needs


def test_results_and_figures_belong_to_one_run_and_everything_else_is_shared() -> None:
    one, two = (build_graph([dataset()], options(), run_id) for run_id in ("run_1", "run_2"))
    assert {name for name in one.steps if one.steps[name].key != two.steps[name].key} == {"results", "figures"}


def test_a_single_energy_stops_after_its_reconstruction_and_says_why() -> None:
    graph = build_graph([dataset(1)], options(), "run_1")
    assert {step.stage for step in graph.steps.values()} == {"reconstruct", "figures", "results"}
    assert graph.last_steps() == ["figures"]
    assert sum(step.n_cycles for step in reconstructions(graph)) == 800
    assert "one energy" in graph.skipped["fit"]


def test_while_a_dataset_is_open_its_first_rounds_are_wired_with_the_keys_they_will_keep() -> None:
    live = build_graph([dataset(5, is_open=True)], options(**ROUNDS), "run_1")
    assert live.awaits_scans
    assert keys(live, "reconstruct") < keys(build_graph([dataset(12)], options(**ROUNDS), "run_1"), "reconstruct")
    assert all(step.stage == "reconstruct" for step in live.steps.values())


def test_two_datasets_meet_in_the_domains() -> None:
    graph = build_graph([dataset(), dataset(name="ds_b")], options(), "run_1")
    assert {"maps-dataset1", "maps-dataset2"} <= set(graph.steps["domains"].needs)
    assert "reconstruct-5420.0eV-dataset2-round1" in graph.steps


@pytest.mark.parametrize(
    ("energy_ev", "label"), [(5420.0, "5420.0eV"), (5465.25, "5465.250eV"), (5465.2501, "5465.250100eV"), (5470.1, "5470.1eV")]
)
def test_energies_are_told_apart_by_name(energy_ev: float, label: str) -> None:
    assert energy_label(energy_ev) == label


def test_standards_are_mapped_but_not_grouped() -> None:
    standard = dataclasses.replace(dataset(name="ds_b"), standard=True)
    graph = build_graph([dataset(), standard], options(), "run_1")
    assert [step.name for step in graph.steps.values() if step.stage == "maps"] == ["maps-dataset1", "maps-dataset2"]
    assert "maps-dataset2" not in graph.steps["domains"].needs
    assert "maps-dataset2" in graph.steps["figures"].needs
    alone = build_graph([standard], options(), "run_1")
    assert "domains" not in alone.steps
    assert "standards" in alone.skipped["domains"]


def test_compounds_to_draw_and_references_compute_no_map_again() -> None:
    plain = build_graph([dataset()], options(), "run_1")
    drawn = build_graph([dataset()], options(chemistry={"compounds": ["LiVO3"]}, references={"xdi": ["a", "b"]}), "run_1")
    assert keys(plain, *SCIENCE, "domains") == keys(drawn, *SCIENCE, "domains")
    assert keys(plain, "figures") != keys(drawn, "figures")
    assert drawn.steps["references"].needs == ("spectra", "maps")
    assert keys(plain, "references") == set()


def test_a_pilot_lends_its_probe_to_every_energy_and_to_later_rounds_nothing() -> None:
    chosen = options(reconstruct={"start_from": "pilot", "pilot_cycles": 30, "cycles": 600})
    graph = build_graph([dataset(12)], chosen, "run_1")
    pilot = graph.steps["reconstruct-pilot-round0"]
    assert isinstance(pilot, ReconstructStep)
    assert (pilot.needs, pilot.n_cycles, pilot.options.cycles) == ((), 30, 30)
    for step in reconstructions(graph):
        if step is not pilot:
            assert (pilot.name in step.needs) == step.name.endswith("round1")
    assert build_graph([dataset(12, is_open=True)], chosen, "run_1").steps == {}
    longer = options(reconstruct={"start_from": "pilot", "pilot_cycles": 30, "cycles": 700})
    assert build_graph([dataset(12)], longer, "run_1").steps[pilot.name].key == pilot.key


def names_of_warm(graph: Graph) -> set[str]:
    """Names of the reconstructions that start from another."""
    return {step.name for step in reconstructions(graph) if step.reference}


def test_all_energies_start_from_the_middle_of_the_post_edge() -> None:
    graph = build_graph([dataset(12)], options(), "run_1")
    first, *others = reconstructions(graph)
    assert (first.name, first.needs) == ("reconstruct-5500.0eV-round1", ())  # 5470 to 5530 eV are above the edge at 5465 eV
    assert len(others) == 11
    assert {step.needs for step in others} == {(first.name,)}
    assert [name.rsplit("-", 2)[1] for name in graph.steps["spectra"].needs] == [f"{5420 + 10 * i}.0eV" for i in range(12)]


def test_each_dataset_has_its_own_reference() -> None:
    graph = build_graph([dataset(), dataset(name="ds_b")], options(), "run_1")
    assert {step.needs for step in reconstructions(graph)} == {
        (), ("reconstruct-5500.0eV-dataset1-round1",), ("reconstruct-5500.0eV-dataset2-round1",)
    }  # fmt: skip


def test_the_reference_may_be_named_and_is_then_the_nearest_energy() -> None:
    graph = build_graph([dataset(12)], options(reconstruct={"reference_energy_ev": 5441.0}), "run_1")
    assert "reconstruct-5440.0eV-round1" not in names_of_warm(graph)
    assert len(names_of_warm(graph)) == 11


def without(*energies_ev: float, **stages: Any) -> Graph:
    """The graph of a dataset of 12 energies when some are left out."""
    return build_graph([dataset(12)], options(align={"leave_out_ev": energies_ev}, **stages), "run_1")


def test_what_is_left_out_takes_no_part_and_the_other_energies_are_not_reconstructed_again() -> None:
    whole, found = without(), without(5470.0, 5420.0)
    dropped = {f"reconstruct-{energy}.0eV-round1" for energy in (5470, 5420)}
    assert {step.name for step in reconstructions(whole)} - {step.name for step in reconstructions(found)} == dropped
    assert keys(found, "reconstruct") < keys(whole, "reconstruct")
    assert len(found.steps["spectra"].needs) == 10
    assert found.cost < whole.cost


def test_the_nearest_energy_takes_the_place_of_a_reference_that_is_left_out() -> None:
    named = {"reconstruct": {"reference_energy_ev": 5441.0}}
    for graph, reference in ((without(5500.0), 5490), (without(5500.0, 5490.0), 5510), (without(5440.0, **named), 5430)):
        assert {step.needs for step in reconstructions(graph)} == {(), (f"reconstruct-{reference}.0eV-round1",)}


def test_energies_are_left_out_of_a_live_run_and_of_the_next_rounds_too() -> None:
    chosen = options(align={"leave_out_ev": [5430.0]}, **ROUNDS)
    live, whole = (build_graph([dataset(12, is_open=is_open)], chosen, "run_1") for is_open in (True, False))
    assert {step.energy_ev for step in reconstructions(live)} == {5420.0 + 10 * i for i in range(12) if i != 1}
    assert len(reconstructions(whole)) == 7 * 11
    assert len(whole.steps["couple-round1"].needs) == 11


def test_a_reference_below_the_edge_is_better_than_none() -> None:
    below = dataclasses.replace(dataset(3), absorber={"element": "Fe", "edge": "K"})
    graph = build_graph([below], options(), "run_1")
    assert names_of_warm(graph) == {"reconstruct-5420.0eV-round1", "reconstruct-5440.0eV-round1"}


def test_only_the_first_round_starts_from_the_reference() -> None:
    chosen = options(reconstruct={"cycles": 40}, kkr={"start": 20, "every": 20})
    graph = build_graph([dataset(12)], chosen, "run_1")
    assert len(names_of_warm(graph)) == 11
    assert all(name.endswith("round1") for name in names_of_warm(graph))


def test_few_cycles_are_no_reason_to_wait_for_a_reference() -> None:
    graph = build_graph([dataset(12)], options(reconstruct={"cycles": 10}), "run_1")
    assert names_of_warm(graph) == set()


def test_energies_of_a_live_run_are_looked_at_until_the_reference_is_known() -> None:
    """Whatever arrives when, the whole graph is the same; of what was computed before, the reference is used."""
    whole = build_graph([dataset(12)], options(), "run_1")
    live = build_graph([dataset(12, is_open=True)], options(), "run_1")
    assert names_of_warm(live) == set()
    assert set(live.steps) - live.provisional == {"reconstruct-5500.0eV-round1"}
    assert keys(live, "reconstruct") & keys(whole, "reconstruct") == {whole.steps["reconstruct-5500.0eV-round1"].key}
    assert math.isclose(live.cost + live.cost_to_come, whole.cost)


def test_a_named_reference_of_a_live_run_is_known_when_it_has_arrived() -> None:
    chosen = options(reconstruct={"reference_energy_ev": 5450.0})
    assert names_of_warm(build_graph([dataset(3, is_open=True)], chosen, "run_1")) == set()
    live = build_graph([dataset(6, is_open=True)], chosen, "run_1")
    assert len(names_of_warm(live)) == 5
    assert live.provisional == set()
    assert keys(live, "reconstruct") < keys(build_graph([dataset(12)], chosen, "run_1"), "reconstruct")


def test_a_live_run_costs_more_than_its_graph_so_far() -> None:
    chosen = options(reconstruct={"cycles": 30, "start_from": "optics"}, kkr={"start": 10, "every": 10})
    for n_energies, least, most in ((0, 0.0, 0.0), (1, 0.0, 0.5), (12, 0.0, 0.4)):
        live = build_graph([dataset(n_energies, is_open=True)], chosen, "run_1")
        share = live.cost / (live.cost + live.cost_to_come) if live.steps else 0.0
        assert least <= share <= most
        assert live.cost_to_come > 0
    whole = build_graph([dataset(12)], chosen, "run_1")
    assert whole.cost_to_come == 0.0
    assert math.isclose(live.cost + live.cost_to_come, whole.cost)


def test_a_live_run_whose_orientation_is_to_be_found_waits_for_its_first_scan() -> None:
    unknown = dataclasses.replace(dataset(0, is_open=True), measurement={"orientation": "auto"})
    assert build_graph([unknown], options(), "run_1").steps == {}


BUILD = """
import sys
from service.stages.pipeline import STAGES
print(*(name for name in ("jax", "numba", "skimage", "sklearn", "dask", "matplotlib") if name in sys.modules))
"""


def test_stages_are_known_without_loading_their_numerics() -> None:
    loaded = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=True, timeout=300)
    assert loaded.stdout.split() == []


def test_every_stage_has_the_file_of_its_name() -> None:
    assert [stage.__module__.removesuffix(".step") for stage in STAGES] == [f"service.stages.{name}" for name in STAGE_NAMES]
    assert all(stage.version >= 1 for stage in STAGES)
