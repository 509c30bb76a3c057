"""Domains against a known truth."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from tasks.domains.clustering import Domains, descriptor_scale, find_domains
from tasks.errors import InvalidOptionError
from tasks.options.domains import DomainOptions

STATES = np.array([[5477.9, 0.4, 40.0], [5478.8, 0.6, 38.0], [5480.2, 1.2, 36.0], [5481.9, 2.5, 43.0]])
ERRORS = np.array([0.1, 0.08, 0.5])
Array = NDArray[np.float64]
Pixels = tuple[Any, NDArray[Any], NDArray[Any]]


def specimen(n: int, seed: int, shares: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> Pixels:
    """True state (n,), descriptors (3, n) and their standard errors."""
    rng = np.random.default_rng(seed)
    state = rng.choice(4, n, p=shares)
    values = STATES[state] + ERRORS * rng.normal(size=(n, 3))
    return state, values.T, np.repeat(ERRORS[:, None], n, axis=1)


def grouped(
    specimens: list[Pixels], weights: list[Array] | None = None, groups: list[str] | None = None, **options: Any
) -> Domains:
    n = len(specimens)
    return find_domains(
        [s[1] for s in specimens],
        [s[2] for s in specimens],
        weights or [np.ones(s[1].shape[1]) for s in specimens],
        groups or ["all"] * n,
        DomainOptions(**{"n_domains": 4, **options}),
    )


def test_finds_the_states_of_two_specimens_together() -> None:
    specimens = [specimen(800, 1, (0.7, 0.1, 0.1, 0.1)), specimen(600, 2, (0.1, 0.1, 0.1, 0.7))]
    found = grouped(specimens, groups=["fresh", "delithiated"])
    for (state, _, _), label in zip(specimens, found.labels, strict=True):
        assert adjusted_rand_score(state, label) > 0.99
        assert label.dtype == np.int8
    np.testing.assert_allclose(found.centres, STATES, atol=0.1)
    np.testing.assert_allclose(found.fraction, [[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]], atol=0.05)
    assert found.groups == ("fresh", "delithiated")
    np.testing.assert_allclose(found.group_fraction, found.fraction)


def test_inertia_falls_and_the_elbow_is_found() -> None:
    found = grouped([specimen(1500, 4)])
    assert found.inertia.shape == (12,)
    assert np.all(np.diff(found.inertia) < 0)
    assert abs(found.elbow - 4) <= 1


def test_labels_ascend_with_edge_energy_whatever_the_seed() -> None:
    specimens = [specimen(900, 5)]
    one, two = grouped(specimens, seed=0), grouped(specimens, seed=99)
    np.testing.assert_array_equal(one.labels[0], two.labels[0])
    assert np.all(np.diff(one.centres[:, 0]) > 0)
    again = grouped(specimens, seed=0)
    np.testing.assert_array_equal(one.labels[0], again.labels[0])
    np.testing.assert_array_equal(one.inertia, again.inertia)


def test_labels_ascend_with_edge_energy_that_is_no_descriptor() -> None:
    _, values, sigma = specimen(600, 6)
    found = find_domains(
        [values[1:]],
        [sigma[1:]],
        [np.ones(600)],
        ["a"],
        DomainOptions(n_domains=4, descriptors=("pre_edge_ratio", "electron_ratio")),
        order=[-values[0]],
    )
    means = [values[0, found.labels[0] == d].mean() for d in range(1, 5)]
    assert np.all(np.diff(means) < 0)


def test_fractions_are_weighted_and_sum_to_one() -> None:
    state, values, sigma = specimen(1000, 7)
    weights = np.where(state == 3, 3.0, 1.0)
    weights[0] = np.nan
    weights[1] = -5.0
    found = grouped([(state, values, sigma)], weights=[weights])
    assert found.fraction.sum() == pytest.approx(1.0)
    assert found.fraction[0, 3] == pytest.approx(0.5, abs=0.04)


def test_group_fraction_is_over_all_its_pixels() -> None:
    specimens = [specimen(300, 8, (1, 0, 0, 0)), specimen(900, 9, (0, 0, 0, 1)), specimen(100, 10)]
    found = grouped(specimens, groups=["a", "a", "b"])
    np.testing.assert_allclose(found.group_fraction[0], [0.25, 0, 0, 0.75], atol=0.01)
    np.testing.assert_allclose(found.group_fraction.sum(axis=1), 1.0)


def test_pixels_without_a_value_are_outside() -> None:
    state, values, sigma = specimen(500, 11)
    values[1, :40] = np.nan
    found = grouped([(state, values, sigma), specimen(10, 12)])
    assert np.all(found.labels[0][:40] == 0)
    assert np.all(found.labels[0][40:] > 0)


def test_a_specimen_wholly_masked_has_no_fraction() -> None:
    nothing = (np.zeros(5), np.full((3, 5), np.nan), np.ones((3, 5)))
    found = grouped([specimen(400, 13), nothing], groups=["a", "b"])
    assert np.all(np.isnan(found.fraction[1]))
    assert np.all(np.isnan(found.group_fraction[1]))
    assert found.fraction[0].sum() == pytest.approx(1.0)


def test_errors_scale_better_than_spreads() -> None:
    """A descriptor that is all noise and outliers drowns the states under z-scores, not under its own errors."""
    rng = np.random.default_rng(14)
    state, values, sigma = specimen(2000, 14)
    values[2], sigma[2] = 40.0 + 3.0 * rng.normal(size=2000), 3.0
    scores = {
        how: adjusted_rand_score(state, grouped([(state, values, sigma)], standardise=how).labels[0])
        for how in ("error", "zscore")
    }
    assert scores["error"] > 0.97
    assert scores["zscore"] < scores["error"] - 0.1


def test_scale_is_the_median_error_or_the_spread() -> None:
    values = np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    errors = np.array([[0.1, np.inf], [0.2, np.nan], [0.9, -1.0]])
    np.testing.assert_allclose(descriptor_scale(values, errors, "error"), [0.2, 1.0])
    np.testing.assert_allclose(descriptor_scale(values, errors, "zscore"), [float(np.std([0, 2, 4])), 1.0])


def test_outliers_are_drawn_in() -> None:
    state, values, sigma = specimen(800, 15)
    values[0, :4] = 1e9
    found = grouped([(state, values, sigma)], n_domains=5)
    assert adjusted_rand_score(state[4:], found.labels[0][4:]) > 0.98


def test_failed_fits_far_from_everything_take_no_domain_of_their_own() -> None:
    state, values, errors = specimen(900, 11, (0.4, 0.6, 0.0, 0.0))
    values[:, :10] += np.array([[14.0], [5.0], [60.0]])
    errors[:, :10] *= 300
    found = grouped([(state, values, errors)], n_domains=2)
    assert adjusted_rand_score(state[10:], found.labels[0][10:]) > 0.98
    assert (found.labels[0] > 0).all()


def test_as_few_pixels_as_domains() -> None:
    found = grouped([(None, STATES.T, np.ones((3, 4)))])
    assert sorted(found.labels[0]) == [1, 2, 3, 4]
    assert np.isfinite(found.inertia).tolist() == [True] * 4 + [False] * 8
    assert found.inertia[3] == pytest.approx(0.0, abs=1e-12)


def test_one_domain() -> None:
    found = grouped([specimen(50, 16)], n_domains=1)
    assert np.all(found.labels[0] == 1)
    assert found.fraction.tolist() == [[1.0]]


def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"n_domains = 4 needs at least as many distinct pixels.*got 3 of 3"):
        grouped([specimen(3, 17)])
    with pytest.raises(InvalidOptionError, match="got 0 of 0"):
        grouped([(None, np.full((3, 50), np.nan), np.ones((3, 50)))])
    with pytest.raises(InvalidOptionError, match="got 1 of 50"):
        grouped([(None, np.ones((3, 50)), np.ones((3, 50)))])
    with pytest.raises(InvalidOptionError, match="at least one dataset"):
        grouped([])
    with pytest.raises(InvalidOptionError, match=r"dataset 0: .* must be \(D, n\) = \(3, 50\)"):
        grouped([(None, np.ones((2, 50)), np.ones((2, 50)))])


def test_outliers_that_are_drawn_in_to_one_place_count_once() -> None:
    row = np.array([0.0, 0.1, 0.2, 1e6, 1e7])
    values, sigmas = np.stack([row] * 3), np.full((3, 5), 0.1)
    with pytest.raises(InvalidOptionError, match=r"n_domains = 5 needs at least as many distinct pixels.*got 4 of 5"):
        find_domains([values], [sigmas], [np.ones(5)], ["a"], DomainOptions(n_domains=5))
