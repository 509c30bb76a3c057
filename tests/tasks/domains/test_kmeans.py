"""k-means against scikit-learn."""

from typing import NoReturn

import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.domains import kmeans
from tasks.domains.kmeans import cluster, cluster_each, elbow, nearest

STATES = np.array([[0.0, 0.0, 0.0], [9.0, 2.5, -4.0], [23.0, 10.0, -8.0], [40.0, 26.25, 6.0]])
"""Four places, in standard errors of a point."""


def beside_scikit_learn(k: int, draw: int) -> float:
    """Our inertia in units of scikit-learn's with n_init=10; two Dask chunks, starts drawn from a quarter of the points."""
    rng = np.random.default_rng(draw)
    points = STATES[rng.choice(4, 3600, p=[0.25] * 4)] + rng.normal(size=(3600, 3))
    points -= np.median(points, axis=0)
    with threadpool_limits(1):
        centres, inertia = cluster(points, k, seed=0)
        reference = KMeans(k, n_init=10, random_state=0).fit(points)
    assert inertia == pytest.approx(np.sum(nearest(points, centres)[1]), rel=1e-12)
    return float(inertia / reference.inertia_)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "CHUNK", 2000)
    monkeypatch.setattr(kmeans, "SUBSAMPLE", 900)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("k", [2, 3, 4])
def test_inertia_of_as_many_domains_as_there_are_states_is_that_of_scikit_learn(k: int, draw: int) -> None:
    assert beside_scikit_learn(k, draw) == pytest.approx(1, rel=1e-5)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("k", [6, pytest.param(9, marks=pytest.mark.study)])
def test_of_more_domains_it_is_no_higher_on_average(k: int) -> None:
    """Round clouds can be cut in many ways alike; which one ten starts find is chance, for either program."""
    ratios = [beside_scikit_learn(k, draw) for draw in range(4)]
    assert np.mean(ratios) < 1 + 1e-3
    assert max(ratios) < 1.02


def test_fewer_points_than_starts_are_tried_on_need_no_second_program(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.repeat(STATES, 300, axis=0) + np.random.default_rng(3).normal(0, 2, (1200, 3))
    by_both, inertia = cluster(points, 4, seed=1)

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("dask-ml compiles for a second")

    monkeypatch.setattr(kmeans, "_lloyd", refuse)
    centres, inertias = cluster_each(points, 4, seed=1)
    np.testing.assert_allclose(centres, by_both, rtol=1e-9)
    assert inertias[3] == pytest.approx(inertia, rel=1e-12)


def test_elbow_is_the_farthest_point_from_the_chord() -> None:
    assert elbow(np.array([100.0, 40.0, 10.0, 8.0, 6.0, 4.0])) == 3
    assert elbow(np.array([5.0, np.nan, np.nan])) == 1
    assert elbow(np.zeros(12)) == 1


def test_the_centres_are_those_of_the_k_asked_for_and_the_inertia_of_every_k_there_are_points_for() -> None:
    centres, inertia = cluster_each(np.repeat(STATES, 5, axis=0), 3, seed=0)
    assert centres.shape == (3, 3)
    assert np.isfinite(inertia).tolist() == [True] * 4 + [False] * 8
    assert inertia[3] == pytest.approx(0.0, abs=1e-12)
    assert elbow(inertia) in (2, 3)
