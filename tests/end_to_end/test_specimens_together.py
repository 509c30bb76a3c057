"""Specimens of several groups in one run, and runs that share finished steps."""

import json
from typing import Any

import numpy as np
from lab import Array, Job, Lab, Measure
from typer.testing import CliRunner

from api.cli.main import app
from tasks.simulation.specimen import Simulation
from tasks.simulation.truth import true_maps

N_DOMAINS = 4
DESCRIPTOR_SPREAD = np.array([0.35, 0.35, 1.5])
"""Of edge energy [eV], pre-edge ratio [eV] and electron ratio within a state, as measured here."""


def true_fractions(simulation: Simulation, y_m: Array, x_m: Array) -> Array:
    """Share (2,) of the absorber atoms in each state, by edge energy."""
    truth = true_maps(simulation, y_m, x_m)
    atoms = np.array([truth.n_absorber[truth.state == state].sum() for state in range(len(simulation.specimen.states))])
    return np.asarray(atoms / atoms.sum())


def states_of_domains(centres: Array, simulation: Simulation) -> Array:
    """Index (k,) of the state that is nearest to each domain."""
    here = np.array([0.0])
    wanted = []
    for state in range(len(simulation.specimen.states)):
        y_m, x_m = simulation.specimen.grain_centres_m[list(simulation.specimen.grain_states).index(state)]
        truth = true_maps(simulation, here + y_m, here + x_m)
        wanted.append([truth.edge_energy[0, 0], truth.pre_edge_ratio[0, 0], truth.electron_ratio[0, 0]])
    away = (centres[:, None] - np.array(wanted)[None]) / DESCRIPTOR_SPREAD
    return np.asarray(np.argmin((away**2).sum(axis=-1), axis=1))


def test_both_formats_hold_the_same_kind_of_measurement(lab: Lab, specimen: Measure, charged: str) -> None:
    view = lab.client.call("GET", f"/datasets/{charged}")
    assert view["state"] == "sealed"
    assert np.allclose(view["energies_ev"], specimen(1).energies_ev)
    assert {(scan["n_positions"], scan["n_pixels"]) for scan in view["scans"]} == {(64, 48)}


def test_a_joint_run_computes_only_what_is_new(joint_job: Job, main_job: Job, specimen: Measure) -> None:
    assert joint_job.view["state"] == "succeeded", joint_job.view["error"]
    n = len(specimen(1).scans)
    computed = joint_job.computed()
    assert {stage: computed.count(stage) for stage in set(computed)} == {
        "reconstruct": 2 * n, "couple": 1, "spectra": 1, "fit": 1, "maps": 1, "domains": 1, "figures": 3, "results": 1,
    }  # fmt: skip


def test_specimens_share_their_domains(lab: Lab, joint_job: Job, pristine: str, charged: str) -> None:
    centres = lab.array(joint_job, "domains/centre")
    assert centres.shape == (N_DOMAINS, 3)
    assert (np.diff(centres[:, 0]) > 0).all(), "domains are sorted by edge energy"
    maps = {name: lab.array(joint_job, f"{name}/maps/edge_energy") for name in (pristine, charged)}
    labels = {name: lab.array(joint_job, f"{name}/domains/label") for name in (pristine, charged)}
    for domain in range(1, N_DOMAINS + 1):
        pooled = np.concatenate([maps[name][labels[name] == domain] for name in maps])
        assert abs(pooled.mean(dtype=float) - centres[domain - 1, 0]) < 0.01
    for name in maps:
        kept = lab.array(joint_job, f"{name}/maps/mask")
        assert set(np.unique(labels[name])) <= set(range(N_DOMAINS + 1))
        assert not labels[name][~kept].any()


def test_fractions_are_weighted_by_absorber_atoms(lab: Lab, joint_job: Job, pristine: str, charged: str) -> None:
    fraction = lab.array(joint_job, "domains/fraction")
    assert list(lab.array(joint_job, "domains/dataset")) == [pristine, charged]
    for row, name in zip(fraction, (pristine, charged), strict=True):
        atoms, label = lab.array(joint_job, f"{name}/maps/n_absorber"), lab.array(joint_job, f"{name}/domains/label")
        counted = np.array([atoms[label == domain].sum(dtype=float) for domain in range(1, N_DOMAINS + 1)])
        np.testing.assert_allclose(row, counted / counted.sum(), rtol=1e-6)
    np.testing.assert_allclose(fraction.sum(axis=1), 1, rtol=1e-9)


def test_groups_have_fractions_of_their_own(lab: Lab, joint_job: Job) -> None:
    groups = list(lab.array(joint_job, "domains/group"))
    assert sorted(groups) == ["as prepared", "delithiated"]
    by_group = lab.array(joint_job, "domains/group_fraction")
    np.testing.assert_allclose(by_group.sum(axis=1), 1, rtol=1e-9)
    of_dataset = list(lab.array(joint_job, "domains/dataset_group"))
    for group, row in zip(groups, by_group, strict=True):
        np.testing.assert_allclose(row, lab.array(joint_job, "domains/fraction")[of_dataset.index(group)], rtol=1e-9)


def test_fractions_and_domains_are_near_the_truth(lab: Lab, joint_job: Job, pristine: str, charged: str) -> None:
    centres = lab.array(joint_job, "domains/centre")
    for row, name in zip(lab.array(joint_job, "domains/fraction"), (pristine, charged), strict=True):
        simulation = lab.simulations[name]
        state = states_of_domains(centres, simulation)
        y_m, x_m = (lab.array(joint_job, f"{name}/maps/{axis}") for axis in "yx")
        found = np.bincount(state, weights=row, minlength=2)
        np.testing.assert_allclose(found, true_fractions(simulation, y_m, x_m), atol=0.12)
        label = lab.array(joint_job, f"{name}/domains/label")
        merged = np.where(label > 0, 1 + state[label - 1], 0)
        assert lab.assess(joint_job, name, merged).adjusted_rand > 0.5


def test_figures_that_no_test_looks_at_are_left_out(lab: Lab, joint_job: Job) -> None:
    assert len(lab.client.call("GET", f"/runs/{joint_job.id}/figures")["items"]) == 1


def test_another_number_of_domains_from_the_command_line_computes_no_image_anew(
    lab: Lab, main_job: Job, options: dict[str, Any], pristine: str
) -> None:
    changed = options | {"domains": {"n_domains": 3, "replicates": 5}}
    given = [f"{stage}.{name}={json.dumps(value)}" for stage, values in changed.items() for name, value in values.items()]
    arguments = ["run", pristine, *(part for text in given for part in ("-o", text)), "--json", "--url", lab.client.url]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    run_id = json.loads(done.output)["id"]
    lab.serving.leave_undrawn(run_id)
    other = lab.job(run_id, list(lab.client.follow(run_id)))
    assert other.view["state"] == "succeeded", other.view["error"]
    assert sorted(other.computed()) == ["domains", "figures", "figures", "results"]
    assert lab.array(other, "domains/fraction").shape == (1, 3)
    name = f"{pristine}/maps/edge_energy"
    np.testing.assert_array_equal(lab.array(other, name), lab.array(main_job, name))


def test_the_same_request_again_computes_only_its_own_results_and_figures(
    lab: Lab, main_job: Job, options: dict[str, Any], pristine: str
) -> None:
    again = lab.run([pristine], options, is_drawn=False)
    assert again.view["state"] == "succeeded", again.view["error"]
    assert again.computed() == ["results", "figures"]
