"""The study of six particles, as far as it needs no run: what it measures, what it holds to, its gallery."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from api.cli.study import STANDARD, Findings, ParticleStudy, fill_gallery, findings_table, smaller
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, reference_text
from tasks.simulation.specimen import Simulation, SimulationOptions, grow_specimen
from tasks.simulation.truth import Assessment, state_shares
from tasks.xanes.references.normalisation import fit_reference, read_reference


def findings(found: list[list[float]], elbow: int) -> Findings:
    one = Assessment(0.0, 0.1, 0.0, 0.1, 1.0, 0.1, 0.4, 0.97, 0.9, 1e-3, 1e-3, {})
    true = np.array([[0.4, 0.3, 0.2, 0.1]])
    return Findings(["as-prepared 1"], np.asarray(found), true, elbow, [one], 60.0)


@pytest.mark.parametrize(
    ("found", "elbow", "holds"),
    [([[0.44, 0.27, 0.2, 0.09]], 5, True), ([[0.46, 0.25, 0.2, 0.09]], 4, False), ([[0.4, 0.3, 0.2, 0.1]], 6, False)],
)
def test_it_holds_within_a_twentieth_and_one_domain(found: list[list[float]], elbow: int, holds: bool) -> None:
    one = findings(found, elbow)
    assert one.holds == holds
    shown = io.StringIO()
    Console(file=shown, width=200).print(findings_table(one))
    assert "0.400" in shown.getvalue()


def test_two_groups_of_three_and_a_standard_of_one_state(tmp_path: Path) -> None:
    made = ParticleStudy(tmp_path, SimulationOptions(n_energies=10), 1, None, Console()).specimens()
    assert list(made)[-1] == STANDARD
    assert len({options.seed for options in made.values()}) == 7
    edges = {}
    for name, options in made.items():
        simulation = WithoutScans(options, grow_specimen(options), Absorber(), [], options.probe, np.zeros((0, 2)))
        energies = np.sort([state.edge_ev for state in simulation.specimen.states])
        edges[name] = float(state_shares(simulation) @ energies)
    assert edges[STANDARD] == pytest.approx(STATES[0].edge_ev)
    as_prepared, delithiated = (np.mean([e for n, e in edges.items() if n.startswith(g)]) for g in ("as", "de"))
    assert delithiated - as_prepared > 0.3


class WithoutScans(Simulation):
    """A specimen that was not measured."""

    @property
    def energies_ev(self) -> NDArray[np.float64]:
        return np.array([5420.0])


def test_shares_sum_to_one_in_the_order_of_edge_energies() -> None:
    options = SimulationOptions(n_states=2, n_grains=2, seed=4)
    simulation = WithoutScans(options, grow_specimen(options), Absorber(), [], options.probe, np.zeros((0, 2)))
    shares = state_shares(simulation)
    assert shares.sum() == pytest.approx(1.0)
    assert shares == pytest.approx(state_shares(simulation, 5e-9), abs=0.01)


def test_a_reference_text_is_the_xdi_of_its_state() -> None:
    reference = read_reference(reference_text(STATES[2], Absorber("Fe")), Absorber("Fe"))
    assert reference.name == "LiFeO3"
    edge = fit_reference(reference, Absorber("Fe")).parameters[2, 0]
    assert edge == pytest.approx(Absorber("Fe").edge_energy_ev + STATES[2].edge_ev, abs=0.05)


def test_the_gallery_has_the_study_and_one_dataset_in_small_files(tmp_path: Path) -> None:
    y, x = np.indices((240, 300))
    buffer = io.BytesIO()
    Image.fromarray(np.stack([y % 256, x % 256, (x + y) % 256], -1).astype(np.uint8)).save(buffer, "PNG")
    names = {"elbow": None, "probe-ds_a": "ds_a", "probe-ds_b": "ds_b"}
    listed = [{"name": name, "dataset": dataset} for name, dataset in names.items()]
    for item in listed:
        (tmp_path / f"{item['name']}.png").write_bytes(buffer.getvalue())
    (tmp_path / "figures.json").write_text(json.dumps(listed))
    fill_gallery(tmp_path, "ds_a", tmp_path / "gallery")
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == ["elbow.png", "probe.png"]
    assert Image.open(io.BytesIO(smaller(buffer.getvalue()))).size == (200, 160)
