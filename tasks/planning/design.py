"""Optimal design of experiments: which measurements to make, and how long each, to learn most about what is wanted.

A measurement that repeats another's derivatives by the parameters tells nothing new. What a set of measurements tells is
the sum of their Fisher information matrices; its inverse bounds the errors of anything derived from the parameters
(Cramer-Rao). Non-linear models are looked at where the parameters are expected to be, several such places at a time
(Atkinson, Donev & Tobias, Optimum Experimental Designs, Oxford 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Criterion = Literal["A", "D"]

RIDGE: Final = 1e-9
"""Information, relative to that of all candidates together, that keeps a set that tells too little from being singular."""
DEPENDENT: Final = 1e-13
"""Least eigenvalue of the scaled information over the greatest, from which on two parameters are one."""
MAX_PASSES: Final = 30
"""Of the exchange, over all chosen candidates."""
N_STARTS: Final = 4
SEED: Final = 0
"""Of the starts that are drawn at random."""
MAX_STEPS: Final = 2000
"""Of the allocation."""
TOLERANCE: Final = 1e-7
"""A pass of the exchange, or a step of the allocation, that gains less than this share of the criterion ends it."""


@dataclass(frozen=True)
class Experiment:
    """What every candidate measurement would tell, were the truth each of S cases.

    Parameters
    ----------
    rows : (S, E, R, P) float64 array
        Derivatives of the R quantities that candidate e measures by the P parameters, over their standard errors when
        all the effort there is goes into that one candidate.
    wanted : (S, D, P) float64 array
        Derivatives of the D quantities wanted, each in the unit in which its error shall be small.
    prior : (P, P) or (S, P, P) float64 array
        Information had beforehand; none by default.
    """

    rows: Array
    wanted: Array
    prior: Array = field(default_factory=lambda: np.zeros((1, 1)))

    @property
    def n_unknown(self) -> int:
        """Parameters of which nothing is known beforehand."""
        n_parameters = self.rows.shape[-1]
        known = np.broadcast_to(self.prior, (len(self.rows), n_parameters, n_parameters))
        return int(np.sum(np.einsum("spp->sp", known)[0] == 0))


def information(rows: Array, effort: Array) -> Array:
    """(S, P, P) information of measuring each candidate with its share ``effort`` (E,) of the whole."""
    n_cases, n_candidates, n_rows, n_parameters = rows.shape
    flat = rows.reshape(n_cases, n_candidates * n_rows, n_parameters)
    weighted = flat * np.repeat(effort, n_rows)[:, None]
    return np.asarray(weighted.swapaxes(1, 2) @ flat)


def covariance(experiment: Experiment, effort: Array) -> Array:
    """(S, D, D) covariance of the wanted quantities, in their units, with shares ``effort`` (E,) of the whole."""
    white = _whitened(experiment)
    return _propagated(white.wanted, _inverse(white.prior + information(white.rows, effort)))


def loss(covariances: Array, criterion: Criterion) -> Array:
    """(...,) what is to be small, from covariances (S, ..., D, D): mean over cases of the mean variance, or of ln det / D."""
    n_wanted = covariances.shape[-1]
    if criterion == "A":
        return np.asarray(np.trace(covariances, axis1=-2, axis2=-1).mean(axis=0) / n_wanted)
    return np.asarray(np.linalg.slogdet(covariances)[1].mean(axis=0) / n_wanted)


def choose(experiment: Experiment, n: int, criterion: Criterion, fixed: Sequence[int] = ()) -> Indices:
    """The ``n`` different candidates, measured equally long, whose loss is least; ``fixed`` ones are among them.

    Exchange (Fedorov 1972): while it helps, one of the chosen is given up for the candidate that serves best in its
    place. The best end of `N_STARTS` is taken: one spread evenly, the others drawn at random.

    Raises
    ------
    InvalidOptionError
        More measurements than candidates, or too few to determine the parameters.
    """
    n_candidates, n_rows = experiment.rows.shape[1:3]
    least = -(-experiment.n_unknown // n_rows)
    if not least <= n <= n_candidates:
        raise InvalidOptionError(
            f"a design of {experiment.n_unknown} unknown parameters needs {least} to {n_candidates} measurements "
            f"among {n_candidates} candidates, got {n}"
        )
    white = _whitened(experiment)
    rng = np.random.default_rng(SEED)
    free = np.setdiff1d(np.arange(n_candidates), fixed)
    starts = [free[np.rint(np.linspace(0, len(free) - 1, n - len(fixed))).astype(np.int64)]]
    starts += [rng.choice(free, n - len(fixed), replace=False) for _ in range(N_STARTS - 1)]
    ends = [_exchanged(white, np.array([*fixed, *start]), len(fixed), criterion) for start in starts]
    return np.sort(min(ends, key=lambda end: end[0])[1])


def _exchanged(experiment: Experiment, chosen: Indices, n_fixed: int, criterion: Criterion) -> tuple[float, Indices]:
    """The loss, and the candidates, where no exchange of one helps any more; the first ``n_fixed`` stay."""
    rows, n = experiment.rows, len(chosen)
    best = np.inf
    for _ in range(MAX_PASSES):
        before, previous = best, chosen.copy()
        for place in range(n_fixed, n):
            others = np.delete(chosen, place)
            inverse = _inverse(experiment.prior + information(rows[:, others], np.full(n - 1, 1 / n)))
            losses = loss(_with_one_more(experiment, inverse, 1 / n), criterion)
            losses[others] = np.inf
            chosen[place] = int(np.argmin(losses))
            best = float(losses[chosen[place]])
        if np.array_equal(chosen, previous) or before - best < TOLERANCE * abs(best):
            break
    return best, chosen


def _with_one_more(experiment: Experiment, inverse: Array, effort: float) -> Array:
    """(S, E, D, D) covariance of what is wanted once each candidate joins measurements of inverse information (S, P, P).

    Woodbury: a candidate of R rows costs the inverse of an R x R matrix.
    """
    known = _propagated(experiment.wanted, inverse)
    n_cases, n_candidates, n_rows, n_parameters = experiment.rows.shape
    flat = experiment.rows.reshape(n_cases, n_candidates * n_rows, n_parameters)
    seen = (flat @ inverse).reshape(experiment.rows.shape)
    inner = np.eye(n_rows) / effort + np.einsum("serp,setp->sert", seen, experiment.rows)
    across = (flat @ (inverse @ experiment.wanted.swapaxes(1, 2))).reshape(n_cases, n_candidates, n_rows, -1)
    return known[:, None] - np.swapaxes(across, -1, -2) @ np.linalg.solve(inner, across)


def allocate(experiment: Experiment, chosen: Indices, criterion: Criterion) -> Array:
    """Shares (n,) of the whole effort for each chosen candidate, summing to 1, whose loss is least.

    Multiplicative: a share grows with the root of what the loss would gain by it (Titterington 1976; Yu, Ann. Stat. 38,
    1593 (2010) shows that the loss only falls).
    """
    white = _whitened(experiment)
    rows = white.rows[:, chosen]
    share = np.full(len(chosen), 1 / len(chosen))
    best = np.inf
    for _ in range(MAX_STEPS):
        inverse = _inverse(white.prior + information(rows, share))
        found = _propagated(white.wanted, inverse)
        value = float(loss(found, criterion))
        if not value < best - TOLERANCE * max(abs(best), 1e-12) and np.isfinite(best):
            break
        best = value
        across = rows @ (inverse @ white.wanted.swapaxes(1, 2))[:, None]
        weight = np.broadcast_to(np.eye(found.shape[-1]), found.shape) if criterion == "A" else _inverse(found)
        gain = np.einsum("serd,sdc,serc->e", across, weight, across, optimize=True)
        share = share * np.sqrt(gain)
        share /= share.sum()
    return share


def _whitened(experiment: Experiment) -> Experiment:
    """The experiment in parameters of which all candidates and the prior have unit information: well conditioned."""
    n_candidates = experiment.rows.shape[1]
    whole = experiment.prior + information(experiment.rows, np.full(n_candidates, 1 / n_candidates))
    scale = np.sqrt(np.einsum("spp->sp", whole))
    values, vectors = np.linalg.eigh(whole / (scale[:, :, None] * scale[:, None, :]))
    if np.any(values <= DEPENDENT * values[:, -1:]):
        raise InvalidOptionError("all candidates together must determine every parameter; are two parameters alike?")
    basis = vectors / np.sqrt(values)[:, None, :] / scale[:, :, None]
    prior = basis.swapaxes(1, 2) @ experiment.prior @ basis if experiment.prior.any() else np.zeros_like(whole)
    rows = experiment.rows @ basis[:, None]
    return Experiment(rows, experiment.wanted @ basis, prior + RIDGE * np.eye(len(basis[0])))


def _inverse(matrices: Array) -> Array:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _propagated(wanted: Array, inverse: Array) -> Array:
    return np.asarray(wanted @ inverse @ wanted.swapaxes(1, 2))
