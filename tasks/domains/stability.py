"""How far the domains of a run can be trusted: intervals of their fractions, and whether other samples find them too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.domains.clustering import Domains, group_index, scaled, share, weight_sums
from tasks.domains.kmeans import n_distinct, nearest

N_STRIPS: Final = 20
"""Parts into which a specimen is cut. Neighbouring pixels are not independent: domains and the resolution are many pixels
wide, so strips of whole rows are drawn, not pixels."""

N_POINTS: Final = 6000
"""Pixels of a replicate that are grouped anew."""

N_STARTS: Final = 3
"""Starts of k-means for each replicate."""

DRAWS: Final = 20
"""Draws of strips for each replicate: sums of strips cost little beside a grouping, and the ends of intervals need many."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DomainStability:
    """Bootstrap of the domains of S datasets in G groups.

    Parameters
    ----------
    fraction_interval : (2, S, k) float64 array
        Lower and upper end for each dataset, as if it were one of many strips like its own.
    group_interval : (2, G, k) float64 array
        The same over each group, whose datasets are drawn too: it tells of the spread between specimens. With three
        of them it is too narrow by a factor of about 1.2.
    agreement : float
        Adjusted Rand index, mean over replicates, of the domains found anew with those found: 1 if always the same,
        0 if by chance.
    domain_agreement : (k,) float64 array
        Jaccard index (shared pixels over all of either) of each domain with its nearest in a replicate, mean.
    """

    fraction_interval: Array
    group_interval: Array
    agreement: float
    domain_agreement: Array


def domain_stability(
    descriptors: Sequence[NDArray[np.floating]],
    weights: Sequence[NDArray[np.floating]],
    groups: Sequence[str],
    found: Domains,
    *,
    settled: Sequence[NDArray[np.int8]] | None = None,
    seed: int = 0,
    n_replicates: int = 100,
    level: float = 0.95,
) -> DomainStability:
    """Bootstrap the domains: draw specimens and strips of them again, group the pixels anew, compare.

    Parameters
    ----------
    descriptors : (D, n_i) float array a dataset
        As given to `tasks.domains.clustering.find_domains`, the pixels in rows.
    weights : (n_i,) float array a dataset
        n_absorber.
    groups : str a dataset
    found : Domains
        What `find_domains` found of them.
    settled : (n_i,) int8 array a dataset, optional
        Labels whose fractions are asked for, where they are others than k-means found (`tasks.domains.borders`).
    seed : int
    n_replicates : int
    level : float
        Of the intervals.
    """
    rng = np.random.default_rng(seed)
    usable = [label > 0 for label in found.labels]
    values = [np.asarray(d[:, u], dtype=np.float64).T for d, u in zip(descriptors, usable, strict=True)]
    labels = [label[u] for label, u in zip(found.labels, usable, strict=True)]
    points, label = scaled(np.concatenate(values), found.scale), np.concatenate(labels)
    owner = np.repeat(np.arange(len(labels)), [len(one) for one in labels])
    with threadpool_limits(1):
        agreements = [_agreement(points, label, _replicate(owner, rng), rng) for _ in range(n_replicates)]
    counted = [label[u] for label, u in zip(settled or found.labels, usable, strict=True)]
    strips = np.stack([_strip_sums(one, w[u], len(found.centres)) for one, w, u in zip(counted, weights, usable, strict=True)])
    drawn = np.stack([strips[:, rng.integers(0, N_STRIPS, N_STRIPS)].sum(axis=1) for _ in range(DRAWS * n_replicates)])
    tails = [50 * (1 - level), 50 * (1 + level)]
    return DomainStability(
        fraction_interval=_interval(share(drawn), tails),
        group_interval=_interval(share(_pooled(drawn, groups, rng)), tails),
        agreement=float(np.mean([a for a, _ in agreements])),
        domain_agreement=np.mean([d for _, d in agreements], axis=0),
    )


def _replicate(owner: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of pixels: as many strips of each specimen as it has, drawn with replacement, thinned to `N_POINTS`."""
    chosen = []
    for specimen in np.unique(owner):
        strips = np.array_split(np.flatnonzero(owner == specimen), N_STRIPS)
        chosen += [strips[i] for i in rng.integers(0, N_STRIPS, N_STRIPS)]
    index = np.concatenate(chosen)
    if not len(index):  # a specimen of fewer pixels than strips has empty ones
        return np.arange(len(owner))
    return index if len(index) <= N_POINTS else rng.choice(index, N_POINTS, replace=False)


def _agreement(
    points: Array, label: NDArray[np.int8], replicate: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, Array]:
    """Adjusted Rand index, and Jaccard index of each domain (k,), of a grouping of the replicate carried to all pixels."""
    k = int(label.max())
    seed = int(rng.integers(2**31))
    # a replicate of few pixels may hold fewer distinct ones than there are domains
    n_anew = min(k, n_distinct(points[replicate]))
    model = KMeans(n_anew, n_init=N_STARTS, random_state=seed).fit(points[replicate])
    anew = nearest(points, model.cluster_centers_)[0]
    both = np.zeros((k, k))
    np.add.at(both, (label - 1, anew), 1)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0)[None] - both
    return float(adjusted_rand_score(label, anew)), (both / np.maximum(either, 1)).max(axis=1)


def _strip_sums(label: NDArray[np.int8], weight: NDArray[np.floating], n_domains: int) -> Array:
    """Weight of each domain in each strip of one dataset, (20, k)."""
    return weight_sums(np.array_split(label, N_STRIPS), np.array_split(np.asarray(weight), N_STRIPS), n_domains)


def _pooled(drawn: Array, groups: Sequence[str], rng: np.random.Generator) -> Array:
    """Sums (B, G, k) over the datasets of each group, drawn with replacement, from those of each dataset (B, S, k)."""
    names, group_of = group_index(groups)
    replicates = np.arange(len(drawn))[:, None]
    pooled = []
    for group in range(len(names)):
        members = np.flatnonzero(group_of == group)
        chosen = members[rng.integers(0, len(members), (len(drawn), len(members)))]
        pooled.append(drawn[replicates, chosen].sum(axis=1))
    return np.stack(pooled, axis=1)


def _interval(fractions: Array, tails: list[float]) -> Array:
    """Percentiles (2, ...) over replicates, the first axis; NaN where a fraction is."""
    known = np.isfinite(fractions).all(axis=0)
    return np.where(known, np.percentile(np.where(known, fractions, 0.0), tails, axis=0), np.nan)
