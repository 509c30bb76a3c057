"""Pixels that carry no spectrum are told apart, with the reason."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.options.spectra import FitOptions
from tasks.xanes.fit import Status, fit_spectra
from tasks.xanes.mask import kept, mask_pixels, pre_edge_noise, require_kept
from tasks.xanes.model import PARAMETERS

V_K_EV = 5465.0


def masked(grid: NDArray[np.float64], truth: Any, sigma_vacuum: float = 0.0, **options: Any) -> NDArray[np.int8]:
    chosen = FitOptions(**options)
    fit = fit_spectra(grid, truth.absorption, None, V_K_EV)
    return mask_pixels(
        fit,
        chosen,
        energy_ev=grid,
        absorption=truth.absorption,
        edge_energy_ev=V_K_EV,
        sigma_vacuum=sigma_vacuum,
    )


def test_default_keeps_clear_jumps_and_drops_faint_ones(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    assert np.mean(kept(masked(grid, simulate(300, 0.03, seed=1)))) == 1.0
    assert np.mean(kept(masked(grid, simulate(300, 0.3, seed=1)))) == 0.0


def test_threshold_is_an_option(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(300, 0.05, seed=2)
    assert np.mean(kept(masked(grid, truth, min_jump_to_sigma=10.0))) > 0.97
    assert np.mean(kept(masked(grid, truth, min_jump_to_sigma=40.0))) < 0.03


def test_noise_of_the_vacuum_counts(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(100, 0.01, seed=3)
    status = masked(grid, truth, sigma_vacuum=1.0)
    assert np.all(status == Status.MASKED_JUMP)


def test_a_white_line_shows_the_absorber_at_an_l_edge(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(50, 0.01, seed=6)
    fit = fit_spectra(grid, truth.absorption, None, V_K_EV)
    parameters = fit.parameters.copy()
    parameters[PARAMETERS.index("edge_jump")], parameters[PARAMETERS.index("white_line_height")] = 1e-6, 1.0
    white = replace(fit, parameters=parameters)
    told = {"energy_ev": grid, "absorption": truth.absorption, "edge_energy_ev": V_K_EV}
    assert kept(mask_pixels(white, FitOptions(model="l3_l2"), **told)).all()
    assert not kept(mask_pixels(white, FitOptions(), **told)).any()


def test_paper_mode_keeps_what_the_default_would_not(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(600, 0.5, seed=4)
    paper = kept(masked(grid, truth, mask="paper"))
    assert np.mean(paper) > 0.6
    assert not np.any(kept(masked(grid, truth)))


def test_at_a_jump_of_one_sigma_most_edge_energies_mislead(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    """Why the paper's threshold is not the default: over half of the edge energies are off by more than 1 eV."""
    truth = simulate(800, 1.0, seed=5)
    fit = fit_spectra(grid, truth.absorption, None, V_K_EV)
    off = np.abs(fit.parameters[2] - truth.parameters[2]) > 1.0
    assert np.mean(off) > 0.5
    clear = simulate(800, 0.03, seed=5)
    fit = fit_spectra(grid, clear.absorption, None, V_K_EV)
    assert np.mean(np.abs(fit.parameters[2] - clear.parameters[2]) > 1.0) < 0.01


def test_reasons_are_told_apart(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(4, 0.01, seed=6)
    truth.absorption[:, 1] = np.nan
    truth.absorption[:, 2] = 1e-3 * np.random.default_rng(0).normal(size=40)
    status = masked(grid, truth)
    assert status.tolist() == [Status.OK, Status.MASKED_NOT_FINITE, Status.MASKED_JUMP, Status.OK]
    assert kept(status).tolist() == [True, False, False, True]


def test_noise_of_the_paper_is_that_before_the_edge(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(3000, 0.02, seed=7)
    assert np.sqrt(np.mean(pre_edge_noise(grid, truth.absorption, V_K_EV) ** 2 / truth.noise**2)) == pytest.approx(1.0, abs=0.2)


def test_too_few_energies_before_the_edge(grid: NDArray[np.float64], simulate: Callable[..., Any]) -> None:
    truth = simulate(2, 0.01, seed=8)
    with pytest.raises(EnergyGridError, match=r'mask "paper".*got 2'):
        pre_edge_noise(grid[2:], truth.absorption[2:], V_K_EV)


def test_too_few_pixels_are_refused_with_what_became_of_the_others() -> None:
    vacuum, small, lost = Status.MASKED_VACUUM, Status.MASKED_JUMP, Status.MASKED_NOT_FINITE
    statuses = [
        np.array([[vacuum, Status.OK, small], [small, small, lost]], np.int8),
        np.array([[vacuum, Status.AT_BOUND]], np.int8),
    ]
    require_kept(statuses, 2)
    with pytest.raises(InvalidOptionError, match=r"at least 3 .*of the 6 .* 2 are kept, 3 have an edge jump .* 1 are not finite"):
        require_kept(statuses, 3)
