"""Pixels on the border between two domains: a part of each, and so to k-means, which knows no places, often a third.

Between LiVO2 and LiVO3, say, such a line of pixels has the edge energy of the oxide between them. A domain is wider than
a pixel; what is not is settled by the neighbours.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.domains.clustering import Domains

FEWEST_ALIKE: Final = 3
"""Of the eight neighbours of a pixel, so many share its domain: on a line two do, in a square's corner three."""

ROUNDS: Final = 3

Labels = NDArray[np.int8]
Mask = NDArray[np.bool_]


def settle_borders(found: Domains, descriptors: Sequence[NDArray[np.floating]], masks: Sequence[Mask]) -> list[Labels]:
    """Labels in which lone pixels and lines belong to the nearest, in descriptors, of the domains beside them.

    Parameters
    ----------
    found : Domains
    descriptors : (D, n_i) float array a dataset
        As `tasks.domains.clustering.find_domains` took them.
    masks : (Y, X) bool array a dataset
        Where those n_i pixels are.

    Returns
    -------
    labels : list of (n_i,) int8 arrays
        0 stays 0, and no domain is lost from all datasets together.
    """
    settled = [_settle(*one, found) for one in zip(found.labels, descriptors, masks, strict=True)]
    left = np.unique(np.concatenate(settled))
    return [np.where(np.isin(before, left), after, before) for before, after in zip(found.labels, settled, strict=True)]


def _settle(label: Labels, descriptors: NDArray[np.floating], mask: Mask, found: Domains) -> Labels:
    away = (descriptors[:, None] - found.centres.T[:, :, None]) / found.scale[:, None, None]
    distance = np.sum(away**2, axis=0)
    for _ in range(ROUNDS):
        alike = _neighbours(label, mask, len(found.centres))
        reachable = np.where(alike >= FEWEST_ALIKE, distance, np.inf)
        own = np.take_along_axis(alike, np.maximum(label - 1, 0)[None].astype(np.int64), axis=0)[0]
        lone = (label > 0) & (own < FEWEST_ALIKE) & np.isfinite(reachable).any(axis=0)
        if not lone.any():
            break
        label = np.where(lone, np.argmin(reachable, axis=0) + 1, label).astype(np.int8)
    return label


def _neighbours(label: Labels, mask: Mask, n_domains: int) -> NDArray[np.int64]:
    """(k, n) how many of the eight neighbours of each pixel belong to each domain."""
    image = np.zeros(mask.shape, np.int8)
    image[mask] = label
    ring = np.ones((3, 3), np.int64)
    ring[1, 1] = 0
    counts = [ndimage.convolve((image == d).astype(np.int64), ring, mode="constant")[mask] for d in range(1, n_domains + 1)]
    return np.stack(counts)
