"""What the pixels of a domain have in common: its mean spectrum, and how its descriptors are spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

N_BINS: Final = 60
TAIL_PERCENT: Final = 0.5
"""Share of all pixels beyond each end of the histogram's range [%]: a few bad fits must not flatten it."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Density:
    """Histograms of every descriptor in every domain."""

    share: Array
    """(D, k, B) share of the domain's pixels in each bin."""
    bin_centre: Array
    """(D, B) centre of each bin, in the descriptor's unit."""


def mean_spectra(labels: Sequence[NDArray[np.int8]], absorption: Sequence[NDArray[np.floating]], n_domains: int) -> Array:
    """(k, E) mean absorption of each domain over the pixels of all datasets; NaN for a domain without pixels.

    Parameters
    ----------
    labels : (n_i,) int8 array a dataset
        1..k, 0 outside.
    absorption : (E, n_i) array a dataset
    """
    total = np.zeros((n_domains, absorption[0].shape[0]))
    count = np.zeros(n_domains)
    for label, spectra in zip(labels, absorption, strict=True):
        for domain in range(1, n_domains + 1):
            inside = label == domain
            total[domain - 1] += spectra[:, inside].sum(axis=1, dtype=float)
            count[domain - 1] += np.count_nonzero(inside)
    return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)


def densities(labels: Sequence[NDArray[np.int8]], descriptors: Sequence[NDArray[np.floating]], n_domains: int) -> Density:
    """Histograms of each descriptor over each domain's pixels, all datasets together, on one range a descriptor.

    Parameters
    ----------
    labels : (n_i,) int8 array a dataset
    descriptors : (D, n_i) array a dataset
    """
    label = np.concatenate(list(labels))
    values = np.concatenate(list(descriptors), axis=1).astype(float)[:, label > 0]
    label = label[label > 0]
    share = np.zeros((len(values), n_domains, N_BINS))
    centres = np.zeros((len(values), N_BINS))
    for d, row in enumerate(values):
        low, high = np.percentile(row, [TAIL_PERCENT, 100 - TAIL_PERCENT])
        edges = np.linspace(low, high if high > low else low + 1.0, N_BINS + 1)
        centres[d] = (edges[1:] + edges[:-1]) / 2
        for domain in range(1, n_domains + 1):
            inside = row[label == domain]
            share[d, domain - 1] = np.histogram(inside, edges)[0] / max(1, inside.size)
    return Density(share, centres)
