"""Plans of energies: what they promise is what fits of simulated spectra give, and twenty serve as well as forty."""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling.kkr import joint_projection, outside_columns, window_matrix
from tasks.errors import EnergyGridError, FormulaError, InvalidOptionError
from tasks.planning.plan import (
    EnergyPlan,
    PlanOptions,
    absorbers_per_area,
    expected_parameters,
    kramers_kronig_error,
    noise_per_absorber,
    plan_energies,
)
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, ChemicalState, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.xanes.fit import fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.model import PARAMETERS

V = Absorber()
EDGE_EV = V.edge_energy_ev
EDGE = PARAMETERS.index("edge_energy")
QUICK = PlanOptions(energies=12, step_ev=2.0)
N_PIXELS = 1500
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def twenty() -> EnergyPlan:
    return plan_energies(PlanOptions())


@pytest.fixture(scope="module")
def quick() -> EnergyPlan:
    return plan_energies(QUICK)


def elsewhere() -> list[ChemicalState]:
    """States whose edges lie where the plan expected none exactly."""
    rng = np.random.default_rng(7)
    return [
        replace(s, edge_ev=s.edge_ev + d, pre_edge_ev=s.pre_edge_ev + d, white_line_ev=s.white_line_ev + d)
        for s in STATES
        for d in rng.uniform(-1, 1, 2)
    ]


def edge_energy_sd(
    energy_ev: Array, share: Array, options: PlanOptions, seed: int, states: Sequence[ChemicalState]
) -> dict[str, float]:
    """Robust sd of the edge energy [eV] in noisy spectra: from the absorption alone, after the constraint, by the joint fit."""
    rng = np.random.default_rng(seed)
    state = np.arange(N_PIXELS) % len(states)
    electrons = electrons_per_formula(tuple(states), energy_ev, V)[:, state]
    noise = np.stack([noise_per_absorber(options, expected_parameters(s, options), energy_ev) for s in states], axis=1)
    sigma = noise[:, state] / np.sqrt(share)[:, None]
    absorption = electrons.imag + sigma * rng.normal(size=sigma.shape)
    phase = electrons.real + options.phase_noise * sigma * rng.normal(size=sigma.shape)
    even = sigma.mean(axis=1)
    K, T = window_matrix(energy_ev), outside_columns(energy_ev, V, options.compound)
    coupled = joint_projection(K, T, even, options.phase_noise * even) @ np.concatenate([absorption, phase])
    fits = {
        "absorption alone": fit_spectra(energy_ev, absorption, even, EDGE_EV),
        "constraint": fit_spectra(energy_ev, coupled[: energy_ev.size], even, EDGE_EV),
        "joint fit": fit_pairs(Pairs(energy_ev, absorption, phase, even, options.phase_noise * even, T), EDGE_EV),
    }
    truth = EDGE_EV + np.array([s.edge_ev for s in states])[state]
    errors = {name: fit.parameters[EDGE] - truth for name, fit in fits.items()}
    return {name: float(1.4826 * np.median(np.abs(error - np.median(error)))) for name, error in errors.items()}


@pytest.mark.parametrize("photons", [4e6, pytest.param(4e7, marks=pytest.mark.study)])
def test_twenty_chosen_energies_serve_as_forty_at_the_same_dose(twenty: EnergyPlan, photons: float) -> None:
    options = replace(twenty.options, photons=photons)
    usual = energy_grid(40, EDGE_EV)
    chosen = edge_energy_sd(twenty.energy_ev, twenty.share, options, 0, elsewhere())
    forty = edge_energy_sd(usual, np.full(40, 1 / 40), options, 1, elsewhere())
    for name, sd in chosen.items():
        assert sd < 1.25 * forty[name], name
    assert twenty.errors.edge_energy_ev < 1.1 * twenty.reference.edge_energy_ev


def test_the_promised_error_is_that_of_fits(quick: EnergyPlan) -> None:
    """One state, many photons, where the model is as good as linear; the phase left out."""
    options = replace(QUICK, photons=4e9, phase_noise=1e3, uncertainty_ev=0.0)
    energy = energy_grid(40, EDGE_EV)
    promised = plan_energies(options).reference.edge_energy_ev
    found = [edge_energy_sd(energy, np.full(40, 1 / 40), options, 2, [state])["absorption alone"] for state in STATES]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(promised, rel=0.06)


def test_chosen_energies_hold_the_ends_and_keep_apart(twenty: EnergyPlan) -> None:
    energy = twenty.energy_ev
    assert (energy[0], energy[-1], energy.size) == (EDGE_EV - 45, EDGE_EV + 75, 20)
    assert np.diff(energy).min() >= 0.5
    assert (energy < EDGE_EV).sum() >= 3
    np.testing.assert_allclose(twenty.share, 1 / 20)


def test_the_relation_on_fewer_energies() -> None:
    """The hundredth of an electron of forty energies does not hold on half of them: the pre-edge peak falls between them."""
    rms = {n: kramers_kronig_error(energy_grid(n, EDGE_EV), V, "LiVO2") for n in (80, 40, 30, 20, 12)}
    assert rms[40] < 0.003
    assert rms[30] < 0.01
    assert 0.03 < rms[20] < 0.06
    assert rms[12] > 0.3


def test_planned_energies_keep_the_relation_no_worse_than_a_regular_thinning(twenty: EnergyPlan) -> None:
    assert twenty.kk_rms < kramers_kronig_error(energy_grid(20, EDGE_EV), V, "LiVO2")
    forty = plan_energies(PlanOptions(energies=40))
    assert forty.kk_rms < 0.01


def test_photons_scale_the_errors_and_choose_nothing(quick: EnergyPlan) -> None:
    more = plan_energies(replace(QUICK, photons=100 * QUICK.photons))
    np.testing.assert_array_equal(more.energy_ev, quick.energy_ev)
    for name, error in asdict(quick.errors).items():
        assert getattr(more.errors, name) == pytest.approx(error / 10, rel=1e-6), name


def test_a_specimen_may_be_too_thin_and_too_thick() -> None:
    error = {um: plan_energies(replace(QUICK, thickness_um=um)).errors.edge_energy_ev for um in (0.5, 15.0, 150.0)}
    assert error[15.0] < 0.1 * error[0.5]
    assert error[150.0] > 2 * error[15.0]


def test_a_better_phase_is_worth_its_while(quick: EnergyPlan) -> None:
    better = plan_energies(replace(QUICK, phase_noise=0.5))
    assert better.errors.edge_energy_ev < 0.8 * quick.errors.edge_energy_ev


def test_split_photons_serve_better_than_equal_ones() -> None:
    wanted = replace(QUICK, descriptors=("edge_energy",))
    equal, split = (plan_energies(replace(wanted, dose=dose)) for dose in ("equal", "split"))
    np.testing.assert_array_equal(split.energy_ev, equal.energy_ev)
    assert split.share.sum() == pytest.approx(1)
    assert split.share.max() > 1.2 / 12
    assert split.errors.edge_energy_ev < equal.errors.edge_energy_ev


def test_what_is_wanted_decides(quick: EnergyPlan) -> None:
    narrow = plan_energies(replace(QUICK, descriptors=("edge_energy",)))
    assert narrow.errors.edge_energy_ev < quick.errors.edge_energy_ev
    assert narrow.errors.pre_edge_ratio_ev > quick.errors.pre_edge_ratio_ev


@pytest.mark.parametrize(("element", "formula"), [("Fe", "LiFePO4"), ("Mn", None), ("Co", "LiCoO2")])
def test_any_edge(element: str, formula: str) -> None:
    plan = plan_energies(replace(QUICK, element=element, formula=formula))
    edge = Absorber(element).edge_energy_ev
    assert plan.energy_ev[[0, -1]] == pytest.approx([edge - 45, edge + 75], abs=2.0)
    assert 0.8 < plan.errors.edge_energy_ev / plan.reference.edge_energy_ev < 1.6


@pytest.mark.parametrize(("element", "edge", "formula"), [("C", "K", "CO2"), ("O", "K", "VO2"), ("Mo", "L2", "MoO3")])
def test_soft_edges_and_edges_beside_others(element: str, edge: str, formula: str) -> None:
    plan = plan_energies(replace(QUICK, element=element, edge=edge, formula=formula, thickness_um=0.2))
    assert 0 < plan.errors.edge_energy_ev < 1
    assert plan.kk_rms < 1


@pytest.mark.parametrize(("element", "edge", "formula"), [("Fe", "L3", "Fe2O3"), ("Ti", "L2", "TiO2"), ("Ca", "L3", "CaO")])
def test_a_window_that_holds_another_edge_is_refused(element: str, edge: str, formula: str) -> None:
    with pytest.raises(FormulaError, match="hold another of"):
        plan_energies(replace(QUICK, element=element, edge=edge, formula=formula))


def test_a_window_below_the_tables_is_refused() -> None:
    with pytest.raises(EnergyGridError, match="above 30 eV"):
        plan_energies(replace(QUICK, element="Li", formula="Li2O"))


def test_atoms_in_the_way() -> None:
    assert absorbers_per_area(PlanOptions()) == pytest.approx(2.41e28 * 1.4e-6, rel=0.005)
    with pytest.raises(FormulaError, match="must contain the absorber V"):
        absorbers_per_area(PlanOptions(formula="LiFeO2"))


def test_more_energies_than_candidates_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="among 13 candidates, got 20"):
        plan_energies(PlanOptions(step_ev=10.0))
