"""The fit against scipy, against the truth, and against measured spectra."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.optimize import least_squares

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.options.spectra import FitOptions
from tasks.xanes.bounds import RELATIVE, bounds
from tasks.xanes.compiled.kernel import fit_all, refine_all
from tasks.xanes.fit import SpectrumFit, Status, at_edge_wavelength, compile_ahead, find_prior, fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.model import PARAMETERS, eq1, jacobian, pre_edge_area, pre_edge_ratio

V_K_EV = 5465.0
EDGE = PARAMETERS.index("edge_energy")
Array = NDArray[np.float64]


def fit(grid: Array, absorption: Array, sigma: Array | None = None, edge: float = V_K_EV, prior: str = "none") -> SpectrumFit:
    found = find_prior(grid, absorption, sigma, edge, TypeAdapter(FitOptions).validate_python({"prior": prior}))
    return fit_spectra(grid, absorption, sigma, edge, found)


@dataclass(frozen=True)
class Populations:
    """Spectra of states that differ in edge energy and pre-edge height, some also in their widths."""

    parameters: np.ndarray
    absorption: np.ndarray
    rare: np.ndarray

    def edge_error(self, found: SpectrumFit) -> Array:
        return np.asarray(found.parameters[EDGE] - self.parameters[EDGE])

    def ratio_error(self, found: SpectrumFit) -> Array:
        return pre_edge_ratio(found.parameters) - pre_edge_ratio(self.parameters)


def two_populations(
    grid: Array,
    n: int,
    noise: float,
    seed: int,
    rare_share: float = 0.0,
    rare_edge_width_ev: float = 5.0,
    rare_line_width_ev: float = 12.0,
) -> Populations:
    """``n`` spectra with ``noise`` jumps a point; widths are common but for a rare state's edge and white line."""
    rng = np.random.default_rng(seed)
    p = np.tile(np.array([0.02, 1.0, V_K_EV, 3.4, 0.0, V_K_EV + 5.0, 1.2, 0.5, V_K_EV + 23.0, 6.0])[:, None], n)
    p[EDGE] += rng.choice([12.9, 13.8, 15.2], n)
    p[4] = rng.choice([0.15, 0.3, 0.5], n)
    rare = rng.uniform(size=n) < rare_share
    p[3, rare], p[9, rare] = rare_edge_width_ev, rare_line_width_ev
    clean = eq1(grid, p)
    return Populations(p, clean + noise * rng.normal(size=clean.shape), rare)


def robust_sd(values: NDArray[Any]) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def tight(grid: Array, spectrum: Array, start: Array) -> float:
    """Chi2 of scipy's bounded least squares, run to machine precision from ``start`` (10,)."""
    lower, upper = bounds(0.0)
    scale = np.where(np.isin(np.arange(10), [0, 1, 4, 7]), np.ptp(spectrum), 1.0)
    p = np.clip(start - RELATIVE * V_K_EV, lower + 1e-9 * scale, upper - 1e-9 * scale)
    energy = grid - V_K_EV
    result = least_squares(
        lambda q: eq1(energy, q) - spectrum,
        p,
        jac=lambda q: jacobian(energy, q),
        bounds=(lower, upper),
        x_scale=scale,
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=1000,
    )
    return float(2 * result.cost)


def test_recovers_noiseless_parameters(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(200, 0.0, seed=1)
    found = fit(grid, truth.absorption)
    np.testing.assert_allclose(found.parameters[EDGE], truth.parameters[EDGE], atol=1e-4)
    np.testing.assert_allclose(pre_edge_ratio(found.parameters), pre_edge_ratio(truth.parameters), atol=2e-3)
    assert np.all(found.status == Status.OK)


@pytest.mark.parametrize(("noise", "seed"), [(0.01, 1), (0.03, 2), (0.03, 3)])
def test_no_worse_than_a_tight_scipy_fit(grid: Array, simulate: Callable[..., Any], noise: float, seed: int) -> None:
    """Chi2 within 1e-6 of scipy from our own end, and from the truth, on at least 98 % of pixels."""
    truth = simulate(50, noise, seed)
    found = fit(grid, truth.absorption)
    polished = np.array([tight(grid, y, p) for y, p in zip(truth.absorption.T, found.parameters.T, strict=True)])
    assert np.all(found.chi2 <= polished * (1 + 1e-6))
    from_truth = np.array([tight(grid, y, p) for y, p in zip(truth.absorption.T, truth.parameters.T, strict=True)])
    assert np.mean(found.chi2 <= from_truth * (1 + 1e-6)) >= 0.98


@pytest.mark.parametrize(("noise", "share"), [(0.01, 0.999), (0.03, 0.98), (0.1, 0.85)])
def test_reaches_the_best_known_minimum(grid: Array, simulate: Callable[..., Any], noise: float, share: float) -> None:
    """Best known: the least of our fit and of fits begun at the truth and at neighbours' ends."""
    truth = simulate(400, noise, seed=4)
    found = fit(grid, truth.absorption)
    best = np.minimum(found.chi2, fit_from(grid, truth.absorption, truth.parameters))
    rng = np.random.default_rng(0)
    for _ in range(4):
        jump = rng.normal(size=found.parameters.shape) * np.array([0, 0, 1.5, 1, 0, 1.5, 0.5, 0, 3, 2])[:, None]
        best = np.minimum(best, fit_from(grid, truth.absorption, found.parameters + jump))
    assert np.mean(found.chi2 <= best * (1 + 1e-6)) >= share


def fit_from(grid: Array, absorption: Array, starts: Array) -> Array:
    """Chi2 of the compiled minimiser begun at ``starts`` (10, n)."""
    from tasks.xanes.compiled.solver import Problem, make_workspace, minimise

    lower, upper = bounds(0.0)
    problem = Problem(grid - V_K_EV, np.ones(len(grid)), lower, upper, np.zeros(10), np.zeros(10))
    workspace = make_workspace(len(grid))
    ends = []
    for spectrum, start in zip(np.ascontiguousarray(absorption.T), starts.T, strict=True):
        p = np.clip(start - RELATIVE * V_K_EV, lower, upper)
        ends.append(minimise(problem, None, spectrum, p, 500, 1e-12, workspace)[0])
    return np.array(ends)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_standard_errors_are_honest(grid: Array, simulate: Callable[..., Any], noise: float, seed: int) -> None:
    truth = simulate(1500, noise, seed)
    found = fit(grid, truth.absorption)
    within = np.mean(np.abs(found.parameters - truth.parameters) < found.sigma, axis=1)
    assert np.all((within > 0.60) & (within < 0.75)), dict(zip(PARAMETERS, within, strict=True))
    error = pre_edge_ratio(found.parameters) - pre_edge_ratio(truth.parameters)
    assert 0.60 < np.mean(np.abs(error) < found.pre_edge_ratio_sigma) < 0.75
    error = pre_edge_area(found.parameters) - pre_edge_area(truth.parameters)
    assert 0.60 < np.mean(np.abs(error) < found.pre_edge_area_sigma) < 0.75
    np.testing.assert_allclose(np.median(found.residual / truth.noise), 1.0, atol=0.03)


def test_errors_are_those_of_the_covariance_scaled_by_the_residual(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(1, 0.01, seed=7)
    found = fit(grid, truth.absorption)
    rows = jacobian(grid, found.parameters[:, 0])
    covariance = np.linalg.inv(rows.T @ rows) * found.chi2[0] / (40 - 10)
    np.testing.assert_allclose(found.sigma[:, 0], np.sqrt(np.diag(covariance)), rtol=1e-5)
    p = found.parameters[:, 0]
    slope = np.zeros(10)
    slope[[1, 4, 6]] = np.pi * np.array([-p[4] * p[6] / p[1] ** 2, p[6] / p[1], p[4] / p[1]])
    assert found.pre_edge_ratio_sigma[0] == pytest.approx(np.sqrt(slope @ covariance @ slope), rel=1e-5)


def test_the_scale_of_sigma_changes_nothing_but_chi2(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(50, 0.01, seed=8)
    sigma = np.linspace(1.0, 2.0, 40)
    one, ten = fit(grid, truth.absorption, sigma), fit(grid, truth.absorption, 10 * sigma)
    np.testing.assert_allclose(ten.parameters, one.parameters, rtol=1e-4)
    np.testing.assert_allclose(ten.sigma, one.sigma, rtol=1e-3)
    np.testing.assert_allclose(ten.chi2, one.chi2 / 100, rtol=1e-6)


def test_a_noisy_energy_weighs_less(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(300, 0.005, seed=9)
    sigma = np.ones(40)
    sigma[20] = 1e3
    spoilt = truth.absorption.copy()
    spoilt[20] += 0.02
    error = np.median(np.abs(fit(grid, spoilt, sigma).parameters - truth.parameters)[EDGE])
    without = np.median(np.abs(fit(grid, spoilt).parameters - truth.parameters)[EDGE])
    assert error < 0.05 < without


@pytest.mark.parametrize("edge", [7112.0, 6539.0, 8333.0])
def test_another_edge_needs_no_other_code(grid: Array, simulate: Callable[..., Any], edge: float) -> None:
    here, there = simulate(100, 0.02, seed=10), simulate(100, 0.02, seed=10, edge_ev=edge)
    shift = (edge - V_K_EV) * RELATIVE[:, None]
    found, moved = fit(grid, here.absorption), fit(grid + edge - V_K_EV, there.absorption, edge=edge)
    np.testing.assert_allclose(moved.parameters - shift, found.parameters, atol=1e-3)


def test_pixels_do_not_depend_on_their_tile(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(60, 0.03, seed=11)
    whole, part = fit(grid, truth.absorption), fit(grid, truth.absorption[:, 20:30])
    np.testing.assert_array_equal(part.parameters, whole.parameters[:, 20:30])
    np.testing.assert_array_equal(part.sigma, whole.sigma[:, 20:30])


def test_prior_mean_steadies_noisy_pixels(grid: Array, simulate: Callable[..., Any]) -> None:
    """At 10 % noise the edge energy's rms falls by a third, at 3 % it is no worse."""
    for noise, gain in ((0.1, 0.8), (0.03, 1.0)):
        truth = simulate(1000, noise, seed=12)
        plain, drawn = fit(grid, truth.absorption), fit(grid, truth.absorption, prior="mean")
        rms = [np.sqrt(np.mean((f.parameters - truth.parameters)[EDGE] ** 2)) for f in (plain, drawn)]
        assert rms[1] < gain * rms[0]


@pytest.mark.parametrize("seed", [21, 22])
def test_prior_population_learns_what_the_pixels_share(grid: Array, seed: int) -> None:
    """Widths alike in all pixels steady the edge energy by a quarter, the pre-edge by a third, and bias neither."""
    truth = two_populations(grid, 1000, 0.03, seed)
    plain, drawn = fit(grid, truth.absorption), fit(grid, truth.absorption, prior="population")
    error, ratio_error = ([of(f) for f in (plain, drawn)] for of in (truth.edge_error, truth.ratio_error))
    assert robust_sd(error[1]) < 0.8 * robust_sd(error[0])
    assert robust_sd(ratio_error[1]) < 0.7 * robust_sd(ratio_error[0])
    assert abs(np.median(error[1])) < 0.1 * robust_sd(error[0])
    within = np.abs(error[1]) < drawn.sigma[EDGE]
    assert 0.60 <= within.mean() <= 0.75


def test_prior_population_leaves_a_rare_state_its_shape(grid: Array) -> None:
    """One pixel in ten has a white line twice as wide and an edge half as wide again: nothing is lost on them."""
    truth = two_populations(grid, 2000, 0.03, seed=23, rare_share=0.1)
    plain, drawn = fit(grid, truth.absorption), fit(grid, truth.absorption, prior="population")
    rare = [of[truth.rare] for of in map(truth.edge_error, (plain, drawn))]
    assert np.sqrt(np.mean(rare[1] ** 2)) < np.sqrt(np.mean(rare[0] ** 2))


def test_prior_does_not_depend_on_the_unit_nor_on_the_noise_it_is_told(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(400, 0.03, seed=24)
    sigma = np.full(40, 0.003)
    right = fit(grid, truth.absorption, sigma, prior="population")
    for told, unit in ((5.0, 1.0), (1.0, 1e-3), (0.2, 1e3)):
        other = fit(grid, unit * truth.absorption, unit * told * sigma, prior="population")
        np.testing.assert_allclose(other.parameters[EDGE], right.parameters[EDGE], atol=1e-3)
        np.testing.assert_allclose(other.sigma[EDGE], right.sigma[EDGE], rtol=1e-3)


def test_prior_needs_a_population(grid: Array, simulate: Callable[..., Any]) -> None:
    few = simulate(20, 0.03, seed=25)
    assert find_prior(grid, few.absorption, None, V_K_EV, FitOptions(prior="population")) is None
    assert find_prior(grid, np.full((40, 2), np.nan), None, V_K_EV, FitOptions(prior="population")) is None


def test_a_bad_pixel_is_a_status_not_an_error(grid: Array, simulate: Callable[..., Any]) -> None:
    truth = simulate(4, 0.01, seed=14)
    absorption = truth.absorption.copy()
    absorption[3, 0], absorption[:, 1], absorption[:, 2] = np.nan, 0.0, 1e3
    found = fit(grid, absorption)
    assert found.status[0] == Status.MASKED_NOT_FINITE
    assert np.all(np.isnan(found.parameters[:, 0]))
    assert found.parameters[1, 1] == pytest.approx(0.0, abs=1e-9)
    assert found.parameters[1, 2] == pytest.approx(0.0, abs=1e-3)
    assert found.status[3] == Status.OK


def test_a_parameter_beyond_its_bound_is_said_to_be_at_it(grid: Array) -> None:
    p = np.array([0.0, 1.0, V_K_EV + 14, 0.15, 0.2, V_K_EV + 5, 1.2, 0.5, V_K_EV + 24, 6.0])
    found = fit(grid, eq1(grid, p)[:, None])
    assert found.status[0] == Status.AT_BOUND
    assert found.parameters[3, 0] == bounds(V_K_EV)[0][3]


def test_absent_pre_edge_has_no_place(grid: Array) -> None:
    rng = np.random.default_rng(15)
    p = np.array([0.0, 1.0, V_K_EV + 14, 3.0, 0.0, V_K_EV + 5, 1.2, 0.5, V_K_EV + 24, 6.0])
    found = fit(grid, eq1(grid, p)[:, None] + 0.005 * rng.normal(size=(40, 40)))
    ratio = pre_edge_ratio(found.parameters)
    assert np.all(np.isfinite(ratio))
    assert np.median(ratio / found.pre_edge_ratio_sigma) < 2.0
    vanished = found.parameters[4] == 0
    assert np.all(np.isinf(found.sigma[5, vanished]))


@pytest.mark.parametrize(
    ("energies", "words"),
    [
        (np.linspace(5420, 5540, 9), "at least 10 energies.*got 9"),
        (np.full(12, 5470.0), "distinct and ascending"),
        (np.linspace(5540, 5420, 12), "distinct and ascending"),
        (np.linspace(5470, 5540, 12), "both sides of the absorption edge at 5465.0"),
        (np.linspace(5.42, 5.54, 12), "not in eV"),
    ],
)
def test_energies_that_cannot_tell_are_refused(energies: Array, words: str) -> None:
    with pytest.raises(EnergyGridError, match=words):
        fit(energies, np.zeros((len(energies), 1)))


def test_arrays_that_do_not_match_are_refused(grid: Array) -> None:
    with pytest.raises(InvalidOptionError, match=r"absorption must be \(E, n\)"):
        fit(grid, np.zeros((39, 2)))
    with pytest.raises(InvalidOptionError, match="sigma must be"):
        fit(grid, np.zeros((40, 2)), np.zeros(40))


def test_the_wavelength_bends_the_jump_and_the_correction_mends_it(grid: Array) -> None:
    """f'' of eq. 1 on the tabulated f'' of what lies below the edge (0.45 electrons), as absorption of 1 um."""
    f2 = eq1(grid, np.array([0.45, 3.53, V_K_EV + 13, 3.2, 0.7, V_K_EV + 5, 1.1, 1.2, V_K_EV + 20, 4.0]))
    absorption = f2[:, None] * (V_K_EV / grid[:, None])
    bent = fit(grid, absorption).parameters[1, 0] / 3.53
    mended = fit(grid, at_edge_wavelength(grid, absorption, V_K_EV)).parameters[1, 0] / 3.53
    assert bent == pytest.approx(0.988, abs=0.003)
    assert mended == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("compiled_function", [fit_all, refine_all])
def test_compiling_ahead_compiles_what_fits_use(compiled_function: Any, grid: Array, simulate: Callable[..., Any]) -> None:
    compile_ahead()
    signatures = list(compiled_function.signatures)
    measured, even = simulate(5, 0.01, 0).absorption, np.ones(grid.size)
    fit_pairs(Pairs(grid, measured, measured, even, even, np.ones((grid.size, 1))), V_K_EV)
    assert signatures
    assert compiled_function.signatures == signatures
