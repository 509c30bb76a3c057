"""Intervals that cover the truth, and agreement that tells clear domains from arbitrary ones."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.domains.clustering import Domains, find_domains
from tasks.domains.stability import DomainStability, domain_stability
from tasks.options.domains import DomainOptions

Pixels = tuple[NDArray[np.float64], NDArray[np.float64]]
TWO = np.array([[5478.0, 5482.0], [0.5, 2.5]])


def pixels(n: int, share: float, seed: int, apart: float = 1.0) -> Pixels:
    """Descriptors (2, n) and standard errors of a specimen whose second state has a share, a strip being 1/20 of it."""
    rng = np.random.default_rng(seed)
    middle = TWO.mean(axis=1, keepdims=True)
    centres = middle + apart * (TWO - middle)
    state = (rng.uniform(size=n) < share).astype(int)
    errors = np.array([[0.2], [0.1]])
    return centres[:, state] + errors * rng.normal(size=(2, n)), np.broadcast_to(errors, (2, n))


def group(specimens: list[Pixels], groups: list[str], k: int = 2) -> Domains:
    options = DomainOptions(n_domains=k, descriptors=("edge_energy", "pre_edge_ratio"))
    weights = [np.ones(values.shape[1]) for values, _ in specimens]
    return find_domains([v for v, _ in specimens], [s for _, s in specimens], weights, groups, options)


def stability(specimens: list[Pixels], groups: list[str], found: Domains, **options: Any) -> DomainStability:
    weights = [np.ones(values.shape[1]) for values, _ in specimens]
    return domain_stability([v for v, _ in specimens], weights, groups, found, n_replicates=20, **options)


def test_interval_is_as_wide_as_the_binomial_for_independent_pixels() -> None:
    specimens = [pixels(2000, 0.3, seed) for seed in range(4)]
    found = group(specimens, ["a"] * 4)
    low, high = stability(specimens, ["a"] * 4, found).fraction_interval
    half = (high - low)[:, 1] / 2
    assert np.mean(half) == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / 2000), rel=0.25)
    assert np.all((low < found.fraction) & (found.fraction < high))


def test_group_interval_knows_of_specimens_that_differ() -> None:
    shares = [0.2, 0.5, 0.8, 0.5, 0.5, 0.5]
    groups = ["mixed"] * 3 + ["alike"] * 3
    specimens = [pixels(1500, share, seed) for seed, share in enumerate(shares)]
    found = group(specimens, groups)
    low, high = stability(specimens, groups, found).group_interval
    assert (high - low)[0, 1] > 0.3
    assert (high - low)[1, 1] < 0.1
    assert np.all((low <= found.group_fraction) & (found.group_fraction <= high))


def test_clear_domains_are_found_again_and_arbitrary_ones_are_not() -> None:
    clear, one_blob = [pixels(2500, 0.5, 1)], [pixels(2500, 0.5, 1, apart=0.0)]
    firm = stability(clear, ["a"], group(clear, ["a"]))
    assert firm.agreement > 0.99
    assert np.all(firm.domain_agreement > 0.99)
    loose = stability(one_blob, ["a"], group(one_blob, ["a"], k=5))
    assert loose.agreement < 0.8


def test_a_specimen_without_pixels_has_no_interval() -> None:
    specimens = [pixels(500, 0.5, 2), (np.full((2, 30), np.nan), np.ones((2, 30)))]
    found = group(specimens, ["a", "b"])
    result = stability(specimens, ["a", "b"], found)
    assert np.all(np.isfinite(result.fraction_interval[:, 0]))
    assert np.all(np.isnan(result.fraction_interval[:, 1]))
    assert np.all(np.isnan(result.group_interval[:, 1]))


def test_the_seed_decides() -> None:
    specimens = [pixels(400, 0.4, 3)]
    found = group(specimens, ["a"])
    one, two = (stability(specimens, ["a"], found, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.fraction_interval, two.fraction_interval)
    assert one.agreement == two.agreement


@pytest.mark.parametrize(("n_pixels", "k"), [(1, 1), (2, 2), (12, 12), (13, 12), (21, 12)])
def test_few_pixels_have_a_stability_too(n_pixels: int, k: int) -> None:
    """Strips of a specimen of few pixels are empty, and a replicate holds fewer distinct pixels than there are domains."""
    few = [pixels(n_pixels, 0.5, 0)]
    found = stability(few, ["a"], group(few, ["a"], k))
    assert 0 <= found.domain_agreement.min() <= found.domain_agreement.max() <= 1
    assert found.fraction_interval.shape == (2, 1, k)
