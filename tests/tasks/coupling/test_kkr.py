"""Kramers-Kronig on measured energies: against an independent code, analytic pairs, and the algebra of projections."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling import kkr
from tasks.coupling.kkr import (
    absorption_to_phase,
    joint_projection,
    outside_columns,
    phase_to_absorption,
    residual,
    slope,
    spline_knots,
    table_energies,
    tabulated_column,
    transform_matrix,
    window_matrix,
)
from tasks.errors import EnergyGridError
from tasks.scattering import Absorber, relativistic_charge, tabulated_f1, tabulated_f2
from tasks.simulation.chemical_states import STATES, scattering_factors
from tasks.simulation.energies import energy_grid

ENERGY = energy_grid(40, 5465.0)
V = Absorber("V", "K")
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def operators() -> tuple[Array, Array]:
    return window_matrix(ENERGY), outside_columns(ENERGY, V, "LiVO2")


def test_agrees_with_kkcalc_on_the_same_function() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kkcalc import kk

        nodes = np.unique(
            np.concatenate([np.geomspace(100, 5000, 40), np.linspace(5300, 5700, 101), np.geomspace(6000, 1e5, 30)])
        )
        values = tabulated_f2("V", nodes)
        values[[0, -1]] = 0
        targets = np.array([5333.3, 5420.1, 5466.25, 5510.7, 5600.9])
        rise = np.diff(values) / np.diff(nodes)
        coefficients = np.zeros((len(nodes) - 1, 5))
        coefficients[:, 0], coefficients[:, 1] = rise, values[:-1] - rise * nodes[:-1]
        theirs = kk.KK_PP(targets, nodes, coefficients, 0.0)
    ours = transform_matrix(targets, nodes) @ values
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_a_target_on_a_node_is_the_limit_of_targets_beside_it() -> None:
    nodes = np.linspace(5300, 5600, 31)
    values = np.exp(-(((nodes - 5450) / 40) ** 2))
    at, near = (transform_matrix(np.array([5450.0 + d]), nodes) @ values for d in (0.0, 1e-7))
    np.testing.assert_allclose(at, near, atol=1e-6)


def test_lorentzian_has_its_analytic_partner() -> None:
    centre, width = 5470.0, 3.0
    nodes = np.unique(np.concatenate([np.linspace(5370, 5570, 8001), np.geomspace(1, 5369, 4000), np.geomspace(5571, 1e7, 6000)]))
    line = width**2 / ((nodes - centre) ** 2 + width**2) - width**2 / ((nodes + centre) ** 2 + width**2)
    line[[0, -1]] = 0
    targets = np.array([5455.0, 5468.0, 5471.5, 5490.0])
    # the line's partner -width (E - E0)/((E - E0)^2 + width^2), and the mirror line's: the pair is odd in energy
    partner = width * (
        (targets - centre) / ((targets - centre) ** 2 + width**2) - (targets + centre) / ((targets + centre) ** 2 + width**2)
    )
    np.testing.assert_allclose(transform_matrix(targets, nodes) @ line, partner, atol=2e-4)


def test_tables_transform_into_each_other() -> None:
    nodes = table_energies(ENERGY)
    f1 = relativistic_charge("V") + transform_matrix(ENERGY, nodes) @ tabulated_f2("V", nodes) - 23
    far = np.abs(ENERGY - 5465) > 8
    np.testing.assert_allclose(f1[far], tabulated_f1("V", ENERGY)[far], atol=0.08)


def test_forty_energies_and_tables_give_f1_of_eq1_truth_to_a_hundredth_of_an_electron(operators: tuple[Array, Array]) -> None:
    K, T = operators
    truth = scattering_factors(STATES, ENERGY, V)
    error = residual(K, T, truth.imag, truth.real)
    assert np.sqrt(np.mean(error**2)) < 0.01
    without = truth.real - 23 - K @ truth.imag
    assert np.sqrt(np.mean(without**2)) == pytest.approx(3.9, abs=0.1)


def test_absorption_and_phase_obey_the_relation_once_divided_by_the_wavelength(operators: tuple[Array, Array]) -> None:
    K, T = operators
    truth = scattering_factors(STATES, ENERGY, V)
    bent = truth * (ENERGY[0] / ENERGY)[:, None]
    left = [np.sqrt(np.mean(residual(K, T, g.imag, g.real) ** 2)) for g in (truth, bent)]
    assert left[1] > 10 * left[0]


def test_joint_projection_is_idempotent_and_keeps_consistent_pairs(operators: tuple[Array, Array]) -> None:
    K, T = operators
    P = joint_projection(K, T, np.full(40, 1.0), np.linspace(1, 8, 40))
    assert np.abs(P @ P - P).max() < 1e-12
    x, c = np.random.default_rng(1).normal(size=(40, 7)), np.random.default_rng(2).normal(size=(2, 7))
    pair = np.vstack([x, K @ x + T @ c])
    np.testing.assert_allclose(P @ pair, pair, atol=1e-10)


def test_joint_projection_is_the_least_squares_solution(operators: tuple[Array, Array]) -> None:
    K, T = operators
    s_a, s_p = np.full(40, 0.7), np.full(40, 1.9)
    data = np.random.default_rng(3).normal(size=80)
    model = np.block([[np.eye(40), np.zeros((40, 2))], [K, T]])
    weight = 1 / np.concatenate([s_a, s_p])
    best = np.linalg.lstsq(model * weight[:, None], data * weight, rcond=None)[0]
    np.testing.assert_allclose(joint_projection(K, T, s_a, s_p) @ data, model @ best, atol=1e-10)


def absorption_noise(P: Array, ratio: float) -> float:
    """Rms noise of g'' after a projection, of 1 before, where g' has ``ratio``."""
    before = np.concatenate([np.ones(40), np.full(40, ratio)])
    return float(np.sqrt(np.mean(np.sum((P[:40] * before) ** 2, axis=1))))


@pytest.mark.parametrize(("ratio", "left"), [(2.0, 0.91), (1.0, 0.77), (0.5, 0.57), (0.25, 0.41)])
def test_the_better_the_phase_the_less_noise_is_left_in_the_absorption(
    operators: tuple[Array, Array], ratio: float, left: float
) -> None:
    K, T = operators
    P = joint_projection(K, T, np.ones(40), np.full(40, ratio))
    assert absorption_noise(P, ratio) == pytest.approx(left, abs=0.01)


def test_absorption_taken_from_the_phase_alone_is_noisier_where_both_are_as_good(operators: tuple[Array, Array]) -> None:
    assert absorption_noise(phase_to_absorption(*operators), 1.0) == pytest.approx(1.24, abs=0.02)
    assert absorption_noise(phase_to_absorption(*operators), 0.25) < 0.5


@pytest.mark.parametrize(("least_gain", "left"), [(0.03, 0.489), (0.06, 0.436), (0.13, 0.436), (0.2, 0.490)])
def test_the_least_gain_lies_where_least_noise_is_left_beside_a_phase_four_times_as_precise(
    operators: tuple[Array, Array], least_gain: float, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = absorption_noise(phase_to_absorption(*operators), 0.25)
    assert chosen == pytest.approx(0.436, abs=0.001)
    monkeypatch.setattr(kkr, "LEAST_GAIN", least_gain)
    assert absorption_noise(phase_to_absorption(*operators), 0.25) == pytest.approx(left, abs=0.001)


def test_one_way_projections_keep_their_side_and_are_idempotent(operators: tuple[Array, Array]) -> None:
    K, T = operators
    data = np.random.default_rng(4).normal(size=(80, 5))
    forward, backward = absorption_to_phase(K, T), phase_to_absorption(K, T)
    np.testing.assert_allclose((forward @ data)[:40], data[:40])
    np.testing.assert_allclose((backward @ data)[40:], data[40:])
    for P in (forward, backward):
        assert np.abs(P @ P - P).max() < 1e-11
    assert np.abs(residual(K, T, *np.split(forward @ data, 2))).max() < 1e-11


@pytest.mark.parametrize(("distort", "expected"), [(1.0, 1.0), (2.0, 0.5)])
def test_slope_tells_intensity_from_amplitude(operators: tuple[Array, Array], distort: float, expected: float) -> None:
    K, T = operators
    truth = scattering_factors(STATES[:3], ENERGY, V)
    assert slope(K, T, distort * truth.imag, truth.real) == pytest.approx(expected, abs=0.01)


def test_slope_tells_a_wrong_sign(operators: tuple[Array, Array]) -> None:
    K, T = operators
    truth = scattering_factors(STATES[:3], ENERGY, V)
    assert slope(K, T, truth.imag, -truth.real) == pytest.approx(-1, abs=0.01)


def test_column_of_an_element_far_from_its_edges_is_nearly_its_f1() -> None:
    expected = 8 + tabulated_f1("O", ENERGY)
    assert tabulated_column("O", ENERGY) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("nodes", [[5400.0], [5400.0, 5400.0], [5410.0, 5400.0]])
def test_nodes_must_ascend(nodes: list[float]) -> None:
    with pytest.raises(EnergyGridError, match="ascending"):
        transform_matrix(np.array([5405.0]), np.array(nodes))


def noise_gain(K: Array) -> float:
    """Largest noise of f' at one energy for unit noise of f'' at every energy."""
    return float(np.sqrt(np.max(np.sum(K**2, axis=1))))


@pytest.mark.parametrize(
    "extra",
    [[ENERGY[20] + 0.02], [ENERGY[2] - 0.001], [ENERGY[0] + 0.02, ENERGY[-1] - 0.05], list(ENERGY + 0.02),
     [ENERGY[12] + 0.02, ENERGY[12] + 0.04, ENERGY[30] + 0.2]],
    ids=["one", "before the edge", "both ends", "all", "three together"],
)  # fmt: skip
def test_nearly_equal_energies_multiply_no_noise(extra: list[float]) -> None:
    energy = np.sort(np.concatenate([ENERGY, extra]))
    K, T = window_matrix(energy), outside_columns(energy, V, "LiVO2")
    assert noise_gain(K) < 1.02 * noise_gain(window_matrix(ENERGY))
    truth = scattering_factors(STATES, energy, V)
    assert np.sqrt(np.mean(residual(K, T, truth.imag, truth.real) ** 2)) < 0.01
    noise = 0.05 * np.random.default_rng(0).normal(size=(2, *truth.shape))
    assert slope(K, T, truth.imag + noise[0], truth.real + noise[1]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("near", [[0.25], [0.5], [0.3, 0.6], [5.0, 5.3, 5.6]], ids=str)
@pytest.mark.parametrize("beside", [1, -3])
def test_near_energies_beside_wide_steps_multiply_no_noise(near: list[float], beside: int) -> None:
    energy = np.unique(np.concatenate([ENERGY, ENERGY[beside] + near]))
    K, T = window_matrix(energy), outside_columns(energy, V, "LiVO2")
    assert noise_gain(K) < 1.2 * noise_gain(window_matrix(ENERGY))
    truth = scattering_factors(STATES, energy, V)
    assert np.sqrt(np.mean(residual(K, T, truth.imag, truth.real) ** 2)) < 0.01


@pytest.mark.parametrize("fine_ev", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("coarse_ev", [3.0, 10.0, 40.0])
def test_fine_steps_beside_coarse_ones_keep_the_noise_within_bounds(fine_ev: float, coarse_ev: float) -> None:
    fine = np.arange(5460, 5490, fine_ev)
    energy = np.concatenate([np.arange(5460 - 2 * coarse_ev, 5460, coarse_ev), fine, [fine[-1] + coarse_ev]])
    assert noise_gain(window_matrix(energy)) < 6


@pytest.mark.parametrize(("n", "most"), [(10, 0.3), (14, 0.25), (24, 0.03), (40, 0.003)])
def test_few_energies_keep_the_relation_as_well_as_they_can(n: int, most: float) -> None:
    energy = energy_grid(n, 5465.0)
    truth = scattering_factors(STATES, energy, V)
    left = residual(window_matrix(energy), outside_columns(energy, V, "LiVO2"), truth.imag, truth.real)
    assert np.sqrt(np.mean(left**2)) < most


def test_knots_are_the_energies_where_these_are_spread_sanely() -> None:
    for n in (10, 14, 24, 40):
        knots, means = spline_knots(energy_grid(n, 5465.0))
        np.testing.assert_array_equal(knots, energy_grid(n, 5465.0))
        np.testing.assert_array_equal(means, np.eye(n))


@pytest.mark.parametrize(
    ("element", "edge", "formula", "from_ev"),
    [("C", "K", "CO2", -45), ("B", "K", "B2O3", -45), ("Be", "K", "BeO", -45), ("Li", "K", "Li2O", -15), ("O", "K", "VO2", -45)],
)
def test_the_relation_holds_down_to_the_beginning_of_the_tables(element: str, edge: str, formula: str, from_ev: float) -> None:
    absorber = Absorber(element, edge)
    energy = energy_grid(40, absorber.edge_energy_ev)
    energy = energy[energy >= absorber.edge_energy_ev + from_ev]
    K, T = window_matrix(energy), outside_columns(energy, absorber, formula)
    truth = scattering_factors(STATES, energy, absorber)
    assert np.sqrt(np.mean(residual(K, T, truth.imag, truth.real) ** 2)) < 0.1
    assert slope(K, T, truth.imag, truth.real) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("lowest_ev", [30.0, 12.0, -5.0])
def test_energies_below_the_tables_are_refused(lowest_ev: float) -> None:
    energy = lowest_ev + np.linspace(0, 60, 13)
    with pytest.raises(EnergyGridError, match="must lie above 30 eV"):
        window_matrix(energy)
    with pytest.raises(EnergyGridError, match="must lie above 30 eV"):
        outside_columns(energy, Absorber("Li", "K"), "Li2O")
