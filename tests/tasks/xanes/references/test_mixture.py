"""Pixels of known mixtures of references."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_reference import synthetic

from tasks.errors import InvalidOptionError
from tasks.scattering import Absorber
from tasks.xanes.references.mixture import linear_combination
from tasks.xanes.references.normalisation import normalise
from tasks.xanes.references.xdi import Reference, read_xdi

V = Absorber("V", "K")


def test_mixture_of_known_shares(grid: NDArray[np.float64]) -> None:
    references = [normalise(synthetic(n, e, r), V) for n, e, r in (("a", 5478.0, 0.1), ("b", 5482.0, 0.6))]
    shares = np.array([[0.0, 0.2, 0.5, 1.0], [1.0, 0.8, 0.5, 0.0]])
    jump = np.array([0.05, 0.1, 0.2, 0.1])
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    mixture = linear_combination(grid, 0.03 + jump * (columns @ shares), references)
    np.testing.assert_allclose(mixture.fraction, shares, atol=1e-9)
    np.testing.assert_allclose(mixture.edge_jump, jump, rtol=1e-9)
    assert np.all(mixture.residual < 1e-12)


def test_mixture_is_never_negative_and_its_errors_are_honest(grid: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(3)
    references = [normalise(synthetic(n, e, 0.3), V) for n, e in (("a", 5478.0), ("b", 5480.0), ("c", 5482.0))]
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    shares = np.array([0.3, 0.4, 0.3])[:, None] * np.ones((3, 2000))
    spectra = 0.1 * (columns @ shares) + 0.002 * rng.normal(size=(40, 2000))
    mixture = linear_combination(grid, spectra, references)
    assert mixture.fraction.min() >= 0
    np.testing.assert_allclose(mixture.fraction.sum(axis=0), 1.0, atol=1e-12)
    inside = np.all(mixture.fraction > 0, axis=0)
    within = np.abs(mixture.fraction - shares) < mixture.fraction_sigma
    assert 0.60 < np.mean(within[:, inside]) < 0.75
    assert np.median(mixture.residual) == pytest.approx(0.002, rel=0.05)


def test_nothing_to_explain_is_nan(grid: NDArray[np.float64]) -> None:
    references = [normalise(synthetic(n, e, 0.3), V) for n, e in (("a", 5478.0), ("b", 5482.0))]
    falling = -np.interp(grid, references[0].energy_ev, references[0].absorption)
    assert np.all(np.isnan(linear_combination(grid, falling[:, None], references).fraction))


def test_unusable_references_are_refused(grid: NDArray[np.float64]) -> None:
    one = normalise(synthetic("a", 5478.0, 0.1), V)
    with pytest.raises(InvalidOptionError, match="2 to 8 references, got 1"):
        linear_combination(grid, np.zeros((40, 1)), [one])
    short = Reference("short", "", one.energy_ev[200:], one.absorption[200:])
    with pytest.raises(InvalidOptionError, match="'short' covers 5450"):
        linear_combination(grid, np.zeros((40, 1)), [one, short])


def test_mixture_of_measured_oxides_is_within_five_percent(
    grid: NDArray[np.float64], reference_text: Callable[[str], str]
) -> None:
    """Jump 0.1, noise 3 % of it."""
    rng = np.random.default_rng(4)
    references = [normalise(read_xdi(reference_text(name)), V) for name in ("V2O3", "V2O5")]
    columns = np.stack([np.interp(grid, r.energy_ev, r.absorption) for r in references], axis=1)
    share = rng.uniform(0, 1, 500)
    spectra = 0.05 + 0.1 * (columns @ np.stack([share, 1 - share])) + 0.003 * rng.normal(size=(40, 500))
    error = linear_combination(grid, spectra, references).fraction[0] - share
    assert np.sqrt(np.mean(error**2)) < 0.05
    assert np.mean(np.abs(error) < 0.05) > 0.95
