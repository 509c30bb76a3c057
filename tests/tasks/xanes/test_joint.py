"""The joint fit on spectra whose truth is known: f'' is eq. 1, f' its transform over all energies, tables included."""

import dataclasses

import numpy as np
import pytest

from tasks.coupling.kkr import outside_columns
from tasks.errors import InvalidOptionError
from tasks.options.spectra import FitOptions
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.xanes.fit import Status, find_prior, fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.model import PARAMETERS

V = Absorber()
EDGE_EV = V.edge_energy_ev
ENERGY = energy_grid(40, EDGE_EV)
JUMP, EDGE = PARAMETERS.index("edge_jump"), PARAMETERS.index("edge_energy")


def noisy_pairs(n: int, sigma: float, ratio: float, seed: int = 0) -> tuple[Pairs, np.ndarray]:
    """Spectra of n pixels in four states [electrons per V atom], and their true edge energies."""
    rng = np.random.default_rng(seed)
    electrons = electrons_per_formula(STATES[:4], ENERGY, V)[:, np.arange(n) % 4]
    absorption = electrons.imag + rng.normal(0, sigma, electrons.shape)
    phase = electrons.real + rng.normal(0, ratio * sigma, electrons.shape)
    errors = np.full(ENERGY.size, sigma)
    columns = outside_columns(ENERGY, V, "LiVO2")
    return Pairs(ENERGY, absorption, phase, errors, ratio * errors, columns), EDGE_EV + np.array(
        [STATES[i % 4].edge_ev for i in range(n)]
    )


def test_without_noise_it_finds_the_truth() -> None:
    pairs, edges = noisy_pairs(4, 1e-4, 1.0)
    found = fit_pairs(pairs, EDGE_EV)
    assert found.parameters[EDGE] == pytest.approx(edges, abs=0.06)
    assert found.parameters[JUMP] == pytest.approx(3.53, rel=0.01)
    assert set(found.status) <= {Status.OK, Status.AT_BOUND}


def test_the_better_the_phase_the_better_the_fit() -> None:
    spread = {}
    for ratio in (0.4, 30.0):
        pairs, edges = noisy_pairs(160, 0.12, ratio)
        joint = fit_pairs(pairs, EDGE_EV).parameters[EDGE] - edges
        alone = fit_spectra(ENERGY, pairs.absorption, None, EDGE_EV).parameters[EDGE] - edges
        spread[ratio] = np.median(np.abs(joint)) / np.median(np.abs(alone))
    assert spread[0.4] < 0.75
    assert spread[30.0] == pytest.approx(1.0, abs=0.06)


def test_what_pixels_share_steadies_the_joint_fit_too() -> None:
    pairs, edges = noisy_pairs(160, 0.12, 1.2, seed=4)
    prior = find_prior(ENERGY, pairs.absorption, pairs.sigma_absorption, EDGE_EV, FitOptions())
    alone, drawn = (fit_pairs(pairs, EDGE_EV, one).parameters[EDGE] - edges for one in (None, prior))
    assert np.std(drawn) < 0.9 * np.std(alone)


def test_errors_are_honest() -> None:
    pairs, edges = noisy_pairs(240, 0.06, 1.2, seed=3)
    found = fit_pairs(pairs, EDGE_EV)
    within = np.abs(found.parameters[EDGE] - edges) < found.sigma[EDGE]
    assert 0.55 < within.mean() < 0.8
    assert np.all(np.isfinite(found.pre_edge_ratio_sigma))


def test_a_pixel_without_phase_has_a_status_and_shapes_must_match() -> None:
    pairs, _ = noisy_pairs(3, 0.01, 1.0)
    pairs.electrons[5, 1] = np.nan
    assert fit_pairs(pairs, EDGE_EV).status[1] == Status.MASKED_NOT_FINITE
    with pytest.raises(InvalidOptionError, match="one shape"):
        fit_pairs(dataclasses.replace(pairs, electrons=pairs.electrons[:, :2]), EDGE_EV)


def test_the_unit_of_the_spectra_does_not_matter() -> None:
    pairs, _ = noisy_pairs(40, 0.12, 0.5)
    tiny = {name: 1e-24 * getattr(pairs, name) for name in ("absorption", "electrons", "sigma_absorption", "sigma_phase")}
    found = [fit_pairs(one, EDGE_EV) for one in (pairs, dataclasses.replace(pairs, **tiny))]
    # a start on the verge of two minima may fall either way
    same = np.isclose(found[1].parameters[EDGE], found[0].parameters[EDGE], rtol=0, atol=2e-3)
    assert same.mean() >= 0.95
    assert found[1].sigma[EDGE, same] == pytest.approx(found[0].sigma[EDGE, same], rel=0.02)
