"""Normalisation as Larch does it, and edge energies that need no model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from tasks.errors import EnergyGridError
from tasks.options.domains import DomainOptions
from tasks.options.run import RunOptions
from tasks.options.spectra import FitOptions
from tasks.xanes.fit import Status
from tasks.xanes.model import PARAMETERS, edge_step
from tasks.xanes.normalisation import (
    edge_energies,
    fit_of_edges,
    merged,
    normalise_spectra,
    steepest_energy,
    windows,
)
from tasks.xanes.references.xdi import read_xdi

Array = NDArray[np.float64]
FOILS = Path(__file__).parent / "references" / "foils"
SHORT: dict[str, Any] = {"pre_edge_ev": (-40, -15), "post_edge_ev": (25, 70)}

# xraylarch 2026.3.1, larch.xafs.pre_edge.preedge(energy, mu, e0=..., pre1=, pre2=, norm1=, norm2=) of the two foils in
# `FOILS`: edge_step, and norm at the energies nearest to e0 - 20, + 0, + 5, + 12, + 30 and + 60 eV
LARCH: list[tuple[str, float, dict[str, Any], float, list[float]]] = [
    ("Fe", 7112.0, {}, 2.7565097997381782,
     [-0.027705325048093008, 0.210160689454115, 0.3762656675838825, 0.8354187604262211, 0.97332140820063, 0.9607838144640568]),
    ("Fe", 7112.0, SHORT, 2.653064083456586,
     [-0.00015986954359260166, 0.25078668747657523, 0.4243197457977644, 0.9027077583483186, 1.0493536919635238,
      1.0425251530434432]),
    ("Ni", 8333.0, {}, 2.448374149424301,
     [-0.010725484912579476, 0.28346974671464864, 0.4552980598419219, 0.8521001581766223, 0.9416983921930946,
      0.9402239443433453]),
    ("Ni", 8333.0, SHORT, 2.4308392790393007,
     [9.845337221100441e-05, 0.2970457206412991, 0.4702709823446099, 0.8701558643934746, 0.961004763455438,
      0.9603721910883478]),
]  # fmt: skip


@pytest.mark.parametrize(("foil", "e0", "options", "step", "norm"), LARCH)
def test_step_and_normalised_spectrum_are_those_of_larch(
    foil: str, e0: float, options: dict[str, Any], step: float, norm: list[float]
) -> None:
    measured = read_xdi((FOILS / f"{foil}.xdi").read_text())
    energy = measured.energy_ev
    found = normalise_spectra(energy, measured.absorption[:, None], windows(energy, e0, FitOptions(**options)))
    at = [int(np.argmin(np.abs(energy - e0 - ahead))) for ahead in (-20, 0, 5, 12, 30, 60)]
    np.testing.assert_allclose(found.step, step, rtol=1e-9)
    np.testing.assert_allclose(found.absorption[at, 0], norm, rtol=1e-8, atol=1e-10)


GRID = 5465.0 + np.concatenate([np.linspace(-45, -12, 6), np.arange(-10, 30, 0.5), np.linspace(32, 75, 8)])


def steps(edges: Array, width: float = 4.0) -> Array:
    """(E, n): a sloping background and a step of 0.3 at each of the edges [eV]."""
    return 0.1 - 1e-4 * (GRID[:, None] - 5465) + 0.3 * edge_step(GRID[:, None], edges, width)


def test_edge_energies_follow_the_edge_and_tell_their_errors() -> None:
    rng = np.random.default_rng(2)
    true = rng.uniform(5472, 5478, 400)
    sigma = np.full(GRID.size, 0.002)
    spectra = steps(true) + rng.normal(0, 0.002, (GRID.size, 400))
    chosen = windows(GRID, steepest_energy(GRID, spectra), FitOptions())
    found = edge_energies(GRID, normalise_spectra(GRID, spectra, chosen), chosen, sigma)
    for energy, error in ((found.half, found.half_sigma), (found.centroid, found.centroid_sigma)):
        off = energy - true
        assert np.isfinite(off).all()
        assert np.corrcoef(energy, true)[0, 1] > 0.97
        assert 0.8 < np.median(error) / np.std(off) < 1.25
    assert abs(np.median(found.half - true)) < 0.05


def test_without_a_model_jump_and_half_height_take_the_place_of_a_fit() -> None:
    rng = np.random.default_rng(3)
    spectra = steps(np.array([5473.0, 5475.0, 5477.0])) + rng.normal(0, 0.001, (GRID.size, 3))
    spectra = np.concatenate([spectra, -steps(np.array([5475.0])), np.full((GRID.size, 1), np.nan)], axis=1)
    sigma = np.full(GRID.size, 0.001)
    chosen = windows(GRID, steepest_energy(GRID, spectra[:, :3]), FitOptions(model="none"))
    normalised = normalise_spectra(GRID, spectra, chosen)
    fit = fit_of_edges(GRID, normalised, chosen, edge_energies(GRID, normalised, chosen, sigma), sigma)
    rows = dict(zip(PARAMETERS, fit.parameters, strict=True))
    np.testing.assert_allclose(rows["edge_jump"][:3], 0.3, atol=0.01)
    np.testing.assert_allclose(rows["edge_energy"][:3], [5473.0, 5475.0, 5477.0], atol=0.1)
    assert list(fit.status) == [Status.OK] * 3 + [Status.MASKED_JUMP, Status.MASKED_NOT_FINITE]
    assert np.isnan(rows["white_line_height"]).all()
    assert 0 < fit.sigma[PARAMETERS.index("edge_jump"), 0] < 0.01


def test_energies_on_one_side_of_the_edge_are_refused() -> None:
    with pytest.raises(EnergyGridError, match="before and after the edge"):
        windows(GRID, GRID[-1] + 5, FitOptions())
    with pytest.raises(EnergyGridError, match="before and after the edge"):
        windows(GRID, GRID[0] - 5, FitOptions())


@pytest.mark.parametrize(
    "wrong",
    [{"pre_edge_ev": (-10, -40)}, {"pre_edge_ev": (-40, 5)}, {"post_edge_ev": (70, 20)}, {"post_edge_ev": (-5, 70)},
     {"model": "no_pre_edge", "joint": True}, {"model": "eq2"}],
)  # fmt: skip
def test_options_without_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FitOptions(**wrong)


def test_descriptors_are_those_that_the_model_has() -> None:
    assert RunOptions(fit=FitOptions(model="l3_l2")).domains.descriptors == ("edge_energy", "electron_ratio")
    assert "pre_edge_ratio" in RunOptions(fit=FitOptions(model="two_pre_edges")).domains.descriptors
    with pytest.raises(ValidationError, match="does not have"):
        RunOptions(fit=FitOptions(model="none"), domains=DomainOptions(descriptors=("edge_energy", "white_line_height")))


COARSE = np.linspace(5420.0, 5540.0, 40)
NEAR = {
    "a pair on the edge": lambda gap: [5478.0 + gap],
    "a pair at the start": lambda gap: [5420.0 + gap],
    "a pair at the end": lambda gap: [5540.0 - gap],
    "three": lambda gap: [COARSE[15] + gap, COARSE[15] + 2 * gap],
    "all of them": lambda gap: COARSE + gap,
}


@pytest.mark.parametrize("more", NEAR.values(), ids=NEAR)
@pytest.mark.parametrize("gap_ev", [1e-9, 1e-6, 1e-3, 0.02, 0.1])
def test_nearly_equal_energies_are_one(more: Any, gap_ev: float) -> None:
    """The slope between two such energies is noise: it moved the edge by 12 eV and the step by a half."""
    nearest = COARSE[np.argmin(np.abs(COARSE - 5478.0))]
    energy = np.unique(np.concatenate([COARSE, more(gap_ev) if more is not NEAR["a pair on the edge"] else [nearest + gap_ev]]))
    rng = np.random.default_rng(7)
    clean = 0.1 + edge_step(energy[:, None], np.array([5478.0]), 3.0)
    noisy, sigma = clean + rng.normal(0, 0.01, (energy.size, 40)), np.full(energy.size, 0.01)
    apart, spectra, errors = merged(energy, noisy, sigma)
    assert np.diff(apart).min() > 0.2
    chosen = windows(apart, steepest_energy(energy, noisy), FitOptions())
    normalised = normalise_spectra(apart, spectra, chosen)
    found = edge_energies(apart, normalised, chosen, errors)
    assert steepest_energy(energy, noisy) == pytest.approx(5478.0, abs=2.0)
    assert np.median(normalised.step) == pytest.approx(1.0, abs=0.03)
    assert np.median(found.half) == pytest.approx(5478.0, abs=0.2)
    assert 0.7 < np.median(found.half_sigma) / np.std(found.half) < 1.4


@pytest.mark.parametrize("energy", [GRID, COARSE, np.arange(5440.0, 5500.0, 0.05)])
def test_energies_that_stand_apart_stay_as_they_are(energy: Array) -> None:
    spectra, sigma = np.ones((energy.size, 2)), np.ones(energy.size)
    assert merged(energy, spectra, sigma)[0] is energy
