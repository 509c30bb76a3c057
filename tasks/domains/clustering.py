"""Domains: pixels of alike chemistry, grouped by k-means over all datasets of a run together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.domains.kmeans import cluster_each, elbow, n_distinct, nearest
from tasks.errors import InvalidOptionError
from tasks.options.domains import DomainOptions

CLIP: Final = 40.0
"""Outliers are drawn in to this many measurement errors (or standard deviations) from the median."""

TRUSTED: Final = 5.0
"""Pixels place the domains' centres where no standard error exceeds this many times the median one."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Domains:
    """Domains of a run, numbered 1..k by ascending edge energy.

    Parameters
    ----------
    labels : list of (n_i,) int8 arrays
        Domain of each pixel of each dataset; 0 where a descriptor is NaN.
    centres : (k, D) float64 array
        Mean of each descriptor over a domain's pixels, in the descriptor's unit.
    scale : (D,) float64 array
        What each descriptor was divided by, in its unit.
    inertia : (12,) float64 array
        Sum of squared scaled distances to the nearest centre over the well measured pixels, for k = 1..12; NaN for more
        domains than distinct pixels.
    elbow : int
        k at the elbow of ``inertia``.
    fraction : (S, k) float64 array
        Share of each domain in each dataset by weight (n_absorber); each row sums to 1, or is NaN without pixels.
    groups : tuple of str
        Distinct groups, in the order of the datasets.
    group_fraction : (G, k) float64 array
        The same over each group.
    """

    labels: list[NDArray[np.int8]]
    centres: Array
    scale: Array
    inertia: Array
    elbow: int
    fraction: Array
    groups: tuple[str, ...]
    group_fraction: Array


def find_domains(
    descriptors: Sequence[NDArray[np.floating]],
    sigmas: Sequence[NDArray[np.floating]],
    weights: Sequence[NDArray[np.floating]],
    groups: Sequence[str],
    options: DomainOptions,
    order: Sequence[NDArray[np.floating]] | None = None,
) -> Domains:
    """Group the pixels of all datasets by k-means in the space of their scaled descriptors.

    Parameters
    ----------
    descriptors : (D, n_i) float array a dataset
        In the order of ``options.descriptors``, or scores of the components where ``options.space`` says so. A pixel with
        a NaN is left out and labelled 0.
    sigmas : (D, n_i) float array a dataset
        Standard error of each, used where ``options.standardise == "error"``.
    weights : (n_i,) float array a dataset
        n_absorber; negative and NaN count as 0.
    groups : str a dataset
    options : DomainOptions
    order : (n_i,) float array a dataset, optional
        Edge energy, by whose mean the domains are numbered. The descriptor ``edge_energy`` where absent, else the
        first descriptor.

    Raises
    ------
    InvalidOptionError
        Lists that do not match, or fewer usable pixels than domains.
    """
    _check(descriptors, sigmas, weights, groups, options)
    k = options.n_domains
    usable = [np.all(np.isfinite(d), axis=0) for d in descriptors]
    values, errors = _pool(descriptors, usable), _pool(sigmas, usable)
    if not len(values):
        raise InvalidOptionError(_too_few(k, 0, 0))
    scale = descriptor_scale(values, errors, options.standardise)
    points = scaled(values, scale)
    n_different = n_distinct(points)
    if n_different < k:
        raise InvalidOptionError(_too_few(k, n_different, len(values)))
    trusted = well_measured(errors)
    centres, inertia = cluster_each(points[trusted] if n_distinct(points[trusted]) >= k else points, k, options.seed)
    label = _renumber(nearest(points, centres)[0], _order_key(values, usable, options, order), k)
    labels = _per_dataset(label, usable)
    return _described(labels, descriptors, weights, groups, scale=scale, inertia=inertia)


def _too_few(n_domains: int, n_distinct_pixels: int, n_pixels: int) -> str:
    return (
        f"domains.n_domains = {n_domains} needs at least as many distinct pixels with every descriptor; got {n_distinct_pixels} "
        f"of {n_pixels}. Are all pixels masked?"
    )


def relabelled(
    found: Domains,
    labels: list[NDArray[np.int8]],
    descriptors: Sequence[NDArray[np.floating]],
    weights: Sequence[NDArray[np.floating]],
    groups: Sequence[str],
) -> Domains:
    """``found`` with other labels, (n_i,) int8 a dataset, and the centres and fractions that follow from them."""
    return _described(labels, descriptors, weights, groups, scale=found.scale, inertia=found.inertia)


def _described(
    labels: list[NDArray[np.int8]],
    descriptors: Sequence[NDArray[np.floating]],
    weights: Sequence[NDArray[np.floating]],
    groups: Sequence[str],
    *,
    scale: Array,
    inertia: Array,
) -> Domains:
    """What labels say of the domains 1..k, each of which has a pixel."""
    label, values = np.concatenate(labels), np.concatenate([np.asarray(d, np.float64) for d in descriptors], axis=1)
    k = int(label.max())
    names, group_of = group_index(groups)
    sums = weight_sums(labels, weights, k)
    return Domains(
        labels=labels,
        centres=np.stack([values[:, label == d].mean(axis=1) for d in range(1, k + 1)]),
        scale=scale,
        inertia=inertia,
        elbow=elbow(inertia),
        fraction=share(sums),
        groups=names,
        group_fraction=share(np.stack([sums[group_of == g].sum(axis=0) for g in range(len(names))])),
    )


def _pool(arrays: Sequence[NDArray[np.floating]], usable: Sequence[NDArray[np.bool_]]) -> Array:
    """Usable pixels of all datasets, (n, D)."""
    return np.concatenate([a[:, u] for a, u in zip(arrays, usable, strict=True)], axis=1).T.astype(np.float64)


def _check(
    descriptors: Sequence[NDArray[Any]], sigmas: Sequence[NDArray[Any]], weights: Sequence[NDArray[Any]], groups: Sequence[str],
    options: DomainOptions,
) -> None:  # fmt: skip
    if not len(descriptors) == len(sigmas) == len(weights) == len(groups) > 0:
        raise InvalidOptionError(
            "domains need descriptors, sigmas, weights and a group of each dataset, and at least one dataset; got "
            f"{len(descriptors)}, {len(sigmas)}, {len(weights)}, {len(groups)}"
        )
    for i, (d, s, w) in enumerate(zip(descriptors, sigmas, weights, strict=True)):
        names = list(options.descriptors) if options.space == "descriptors" else ["component"] * len(descriptors[0])
        expected = (len(names), np.size(w))
        if np.shape(d) != expected or np.shape(s) != expected:
            raise InvalidOptionError(
                f"dataset {i}: descriptors and sigmas must be (D, n) = {expected} for {names}; got "
                f"{np.shape(d)} and {np.shape(s)}"
            )


def well_measured(errors: Array) -> NDArray[np.bool_]:
    """True for the pixels (n,) whose standard errors (n, D) are all within `TRUSTED` times the median.

    They alone place the domains' centres: a handful of failed fits far from everything would else take a domain of
    their own. An error that is not known counts as small.
    """
    known = np.where(np.isfinite(errors) & (errors > 0), errors, np.nan)
    counted = np.isfinite(known).any(axis=0)
    median = np.where(counted, np.nanmedian(np.where(counted, known, 1.0), axis=0), np.inf)
    return np.asarray(np.all(np.isnan(errors) | (errors <= TRUSTED * median), axis=1))


def descriptor_scale(values: Array, errors: Array, standardise: str) -> Array:
    """What divides each descriptor (D,): its median standard error, or its spread, over pixels (n, D).

    The measurement error leaves a descriptor that carries more states than noise its full weight; dividing by the
    spread would shrink it to that of one that is all noise.
    """
    spread = np.std(values, axis=0)
    scale = spread
    if standardise == "error":
        finite = np.where(np.isfinite(errors) & (errors > 0), errors, np.nan)
        counted = np.isfinite(finite).any(axis=0)
        scale = np.where(counted, np.nanmedian(np.where(counted, finite, 1.0), axis=0), np.nan)
    fallback = np.where(spread > 0, spread, 1.0)
    return np.where(np.isfinite(scale) & (scale > 0), scale, fallback)


def scaled(values: Array, scale: Array) -> Array:
    """Descriptors (n, D) from their median in units of ``scale`` (D,), outliers drawn in to `CLIP`."""
    return np.clip((values - np.median(values, axis=0)) / scale, -CLIP, CLIP)


def _order_key(
    values: Array, usable: Sequence[NDArray[np.bool_]], options: DomainOptions, order: Sequence[NDArray[Any]] | None
) -> Array:
    """What the domains are numbered by, a value a usable pixel (n,)."""
    if order is not None:
        return np.concatenate([o[u] for o, u in zip(order, usable, strict=True)]).astype(np.float64)
    names = options.descriptors if options.space == "descriptors" else ()
    return values[:, names.index("edge_energy") if "edge_energy" in names else 0]


def _renumber(index: NDArray[np.int64], key: Array, n_domains: int) -> NDArray[np.int8]:
    """Labels 1..k (n,) in ascending order of the domains' mean ``key``."""
    counts = np.maximum(np.bincount(index, minlength=n_domains), 1)
    means = np.bincount(index, weights=np.nan_to_num(key), minlength=n_domains) / counts
    rank = np.empty(n_domains, dtype=np.int8)
    rank[np.argsort(means, kind="stable")] = np.arange(1, n_domains + 1)
    return rank[index]


def _per_dataset(label: NDArray[np.int8], usable: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.int8]]:
    labels, first = [], 0
    for mask in usable:
        own = np.zeros(mask.shape, dtype=np.int8)
        own[mask] = label[first : first + int(mask.sum())]
        first += int(mask.sum())
        labels.append(own)
    return labels


def group_index(groups: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct groups in order of appearance, and the index of each dataset's."""
    names = tuple(dict.fromkeys(groups))
    return names, np.array([names.index(group) for group in groups])


def weight_sums(labels: Sequence[NDArray[np.int8]], weights: Sequence[NDArray[Any]], n_domains: int) -> Array:
    """Sum of weights (S, k) of each domain in each dataset."""
    positive = [np.maximum(np.nan_to_num(np.asarray(w, dtype=np.float64)), 0.0) for w in weights]
    return np.stack([np.bincount(n, weights=w, minlength=n_domains + 1)[1:] for n, w in zip(labels, positive, strict=True)])


def share(sums: Array) -> Array:
    """Sums (..., k) over their total; NaN where that is zero."""
    total = sums.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0))
