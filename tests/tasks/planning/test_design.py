"""Optimal designs whose answer is known: from the theory of polynomials, and from trying every subset."""

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest

from tasks.errors import InvalidOptionError
from tasks.planning.design import Criterion, Experiment, allocate, choose, covariance, information, loss


def polynomial(n_candidates: int, degree: int, wanted: list[list[float]] | None = None) -> Experiment:
    """Points of a polynomial on [-1, 1]; all its coefficients are wanted."""
    x = np.linspace(-1, 1, n_candidates)
    rows = np.stack([x**k for k in range(degree + 1)], axis=1)[None, :, None, :]
    return Experiment(rows, np.eye(degree + 1)[None] if wanted is None else np.asarray(wanted, float)[None])


def random_experiment(seed: int, n_cases: int = 3, n_candidates: int = 11, n_rows: int = 2, n_parameters: int = 4) -> Experiment:
    rng = np.random.default_rng(seed)
    wanted = rng.normal(size=(n_cases, 2, n_parameters))
    return Experiment(rng.normal(size=(n_cases, n_candidates, n_rows, n_parameters)), wanted)


def loss_of(experiment: Experiment, chosen: Iterable[int], criterion: Criterion) -> float:
    effort = np.zeros(experiment.rows.shape[1])
    places = list(chosen)
    effort[places] = 1 / len(places)
    return float(loss(covariance(experiment, effort), criterion))


def test_information_of_a_line_is_the_textbooks() -> None:
    """Slope of a line through points x with unit errors: variance 1 / sum (x - mean)^2."""
    x = np.array([-1.0, 0.0, 0.5, 2.0])
    rows = np.stack([np.ones(4), x], axis=1)[None, :, None, :]
    found = information(rows, np.ones(4))[0]
    np.testing.assert_allclose(found, [[4, x.sum()], [x.sum(), (x**2).sum()]])
    slope = covariance(Experiment(rows, np.array([[[0.0, 1.0]]])), np.ones(4))
    assert slope[0, 0, 0] == pytest.approx(1 / np.sum((x - x.mean()) ** 2), rel=1e-6)


@pytest.mark.parametrize("criterion", ["A", "D"])
@pytest.mark.parametrize("seed", range(4))
def test_exchange_finds_what_trying_every_subset_finds(criterion: Criterion, seed: int) -> None:
    experiment = random_experiment(seed)
    best = min(loss_of(experiment, subset, criterion) for subset in combinations(range(11), 4))
    found = choose(experiment, 4, criterion)
    assert len(set(found)) == 4
    assert loss_of(experiment, found, criterion) == pytest.approx(best, rel=1e-6)


def test_a_parabola_is_measured_at_both_ends_and_in_the_middle() -> None:
    experiment = polynomial(41, 2)
    assert choose(experiment, 3, "D").tolist() == [0, 20, 40]


@pytest.mark.parametrize(("criterion", "shares"), [("D", [1 / 3, 1 / 3, 1 / 3]), ("A", [1 / 4, 1 / 2, 1 / 4])])
def test_shares_of_a_parabola_are_the_known_ones(criterion: Criterion, shares: list[float]) -> None:
    """Fedorov 1972: D-optimal with equal weights, A-optimal with half of all in the middle."""
    experiment = polynomial(41, 2)
    found = allocate(experiment, np.arange(0, 41, 5), criterion)
    np.testing.assert_allclose(found[[0, 4, 8]], shares, atol=0.01)
    assert found.sum() == pytest.approx(1)


def test_a_slope_alone_is_measured_at_the_ends() -> None:
    experiment = polynomial(21, 1, wanted=[[0.0, 1.0]])
    assert choose(experiment, 2, "A").tolist() == [0, 20]


@pytest.mark.parametrize("criterion", ["A", "D"])
def test_allocating_never_does_worse_than_equal_shares(criterion: Criterion) -> None:
    experiment = random_experiment(9, n_candidates=30)
    chosen = choose(experiment, 6, criterion)
    effort = np.zeros(30)
    effort[chosen] = allocate(experiment, chosen, criterion)
    assert float(loss(covariance(experiment, effort), criterion)) <= loss_of(experiment, chosen, criterion) + 1e-9


def test_what_is_known_beforehand_need_not_be_measured() -> None:
    """A line whose offset is known: its slope is best measured at the far end alone, with variance 1 / x^2."""
    x = np.array([-1.0, -0.5, 0.5, 1.0, 2.0])
    rows = np.stack([np.ones(5), x], axis=1)[None, :, None, :]
    known = Experiment(rows, np.array([[[0.0, 1.0]]]), np.diag([1e9, 0.0]))
    assert known.n_unknown == 1
    assert choose(known, 1, "A").tolist() == [4]
    assert covariance(known, np.eye(5)[4])[0, 0, 0] == pytest.approx(1 / 4, rel=1e-6)


def test_units_of_the_parameters_do_not_matter() -> None:
    experiment = random_experiment(5)
    unit = np.array([1e-24, 1.0, 1e6, 1e-3])
    other = Experiment(experiment.rows * unit, experiment.wanted * unit)
    assert choose(experiment, 5, "A").tolist() == choose(other, 5, "A").tolist()
    np.testing.assert_allclose(covariance(experiment, np.ones(11)), covariance(other, np.ones(11)), rtol=1e-6)


def test_what_cannot_be_designed_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="needs 3 to 41 measurements among 41 candidates, got 2"):
        choose(polynomial(41, 2), 2, "A")
    twins = Experiment(np.ones((1, 5, 1, 2)), np.eye(2)[None])
    with pytest.raises(InvalidOptionError, match="two parameters alike"):
        choose(twins, 3, "A")
