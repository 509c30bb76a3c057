"""The run's graph: who needs whom, and whose key changes when what changes."""

import dataclasses

import pytest
from pydantic import TypeAdapter

from service.workflow.graph import Graph, build_graph, energy_label
from service.workflow.inputs import RunInput, ScanInput
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages):
    return TypeAdapter(RunOptions).validate_python(stages)


def dataset(n_energies=12, name="ds_a", is_open=False):
    canvas = Canvas((96, 128), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"scan{i}", 5420.0 + 10 * i, 144, 96, f"{i:064x}", canvas) for i in range(n_energies))
    return RunInput(name, name, "pristine", "LiVO2", {"element": "V", "edge": "K"}, {"distance_m": 1.0}, scans, is_open)


def keys(graph: Graph, *stages: str) -> set[str]:
    return {unit.key for unit in graph.units.values() if unit.stage in stages}


SCIENCE = ("reconstruct", "couple", "spectra", "fit", "maps")


def test_every_unit_comes_after_all_that_it_needs():
    graph = build_graph([dataset(), dataset(name="ds_b")], options(), "run_1")
    seen: set[str] = set()
    for name, unit in graph.units.items():
        assert seen.issuperset(unit.needs), name
        seen.add(name)


def test_the_barrier_needs_all_energies_and_every_energy_of_the_next_round_needs_it():
    graph = build_graph([dataset(12)], options(reconstruct={"cycles": 600}), "run_1")
    couple = graph.units["couple-round1"]
    assert set(couple.needs) == {f"reconstruct-{5420 + 10 * i}.0eV-round1" for i in range(12)}
    second = [unit for unit in graph.units.values() if unit.stage == "reconstruct" and unit.name.endswith("round2")]
    assert len(second) == 12
    assert all("couple-round1" in unit.needs for unit in second)
    assert [unit.arguments["index"] for unit in second] == list(range(12))


@pytest.mark.parametrize(
    ("cycles", "mode", "n_rounds"), [(800, "joint", 7), (500, "joint", 1), (520, "joint", 2), (800, "off", 1)]
)
def test_there_is_a_barrier_between_rounds_and_nowhere_else(cycles, mode, n_rounds):
    graph = build_graph([dataset(10)], options(reconstruct={"cycles": cycles}, kkr={"mode": mode}), "run_1")
    n_cycles = [unit.arguments["n_cycles"] for unit in graph.units.values() if "5420.0eV" in unit.name]
    assert len(n_cycles) == n_rounds
    assert sum(n_cycles) == cycles
    assert sum(unit.stage == "couple" for unit in graph.units.values()) == n_rounds - 1


def test_other_domains_options_change_only_the_keys_of_domains_and_what_follows():
    before = build_graph([dataset()], options(domains={"n_domains": 6}), "run_1")
    after = build_graph([dataset()], options(domains={"n_domains": 4}), "run_1")
    assert keys(before, *SCIENCE) == keys(after, *SCIENCE)
    for stage in ("domains", "figures", "results"):
        assert keys(before, stage).isdisjoint(keys(after, stage))


def test_other_kkr_options_keep_the_rounds_before_the_first_barrier():
    """The first round knows nothing of the coupling that follows it."""
    before = build_graph([dataset()], options(kkr={"gamma": 1.0}), "run_1")
    after = build_graph([dataset()], options(kkr={"gamma": 0.5}), "run_1")
    shared = keys(before, "reconstruct") & keys(after, "reconstruct")
    assert len(shared) == 12
    assert keys(before, "couple").isdisjoint(keys(after, "couple"))


def test_another_scan_changes_the_keys_of_its_own_first_round_and_of_all_that_meets_it():
    whole = dataset()
    changed = dataclasses.replace(whole.scans[3], sha256="f" * 64)
    other = dataclasses.replace(whole, scans=(*whole.scans[:3], changed, *whole.scans[4:]))
    before, after = (build_graph([d], options(), "run_1") for d in (whole, other))
    differing = {name for name in before.units if before.units[name].key != after.units[name].key}
    assert "reconstruct-5450.0eV-round1" in differing
    assert "reconstruct-5420.0eV-round1" not in differing
    assert {"couple-round1", "reconstruct-5420.0eV-round2", "spectra", "maps", "results"} <= differing


def test_results_belong_to_one_run_and_everything_else_is_shared():
    one, two = (build_graph([dataset()], options(), run_id) for run_id in ("run_1", "run_2"))
    assert {name for name in one.units if one.units[name].key != two.units[name].key} == {"results"}


def test_a_single_energy_stops_after_its_reconstruction_and_says_why():
    graph = build_graph([dataset(1)], options(), "run_1")
    assert {unit.stage for unit in graph.units.values()} == {"reconstruct", "figures", "results"}
    assert sum(unit.arguments.get("n_cycles", 0) for unit in graph.units.values()) == 800
    assert "one energy" in graph.skipped["fit"]


def test_while_a_dataset_is_open_its_first_rounds_are_wired_with_the_keys_they_will_keep():
    live = build_graph([dataset(5, is_open=True)], options(), "run_1")
    assert live.awaits_scans
    assert keys(live, "reconstruct") < keys(build_graph([dataset(12)], options(), "run_1"), "reconstruct")
    assert all(unit.stage == "reconstruct" for unit in live.units.values())


def test_two_datasets_meet_in_the_domains():
    graph = build_graph([dataset(), dataset(name="ds_b")], options(), "run_1")
    assert {"maps-dataset1", "maps-dataset2"} <= set(graph.units["domains"].needs)
    assert "reconstruct-5420.0eV-dataset2-round1" in graph.units


@pytest.mark.parametrize(("energy_ev", "label"), [(5420.0, "5420.0eV"), (5465.25, "5465.250eV"), (5470.1, "5470.1eV")])
def test_energies_are_told_apart_by_name(energy_ev, label):
    assert energy_label(energy_ev) == label


def test_standards_are_mapped_but_not_grouped():
    standard = dataclasses.replace(dataset(name="ds_b"), standard=True)
    graph = build_graph([dataset(), standard], options(), "run_1")
    assert [unit.name for unit in graph.units.values() if unit.stage == "maps"] == ["maps-dataset1", "maps-dataset2"]
    assert "maps-dataset2" not in graph.units["domains"].needs
    assert "maps-dataset2" in graph.units["figures"].needs
    alone = build_graph([standard], options(), "run_1")
    assert "domains" not in alone.units
    assert "standards" in alone.skipped["domains"]


def test_compounds_to_draw_and_references_compute_no_map_again():
    plain = build_graph([dataset()], options(), "run_1")
    drawn = build_graph([dataset()], options(chemistry={"compounds": ["LiVO3"]}, references={"xdi": ["a", "b"]}), "run_1")
    assert keys(plain, *SCIENCE, "domains") == keys(drawn, *SCIENCE, "domains")
    assert keys(plain, "figures") != keys(drawn, "figures")
    assert drawn.units["references"].needs == ("spectra", "maps")
    assert keys(plain, "references") == set()


def test_a_pilot_lends_its_probe_to_every_energy_and_to_later_rounds_nothing():
    chosen = options(reconstruct={"probe_from": "pilot", "pilot_cycles": 30, "cycles": 600})
    graph = build_graph([dataset(12)], chosen, "run_1")
    pilot = graph.units["reconstruct-pilot-round0"]
    assert (pilot.needs, pilot.arguments["n_cycles"], pilot.arguments["options"].cycles) == ((), 30, 30)
    for unit in graph.units.values():
        if unit.stage == "reconstruct" and unit is not pilot:
            assert (pilot.name in unit.needs) == unit.name.endswith("round1")
    assert build_graph([dataset(12, is_open=True)], chosen, "run_1").units == {}
    longer = options(reconstruct={"probe_from": "pilot", "pilot_cycles": 30, "cycles": 700})
    assert build_graph([dataset(12)], longer, "run_1").units[pilot.name].key == pilot.key
