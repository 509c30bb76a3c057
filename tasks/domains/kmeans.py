"""k-means: centres of points in the space of their scaled descriptors, and the inertia they leave, for every k.

Lloyd's iterations are scikit-learn's where the starts are tried on all points, and else dask-ml's. Of dask-ml 2025.1 only
``init=<array>`` is used, with inertia and labels worked out here: its ``inertia_`` mixes squared and plain distances, ``n_init``
does not restart, an empty domain gets its centre at 0, and ``init="k-means++"`` raises.
"""

from typing import Final

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin_min
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

MAX_DOMAINS: Final = 12
"""Inertia is reported for k = 1..12."""

N_SEEDS: Final = 10
"""k-means++ starts for each k."""

N_FINALISTS: Final = 3
"""Starts, the best on a subsample, that are run on all pixels for the domains; for the elbow, one."""

MAX_ITERATIONS: Final = 300
"""Of Lloyd's algorithm."""

TOLERANCE: Final = 1e-6
"""Squared shift of the centres that ends Lloyd's iterations: dask-ml's in scaled units, scikit-learn's in units of the points'
mean variance."""

SAME_END: Final = 1e-7
"""Relative difference of inertia up to which two starts have ended at one place."""

SUBSAMPLE: Final = 20_000
"""Pixels on which the starts are drawn and tried."""

CHUNK: Final = 1 << 17
"""Pixels a Dask chunk."""

Array = NDArray[np.float64]


def cluster_each(points: Array, n_domains: int, seed: int) -> tuple[Array, Array]:
    """Centres (k, D) for the k asked for, and the inertia (12,) for every k; NaN for more domains than distinct points (n, D)."""
    # on a subsample of all points the starts have already ended where dask-ml would take them, once it has compiled for a second
    is_whole = len(points) <= SUBSAMPLE
    inertia = np.full(MAX_DOMAINS, np.nan)
    wanted = np.empty((0, points.shape[1]))
    # the work is milliseconds of BLAS and OpenMP a call; their threads only get in the way of the other workers'
    with threadpool_limits(1):
        for k in range(1, min(MAX_DOMAINS, n_distinct(points)) + 1):
            n_finalists = 0 if is_whole else N_FINALISTS if k == n_domains else 1
            centres, inertia[k - 1] = cluster(points, k, seed, n_finalists)
            if k == n_domains:
                wanted = centres
    return wanted, inertia


def cluster(points: Array, n_domains: int, seed: int, n_finalists: int = N_FINALISTS) -> tuple[Array, float]:
    """Centres (k, D) and inertia of the best of several k-means of ``points`` (n, D).

    k-means++ starts are run to their end on a fixed subsample; the best ``n_finalists`` go on, by dask-ml, on all points
    (with none, the best start is taken as it is). Starting every seed on all points costs ten times as much and ends no
    lower.
    """
    rng = np.random.default_rng(seed)
    subsample = points if len(points) <= SUBSAMPLE else points[rng.choice(len(points), SUBSAMPLE, replace=False)]
    starts = []
    for _ in range(N_SEEDS if n_domains > 1 else 1):
        init, _indices = kmeans_plusplus(subsample, n_domains, random_state=int(rng.integers(2**31)))
        trial = KMeans(n_domains, init=init, n_init=1, max_iter=MAX_ITERATIONS, tol=TOLERANCE).fit(subsample)
        starts.append((float(trial.inertia_), trial.cluster_centers_))
    starts.sort(key=lambda start: start[0])
    starts = [s for i, s in enumerate(starts) if i == 0 or s[0] > starts[i - 1][0] * (1 + SAME_END)]
    finals = [_lloyd(points, centres) for _, centres in starts[:n_finalists]] or [_scored(points, starts[0][1])]
    return min(finals, key=lambda final: final[1])


def _lloyd(points: Array, centres: Array) -> tuple[Array, float]:
    """Centres and inertia after dask-ml's Lloyd iterations on all points; the start itself if a domain fell empty."""
    # dask-ml imports distributed, which importing this package must not do
    from dask_ml.cluster import KMeans as DaskKMeans

    blocks = da.from_array(points, chunks=(CHUNK, points.shape[1]))
    # within a Dask worker the default would send each of these small tasks through the cluster's scheduler
    with dask.config.set(scheduler="synchronous"):
        moved = DaskKMeans(n_clusters=len(centres), init=centres, max_iter=MAX_ITERATIONS, tol=TOLERANCE).fit(blocks)
    finals = (np.asarray(moved.cluster_centers_, dtype=np.float64), centres)
    return min((_scored(points, final) for final in finals), key=lambda final: final[1])


def _scored(points: Array, centres: Array) -> tuple[Array, float]:
    return centres, float(nearest(points, centres)[1].sum())


def nearest(points: Array, centres: Array) -> tuple[NDArray[np.int64], Array]:
    """Index (n,) of the nearest of ``centres`` (k, D) and the squared distance (n,) to it."""
    index, squared = pairwise_distances_argmin_min(points, centres, metric="sqeuclidean")
    return index.astype(np.int64), squared


def elbow(inertia: Array) -> int:
    """k whose inertia lies farthest below the chord from k = 1 to the last k, both axes scaled to 1."""
    known = inertia[np.isfinite(inertia)]
    if len(known) < 3 or not known[0] > known[-1]:
        return 1
    x = np.linspace(0.0, 1.0, len(known))
    y = (known - known[-1]) / (known[0] - known[-1])
    return int(np.argmax(1.0 - x - y)) + 1


def n_distinct(values: Array) -> int:
    """Different rows among values (n, D), or among an even thousand of them."""
    return len(np.unique(values[:: max(1, len(values) // 1000)], axis=0))
