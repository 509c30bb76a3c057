"""Energies coupled by the Kramers-Kronig relation: how far absorption and phase are each to be trusted, and the projection.

The weights come from the data. Phase is measured better than absorption at high spatial frequency and worse at low
(what the probe and the gauge leave behind is smooth), so both noises are measured by band, in vacuum where both are
known to be zero, and each band has its own projection. Splitting the image and projecting are linear: one product a band.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks import kkr
from tasks.options import KKROptions
from tasks.refraction import Absorber
from tasks.units import electrons_per_absorption

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BAND_SPLIT_PX = 3.0
"""Standard deviation of the Gaussian that separates low from high spatial frequencies."""


@dataclass(frozen=True)
class Pair:
    """Absorption and phase on one grid, all energies."""

    absorption: Array
    """(E, Y, X) amplitude absorption."""
    phase: Array
    """(E, Y, X) [rad]."""


@dataclass(frozen=True)
class Noise:
    """Standard errors of absorption and phase in one band, in vacuum."""

    absorption: Array
    """(E,)."""
    phase: Array
    """(E,) [rad]."""


@dataclass(frozen=True)
class Constrained:
    """The pair after the constraint, and how well the relation held before and after."""

    pair: Pair
    noise: tuple[Noise, ...]
    """Of each band, low frequencies first."""
    residual_before: Array
    """(E,) rms over the specimen of g' - K g'' - T c, relative to the specimen's rms g''."""
    residual_after: Array
    """(E,)."""
    slope: float
    """Of g' - T c on K g'' before the constraint: about 1."""


def split_bands(images: Array, field: Mask) -> list[Array]:
    """``images`` (..., Y, X) as a sum of low and high spatial frequencies; the field's edge does not leak in."""
    weight = ndimage.gaussian_filter(field.astype(float), BAND_SPLIT_PX)
    sigma = (0.0,) * (images.ndim - 2) + (BAND_SPLIT_PX, BAND_SPLIT_PX)
    low = ndimage.gaussian_filter(np.where(field, images, 0.0), sigma) / np.where(weight > 1e-3, weight, 1.0)
    low = np.where(field, low, 0.0)
    return [low, np.where(field, images, 0.0) - low]


def measure_noise(pair: Pair, vacuum: Mask) -> tuple[Noise, ...]:
    """Standard error of each band in vacuum, by the vacuum's own split so that the specimen does not leak in."""
    bands = zip(split_bands(pair.absorption, vacuum), split_bands(pair.phase, vacuum), strict=True)
    return tuple(Noise(_rms(a[:, vacuum]), _rms(p[:, vacuum])) for a, p in bands)


def projections(energy_ev: Array, absorber: Absorber, formula: str, noise: tuple[Noise, ...], mode: str) -> list[Array]:
    """One (2E, 2E) projection a band, on g'' and g' [e- m^-2]."""
    K, T = kkr.window_matrix(energy_ev), kkr.outside_columns(energy_ev, absorber, formula)
    if mode == "absorption_to_phase":
        return [kkr.absorption_to_phase(K, T)] * len(noise)
    if mode == "phase_to_absorption":
        return [kkr.phase_to_absorption(K, T)] * len(noise)
    return [kkr.joint_projection(K, T, band.absorption, band.phase) for band in noise]


def constrain(
    pair: Pair, energy_ev: Array, absorber: Absorber, formula: str, field: Mask, vacuum: Mask, sample: Mask, options: KKROptions
) -> Constrained:
    """Project every pixel of the field onto Kramers-Kronig pairs, band by band; ``off`` only measures the residual.

    Parameters
    ----------
    pair : Pair
    energy_ev : (E,) float64 array
    absorber, formula
        Whose tables stand in outside the window.
    field, vacuum, sample : (Y, X) bool arrays
        Where data are good; where nothing is; where the specimen is.
    options : KKROptions
    """
    noise = measure_noise(pair, vacuum)
    K, T = kkr.window_matrix(energy_ev), kkr.outside_columns(energy_ev, absorber, formula)
    before = _densities(pair, energy_ev, sample)
    after_pair = pair
    if options.mode != "off":
        matrices = projections(energy_ev, absorber, formula, noise, options.mode)
        after_pair = project(pair, energy_ev, matrices, field)
    after = _densities(after_pair, energy_ev, sample)
    return Constrained(
        after_pair, noise, _relative_residual(K, T, *before), _relative_residual(K, T, *after), kkr.slope(K, T, *before)
    )


def project(pair: Pair, energy_ev: Array, matrices: list[Array], field: Mask) -> Pair:
    """Apply one matrix a band to (g'', g') of every pixel; outside the field the pair is kept."""
    n = energy_ev.size
    scale = electrons_per_absorption(energy_ev)[:, None, None]
    stacked = np.concatenate([pair.absorption / scale, -pair.phase / scale])
    result = np.zeros_like(stacked)
    for matrix, band in zip(matrices, split_bands(stacked, field), strict=True):
        result += np.tensordot(matrix, band, axes=1)
    absorption, phase = result[:n] * scale, -result[n:] * scale
    return Pair(np.where(field, absorption, pair.absorption), np.where(field, phase, pair.phase))


def _densities(pair: Pair, energy_ev: Array, sample: Mask) -> tuple[Array, Array]:
    scale = electrons_per_absorption(energy_ev)[:, None]
    return pair.absorption[:, sample] / scale, -pair.phase[:, sample] / scale


def _relative_residual(K: Array, T: Array, g2: Array, g1: Array) -> Array:
    return np.asarray(_rms(kkr.residual(K, T, g2, g1)) / np.sqrt(np.mean(g2**2)))


def _rms(values: Array) -> Array:
    return np.asarray(np.sqrt(np.mean(values**2, axis=1)))
