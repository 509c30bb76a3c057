"""Components of the spectra of all pixels, without a model: principal ones, and factors that are nowhere negative."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import NMF, PCA

from tasks.errors import InvalidOptionError
from tasks.xanes.fit import at_edge_wavelength

Array = NDArray[np.float64]

MAX_ITERATIONS: Final = 500
"""Of the factorisation."""
TOLERANCE: Final = 1e-4


@dataclass(frozen=True)
class Components:
    """Principal components of the pixels of all datasets (Jolliffe, Principal Component Analysis, 2002).

    Parameters
    ----------
    mean : (E,) float64 array
        Mean spectrum, from which the scores count.
    spectra : (C, E) float64 array
        Eigenspectra of length 1, the one that explains most first.
    scree : (R,) float64 array
        Share of the variance that each component explains, R = min(E, pixels), all components.
    scores : list of (C, n_i) float64 arrays
        Of each pixel of each dataset; NaN where a spectrum is not finite.
    sigmas : list of (C, n_i) float64 arrays
        Their standard errors.
    """

    mean: Array
    spectra: Array
    scree: Array
    scores: list[Array]
    sigmas: list[Array]


@dataclass(frozen=True)
class Factors:
    """Non-negative factors: spectra, and their weights in each pixel (Lee & Seung, Nature 401, 788 (1999)).

    Parameters
    ----------
    spectra : (F, E) float64 array
        Their largest value is 1; in descending order of total weight.
    weights : list of (F, n_i) float64 arrays
        NaN where a spectrum is not finite.
    """

    spectra: Array
    weights: list[Array]


def normalised_spectra(
    energy_ev: Array,
    absorption: NDArray[np.floating],
    offset: NDArray[np.floating],
    jump: NDArray[np.floating],
    edge_energy_ev: float,
) -> Array:
    """Spectra (E, n) without their offset (n,), in edge jumps (n,): what is left is the state, not the thickness.

    Offset and jump are those of the fit, which is of spectra at the wavelength of the edge ``edge_energy_ev`` [eV]; so are
    these (`tasks.xanes.fit.at_edge_wavelength`). A jump that is not positive gives NaN.
    """
    at_edge = at_edge_wavelength(energy_ev, np.asarray(absorption, dtype=np.float64), edge_energy_ev)
    return np.asarray((at_edge - offset) / np.where(jump > 0, jump, np.nan))


def principal_components(spectra: Sequence[Array], sigmas: Sequence[Array], n_components: int) -> Components:
    """Principal components of the spectra (E, n_i) of all datasets, and of each pixel its scores.

    Parameters
    ----------
    spectra, sigmas : sequence of (E, n_i) float64 arrays
        And the standard errors of their points.
    n_components : int
        How many are kept; fewer where there are fewer energies or pixels.

    Raises
    ------
    InvalidOptionError
        Fewer than two pixels have a spectrum.
    """
    usable = [np.all(np.isfinite(one), axis=0) for one in spectra]
    pooled = _pooled(spectra, usable)
    with np.errstate(invalid="ignore"):  # spectra that are all alike have no variance to take a share of
        found = PCA(svd_solver="full").fit(pooled)
    vectors = np.asarray(found.components_[:n_components], dtype=np.float64)
    return Components(
        mean=np.asarray(found.mean_, dtype=np.float64),
        spectra=vectors,
        scree=np.nan_to_num(np.asarray(found.explained_variance_ratio_, dtype=np.float64)),
        scores=[vectors @ (one - found.mean_[:, None]) for one in spectra],
        sigmas=[np.sqrt(vectors**2 @ one**2) for one in sigmas],
    )


def non_negative_factors(spectra: Sequence[Array], n_factors: int, seed: int) -> Factors:
    """Factors of the spectra (E, n_i) of all datasets, whose negative values, which are noise, count as 0.

    Raises
    ------
    InvalidOptionError
        Fewer than two pixels have a spectrum.
    """
    usable = [np.all(np.isfinite(one), axis=0) for one in spectra]
    pooled = np.maximum(_pooled(spectra, usable), 0.0)
    model = NMF(min(n_factors, *pooled.shape), init="nndsvda", random_state=seed % 2**32, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    weights = np.asarray(model.fit_transform(pooled), dtype=np.float64)
    height = np.maximum(model.components_.max(axis=1), np.finfo(float).tiny)
    order = np.argsort(-(weights * height).sum(axis=0), kind="stable")
    weights, factors = (weights * height)[:, order].T, (model.components_ / height[:, None])[order]
    own, first = [], 0
    for mask in usable:
        rows = np.full((len(factors), mask.size), np.nan)
        rows[:, mask] = weights[:, first : first + int(mask.sum())]
        first += int(mask.sum())
        own.append(rows)
    return Factors(factors, own)


def _pooled(spectra: Sequence[Array], usable: Sequence[NDArray[np.bool_]]) -> Array:
    """Usable spectra of all datasets, (n, E)."""
    pooled = np.concatenate([one[:, mask] for one, mask in zip(spectra, usable, strict=True)], axis=1).T
    if len(pooled) < 2:
        raise InvalidOptionError(
            f"components need at least two pixels with a spectrum; got {len(pooled)}. Are all pixels masked?"
        )
    return np.asarray(pooled, dtype=np.float64)
