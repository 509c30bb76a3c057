"""Energies coupled by the Kramers-Kronig relation: how far absorption and phase are each to be trusted, and the projection.

The weights come from the data. What probe and gauge leave behind is smooth and lies in the phase, so the phase is the
worse of the two at low spatial frequency and nearly as good at high: both noises are measured by band, and each band
has its own projection. Splitting the image and projecting are linear: one matrix product a band.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import nnls

from tasks.coupling import kkr
from tasks.errors import EnergyGridError
from tasks.options.coupling import KKROptions
from tasks.scattering import Absorber, electron_densities, tabulated_f2
from tasks.units import electrons_per_absorption

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BAND_SPLIT_PX = 3.0
"""Standard deviation of the Gaussian that separates low from high spatial frequencies."""

REACH_PX = int(4 * BAND_SPLIT_PX + 0.5)
"""Pixels further away have no part in a smoothed one."""

STRIP_PX = 32
"""Width of the strips in which images are smoothed."""

BLOCK_ROWS = 16
"""Rows projected at a time."""

LIKELIHOOD_ROUNDS = 30

WHITE_LINE_EV = 35.0
"""Energies further above the edge show the step alone; of a shorter window its upper half."""


@dataclass(frozen=True)
class Pair:
    """Absorption and phase on one grid, all energies."""

    absorption: Array
    """(E, Y, X) amplitude absorption."""
    phase: Array
    """(E, Y, X) [rad]."""


@dataclass(frozen=True)
class Noise:
    """Standard errors of absorption and phase in one band of spatial frequencies, the same at all energies."""

    absorption: float
    """Of g'' [e- m^-2]."""
    phase: float
    """Of g' [e- m^-2]."""


@dataclass(frozen=True)
class Constrained:
    """The pair after the constraint, and how well the relation held before and after."""

    pair: Pair
    noise: tuple[Noise, Noise]
    """Of each band, low frequencies first."""
    residual_before: Array
    """(E,) rms over the specimen of g' - K g'' - T c [electrons per absorber atom]."""
    residual_after: Array
    """(E,)."""
    slope: float
    """Of g' - T c on K g'' before the constraint: about 1."""
    measured: Array
    """(E,) mean of g' - T c over the specimen before the constraint [electrons per absorber atom]."""
    predicted: Array
    """(E,) the same from the absorption, K g''."""


def low_band(images: Array, field: Mask) -> Array:
    """Low spatial frequencies of ``images`` (..., Y, X), zero outside the field, whose edge does not leak in."""
    weight = smooth(field.astype(float))
    low = smooth(images)
    low *= np.where(field, 1 / np.where(weight > 1e-3, weight, 1.0), 0.0).astype(images.dtype)
    return low


def smooth(images: Array) -> Array:
    """``images`` (..., Y, X) under a Gaussian of `BAND_SPLIT_PX`, mirrored at the edges: `scipy.ndimage.gaussian_filter`.

    As products with banded matrices, strip by strip, which is several times as fast.
    """
    height, width = images.shape[-2:]
    along_y, along_x = (ndimage.gaussian_filter1d(np.eye(n), BAND_SPLIT_PX, axis=0).astype(images.dtype) for n in (height, width))
    result, half = np.empty(images.shape, images.dtype), np.empty((height, width), images.dtype)
    planes = zip(images.reshape(-1, height, width), result.reshape(-1, height, width), strict=True)
    for image, smoothed in planes:
        for here, near in _strips(height):
            np.matmul(along_y[here, near], image[near], out=half[here])
        for here, near in _strips(width):
            np.matmul(half[:, near], along_x[here, near].T, out=smoothed[:, here])
    return result


def _strips(n: int) -> Iterator[tuple[slice, slice]]:
    """Strips of ``n`` pixels, each with the wider one that its smooth values are made of."""
    for first in range(0, n, STRIP_PX):
        last = min(first + STRIP_PX, n)
        yield slice(first, last), slice(max(first - REACH_PX, 0), min(last + REACH_PX, n))


def split_bands(images: Array, field: Mask) -> tuple[Array, Array]:
    """``images`` (..., Y, X) as a sum of low and high spatial frequencies; zero outside the field."""
    inside = np.where(field, images, 0.0)
    low = low_band(inside, field)
    return low, inside - low


def measure_noise(K: Array, T: Array, bands: list[tuple[Array, Array]]) -> tuple[Noise, Noise]:
    """How noisy g'' and g' are at low and at high spatial frequency, told apart by what the relation leaves unexplained.

    Along the singular vectors of K the residual's variance in the specimen is ``s_phi^2 + k^2 s_A^2``, k being the
    singular value. At high frequency both are photon noise, alike in all directions, and both follow (`photon_noise`).
    Photon noise is white, so its share at low frequency is known from the filter; what the residual holds beyond it is
    the phase's, left behind by gauge, registration and probe.

    Parameters
    ----------
    K : (E, E) array
    T : (E, C) array
    bands : two pairs of (E, n) arrays
        g'' and g' of the specimen's pixels at low, then at high spatial frequency (`split_bands`).
    """
    high = photon_noise(*residual_by_direction(K, T, *bands[1]))
    gain, seen = residual_by_direction(K, T, *bands[0])
    white = 1 / (4 * np.pi * BAND_SPLIT_PX**2)
    share = white / (1 - 3 * white)
    absorption, floor = share * high.absorption**2, share * high.phase**2
    phase = max(float(np.mean(seen - gain**2 * absorption)), floor)
    return Noise(float(np.sqrt(absorption)), float(np.sqrt(phase))), high


def residual_by_direction(K: Array, T: Array, g2: Array, g1: Array) -> tuple[Array, Array]:
    """Singular values k (E - C,) of K off the columns T, and the residual's variance (E - C,) along each."""
    off_columns = np.eye(len(K)) - T @ np.linalg.pinv(T)
    directions, gain, _ = np.linalg.svd(off_columns @ K)
    keep = slice(0, len(K) - T.shape[1])
    along = directions[:, keep].T @ off_columns @ (g1 - K @ g2)
    return gain[keep], np.mean(along**2, axis=1)


def off_columns_basis(T: Array) -> Array:
    """(E, E - C) orthonormal spectra that the columns T (E, C) have no share in."""
    return np.linalg.qr(T, mode="complete")[0][:, T.shape[1] :]


def photon_noise(gain: Array, seen: Array) -> Noise:
    """The two white noises whose ``s_phi^2 + k^2 s_A^2`` fits the variances ``seen`` (D,) best, by maximum likelihood."""
    model = np.stack([gain**2, np.ones_like(gain)], axis=1)
    expected = seen
    for _ in range(LIKELIHOOD_ROUNDS):
        # a sample variance scatters in proportion to its size: reweighted least squares is the likelihood's fit
        variances, _ = nnls(model / expected[:, None], seen / expected)
        expected = np.maximum(model @ variances, 1e-6 * seen.max() + np.finfo(float).tiny)
    absorption, phase = np.sqrt(np.maximum(variances, 1e-4 * variances.max()))
    return Noise(float(absorption), float(phase))


def projections(K: Array, T: Array, noise: tuple[Noise, Noise], mode: str) -> list[Array]:
    """One (2E, 2E) projection of (g'', g') a band."""
    if mode == "absorption_to_phase":
        return [kkr.absorption_to_phase(K, T)] * len(noise)
    if mode == "phase_to_absorption":
        return [kkr.phase_to_absorption(K, T)] * len(noise)
    even = np.ones(len(K))
    return [kkr.joint_projection(K, T, band.absorption * even, band.phase * even) for band in noise]


def constrain(
    pair: Pair, energy_ev: Array, absorber: Absorber, formula: str, field: Mask, sample: Mask, options: KKROptions
) -> Constrained:
    """Project every pixel of the field onto Kramers-Kronig pairs, band by band; ``off`` only measures the residual.

    Parameters
    ----------
    pair : Pair
    energy_ev : (E,) float64 array
    absorber, formula
        Whose tables stand in outside the window.
    field, sample : (Y, X) bool arrays
        Where data are good; where the specimen is.
    options : KKROptions
    """
    K, T = kkr.window_matrix(energy_ev), kkr.outside_columns(energy_ev, absorber, formula)
    seen = assess(moments_of(pair, energy_ev, field, sample), energy_ev, K, T, absorber)
    if options.mode == "off":
        return Constrained(pair, seen.noise, seen.residual, seen.residual, seen.slope, seen.measured, seen.predicted)
    after = project(pair, energy_ev, K, T, projections(K, T, seen.noise, options.mode), field)
    left = residual_squares(after, energy_ev, K, T, sample)
    residual = np.sqrt(left / max(int(sample.sum()), 1)) / seen.density
    return Constrained(after, seen.noise, seen.residual, residual, seen.slope, seen.measured, seen.predicted)


@dataclass(frozen=True)
class Moments:
    """Moments of g'' and g' by band over the specimen's pixels, which are all that the weights depend on.

    Those of several areas add up to those of all of them.
    """

    n_pixels: int
    products: Array
    """(4E, 4E) sum over pixels of all products of g'' and g' at low, then at high spatial frequency [e-^2 m^-4]."""
    sums: Array
    """(4E,) sum over pixels of the same [e- m^-2]."""

    def representatives(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """g'' and g' of each band, low frequencies first, (E, 4E) each: as few pixels as have the same second moments."""
        values, directions = np.linalg.eigh(self.products)
        few = directions * np.sqrt(np.maximum(values, 0) * len(values) / max(self.n_pixels, 1))
        low_g2, low_g1, high_g2, high_g1 = few.reshape(4, -1, len(values))
        return (low_g2, low_g1), (high_g2, high_g1)


def moments_of(pair: Pair, energy_ev: Array, field: Mask, sample: Mask) -> Moments:
    """Moments over the pixels of ``sample`` (Y, X), `REACH_PX` or more from where ``pair`` is cut out of a larger area."""
    densities = electron_densities(pair.absorption, pair.phase, energy_ev)
    bands = zip(*(split_bands(values, field) for values in densities), strict=True)
    pixels = np.concatenate([values[:, sample] for band in bands for values in band])
    return Moments(int(sample.sum()), pixels @ pixels.T, pixels.sum(axis=1))


@dataclass(frozen=True)
class RelationStatistics:
    """What the specimen's pixels tell of the relation before it is imposed."""

    noise: tuple[Noise, Noise]
    """Of each band, low frequencies first."""
    density: float
    """Rms of the absorber's projected density [m^-2]."""
    residual: Array
    """(E,) rms of g' - K g'' - T c [electrons per absorber atom]."""
    slope: float
    """Of g' - T c on K g''."""
    measured: Array
    """(E,) mean of g' - T c [electrons per absorber atom]."""
    predicted: Array
    """(E,) the same from the absorption, K g''."""


def assess(moments: Moments, energy_ev: Array, K: Array, T: Array, absorber: Absorber) -> RelationStatistics:
    """Noise by band, density, residual and slope, from the moments of all of the specimen."""
    low, high = moments.representatives()
    g2, g1 = low[0] + high[0], low[1] + high[1]
    density = absorber_density(energy_ev, g2, absorber)
    residual = residual_per_absorber(K, T, g2, g1, density)
    low2, low1, high2, high1 = moments.sums.reshape(4, -1, 1) / max(moments.n_pixels, 1)
    mean2, mean1 = low2 + high2, low1 + high1
    atoms = absorber_density(energy_ev, mean2, absorber)
    measured, predicted = (spectrum[:, 0] / atoms for spectrum in kkr.partners(K, T, mean2, mean1))
    return RelationStatistics(measure_noise(K, T, [low, high]), density, residual, kkr.slope(K, T, g2, g1), measured, predicted)


def residual_squares(pair: Pair, energy_ev: Array, K: Array, T: Array, sample: Mask) -> Array:
    """(E,) sum over the pixels of ``sample`` (Y, X) of the squared residual of the relation [e-^2 m^-4]."""
    g2, g1 = electron_densities(pair.absorption[:, sample], pair.phase[:, sample], energy_ev)
    return np.asarray(np.sum(kkr.residual(K, T, g2, g1) ** 2, axis=1))


def project(pair: Pair, energy_ev: Array, K: Array, T: Array, matrices: list[Array], field: Mask) -> Pair:
    """Apply the low and the high band's matrix to (g'', g') of every pixel; outside the field the pair is kept.

    Every projection onto Kramers-Kronig pairs adds to a pair what it makes of the relation's residual, ``P g = g + B r``
    with ``r = g' - K g''`` off the columns T. So it is r that is split in bands: half as many images, and so small that
    single precision serves.
    """
    n, scale = energy_ev.size, electrons_per_absorption(energy_ev)
    scale = np.concatenate([scale, -scale]) / scale.mean()
    residual = off_columns_basis(T).T @ np.hstack([-K, np.eye(n)])
    low, high = ((matrix - np.eye(2 * n)) @ np.linalg.pinv(residual) * scale[:, None] for matrix in matrices)
    residual /= scale
    seen = np.empty((len(residual), *field.shape), np.float32)
    for rows in _blocks(field.shape[0]):
        pixels = np.concatenate([pair.absorption[:, rows], pair.phase[:, rows]])
        seen[:, rows] = np.tensordot(residual, pixels, axes=1)
    seen[:, ~field] = 0
    split = not np.allclose(low, high)
    bands = [seen, low_band(seen, field)] if split else [seen]
    back = np.hstack([high, low - high] if split else [high]).astype(np.float32)
    absorption, phase = np.empty_like(pair.absorption), np.empty_like(pair.phase)
    for rows in _blocks(field.shape[0]):
        change = np.tensordot(back, np.concatenate([band[:, rows] for band in bands]), axes=1)
        np.add(pair.absorption[:, rows], change[:n], out=absorption[:, rows])
        np.add(pair.phase[:, rows], change[n:], out=phase[:, rows])
    return Pair(absorption, phase)


def _blocks(n_rows: int) -> Iterator[slice]:
    """A few rows at a time: what is made of them stays in the cache."""
    for first in range(0, n_rows, BLOCK_ROWS):
        yield slice(first, first + BLOCK_ROWS)


def residual_per_absorber(K: Array, T: Array, g2: Array, g1: Array, density: float) -> Array:
    """(E,) rms over pixels of ``g' - K g'' - T c`` [electrons per absorber atom]."""
    left = kkr.residual(K, T, g2, g1)
    return np.asarray(np.sqrt(np.mean(left**2, axis=1)) / density)


def absorber_density(energy_ev: Array, g2: Array, absorber: Absorber) -> float:
    """Rms over pixels of the absorber's projected density [m^-2]: the step of g'' (E, n) in units of the tables' step."""
    edge = absorber.edge_energy_ev
    below, above = energy_ev < edge, energy_ev > edge + min(WHITE_LINE_EV, (energy_ev[-1] - edge) / 2)
    if not (below.any() and energy_ev[-1] > edge):
        raise EnergyGridError(
            f"coupling needs energies on both sides of the edge ({edge:.1f} eV), "
            f"got {energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV: is it another element or edge?"
        )
    table = tabulated_f2(absorber.element, energy_ev)
    step = g2[above].mean(axis=0) - g2[below].mean(axis=0)
    return float(np.sqrt(np.mean(step**2)) / (table[above].mean() - table[below].mean()))
