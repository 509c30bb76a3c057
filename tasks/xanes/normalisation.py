"""Spectra of pixels brought to 0 before the edge and 1 after it, and edge energies that need no model.

The line before the edge, the polynomial after it and the choice of their windows follow the definitions of Athena
(Ravel & Newville, J. Synchrotron Rad. 12, 537 (2005)) and Larch (Newville, J. Phys. Conf. Ser. 430, 012007 (2013)).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.coupling.kkr import spline_knots
from tasks.errors import EnergyGridError
from tasks.options.spectra import FitOptions
from tasks.xanes.fit import SpectrumFit, Status
from tasks.xanes.model import PARAMETERS

Array = NDArray[np.float64]

POST_EDGE_FROM_EV: Final = 25.0
"""The window after the edge begins here [eV from the edge], or at a third of the spectrum's reach where that is less."""
ROUND_EV: Final = 5.0
"""Ends of windows that are not given are rounded to this."""
MANY_BEFORE: Final = 20
ROUND_SHORT_EV: Final = 2.0
"""Where no more points than `MANY_BEFORE` lie before the edge, the end of their window is rounded to this instead."""
LINEAR_SPAN_EV: Final = 30.0
QUADRATIC_SPAN_EV: Final = 300.0
"""A window after the edge shorter than these gets a constant, or a line, in place of a parabola."""
HALF: Final = 0.5
TOP: Final = 0.8
"""Levels of a normalised spectrum: the edge energy by half height, and where the rise ends whose centroid is taken. Near 1
noise would decide where a spectrum without a white line ends its rise."""


@dataclass(frozen=True)
class Windows:
    """Points before and after the edge to which a line and a polynomial are fitted.

    Parameters
    ----------
    pre, post : slice
        Of the energies.
    pre_degree, post_degree : int
        1 for a line.
    at : int
        Index of the energy nearest to the edge, where the step is read.
    """

    pre: slice
    post: slice
    pre_degree: int
    post_degree: int
    at: int


@dataclass(frozen=True)
class Normalised:
    """n spectra normalised.

    Parameters
    ----------
    absorption : (E, n) float64 array
        0 before the edge and about 1 after it.
    pre_edge : (E, n) float64 array
        The line that was taken off, in the unit of the absorption.
    step : (n,) float64 array
        What it was divided by; NaN where it is not positive.
    """

    absorption: Array
    pre_edge: Array
    step: Array


@dataclass(frozen=True)
class EdgeEnergies:
    """Edge energies of n spectra by definitions that need no model, and their standard errors [eV]."""

    half: Array
    """Where the normalised spectrum first reaches a half."""
    half_sigma: Array
    centroid: Array
    """Mean energy of the rise, weighted by its slope, up to where the normalised spectrum first reaches `TOP`."""
    centroid_sigma: Array


def windows(energy_ev: Array, edge_ev: float, options: FitOptions) -> Windows:
    """Where the spectra are fitted before and after an edge at ``edge_ev`` [eV].

    Without ``fit.pre_edge_ev`` the window before the edge reaches from the second energy half way to the edge; without
    ``fit.post_edge_ev`` the one after it from 25 eV, or less in a short spectrum, to the end.

    Raises
    ------
    EnergyGridError
        There is no point before the edge, or there are fewer than two after it.
    """
    relative = energy_ev - edge_ev
    if relative[0] >= 0 or np.count_nonzero(relative > 0) < 2:
        raise EnergyGridError(
            f"normalisation needs energies before and after the edge at {edge_ev:.1f} eV; got {energy_ev[0]:.1f} to "
            f"{energy_ev[-1]:.1f} eV. Is it another element or edge?"
        )
    at = _nearest(relative, 0.0)
    grain = ROUND_EV if at > MANY_BEFORE else ROUND_SHORT_EV
    default = max(grain * round(float(relative[1]) / grain), float(relative[0]))
    low, high = options.pre_edge_ev or (default, default / 2)
    first, last = _at_or_below(relative, low), _nearest(relative, high)
    few = _at_or_below(relative, high) - first < 3
    pre = slice(first, max(last, first + 1) if few else last)
    reach = min(ROUND_EV * round(float(relative[-1]) / ROUND_EV), float(relative[-1]))
    start, end = options.post_edge_ev or (min(POST_EDGE_FROM_EV, ROUND_EV * round(reach / (3 * ROUND_EV))), reach)
    end = min(end, float(relative[-1]))
    start = min(start, end - 2)
    degree = 0 if end - start < LINEAR_SPAN_EV else 1 if end - start < QUADRATIC_SPAN_EV else 2
    begin, stop = min(_at_or_below(relative, start), len(relative) - 3), _nearest(relative, end)
    if stop - begin < 2:
        begin, degree = begin - 2, 0
    elif stop - begin < 5:
        degree = min(degree, 1)
    return Windows(pre, slice(max(begin, 0), stop), 0 if few else 1, degree, at)


def normalise_spectra(energy_ev: Array, absorption: NDArray[np.floating], found: Windows) -> Normalised:
    """Take the line before the edge off each spectrum (E, n) and divide it by its step at the edge."""
    spectra = np.asarray(absorption, dtype=np.float64)
    before = _polynomial(energy_ev, spectra, found.pre, found.pre_degree)
    lifted = spectra - before
    step = step_weights(energy_ev, found) @ spectra
    step = np.where(step > 0, step, np.nan)
    return Normalised(lifted / step, before, step)


def step_weights(energy_ev: Array, found: Windows) -> Array:
    """(E,) float64: the step of a spectrum is the sum of its points times these."""
    return np.asarray(_polynomial(energy_ev, _lifting(energy_ev, found), found.post, found.post_degree)[found.at])


def fit_of_edges(
    energy_ev: Array, normalised: Normalised, found: Windows, edges: EdgeEnergies, sigma: NDArray[np.floating]
) -> SpectrumFit:
    """What ``fit.model="none"`` has in the place of a fit: offset, step and the energy at half of it; the rest is NaN.

    ``residual`` is the scatter of the points before the edge about their line, or ``sigma`` (E,) where they are few.
    """
    n = normalised.step.size
    parameters, errors = np.full((2, len(PARAMETERS), n), np.nan)
    offset, jump, edge = (PARAMETERS.index(name) for name in ("offset", "edge_jump", "edge_energy"))
    parameters[offset], parameters[jump], parameters[edge] = normalised.pre_edge[found.at], normalised.step, edges.half
    errors[jump] = np.sqrt(np.sum((step_weights(energy_ev, found) * sigma) ** 2))
    errors[edge] = edges.half_sigma
    left = (normalised.absorption * normalised.step)[found.pre]
    freedom = len(left) - 1 - found.pre_degree
    noise = np.full(n, np.sqrt(np.mean(np.square(sigma))))
    residual = np.sqrt(np.sum(left**2, axis=0) / freedom) if freedom > 0 else noise
    known = np.isfinite(edges.half)
    status = np.where(
        known, Status.OK, np.where(np.isfinite(normalised.pre_edge[0]), Status.MASKED_JUMP, Status.MASKED_NOT_FINITE)
    )
    unknown = np.full((3, n), np.nan)
    return SpectrumFit(parameters, errors, unknown[0], unknown[1], residual, unknown[2], status.astype(np.int8))


def merged(
    energy_ev: Array, absorption: NDArray[np.floating], sigma: NDArray[np.floating]
) -> tuple[Array, NDArray[np.floating], NDArray[np.floating]]:
    """Energies (M,), spectra (M, n) and standard errors (M,) in which energies too near for their steps are one.

    The slope between two energies 0.02 eV apart is all noise, and would be the steepest of the spectrum.
    """
    knots, means = spline_knots(energy_ev)
    if len(knots) == len(energy_ev):
        return energy_ev, absorption, sigma
    return knots, np.asarray(means @ absorption), np.asarray(np.sqrt(means**2 @ np.square(sigma)))


def steepest_energy(energy_ev: Array, absorption: NDArray[np.floating]) -> float:
    """Energy [eV] of the steepest rise of the mean of the spectra (E, n), between two energies that both rise."""
    finite = np.all(np.isfinite(absorption), axis=0)
    if not finite.any() or energy_ev.size < 4:
        return float(energy_ev[energy_ev.size // 2])
    mean = np.asarray(np.mean(absorption[:, finite], axis=1, dtype=np.float64, keepdims=True))
    energy, spectrum, _ = merged(energy_ev, mean, np.ones_like(energy_ev))
    if energy.size < 4:
        return float(energy[energy.size // 2])
    slope = np.gradient(spectrum[:, 0], energy)
    rises = (slope[:-3] > 0) & (slope[2:-1] > 0)
    return float(energy[1 + int(np.argmax(np.where(rises, slope[1:-2], -np.inf)))])


def edge_energies(energy_ev: Array, normalised: Normalised, found: Windows, sigma: NDArray[np.floating]) -> EdgeEnergies:
    """Edge energies by half height and by centroid; NaN where a spectrum does not reach `HALF`, or `TOP`.

    ``centroid = E1 - integral of mu dE / TOP`` up to E1, the first energy with ``mu = TOP``, which is the mean of E weighted
    by dmu/dE: the integral definition of the edge (Capehart et al., Appl. Phys. Lett. 38, 2 (1981)), of the rise alone.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    normalised : Normalised
    found : Windows
        Of the normalisation, whose noise is part of the errors.
    sigma : (E,) float array
        Standard error of a point, in the unit of the absorption before it was normalised.
    """
    mu = normalised.absorption
    # noise of each point of a spectrum without its background, and of its step, by the noise of every measured point
    lifted, step = _lifting(energy_ev, found) * sigma, step_weights(energy_ev, found) * sigma
    half, index = _crossing(energy_ev, mu, HALF)
    half_sigma = _crossing_error(energy_ev, normalised, lifted - HALF * step, half, index)
    top, index = _crossing(energy_ev, mu, TOP)
    area, area_sigma = np.full((2, mu.shape[1]), np.nan)
    for last in np.unique(index[index >= 0]):
        pixels = np.flatnonzero(index == last)
        grid = energy_ev[: last + 1]
        rest = top[pixels] - energy_ev[last]
        area[pixels] = np.trapezoid(mu[: last + 1, pixels], grid, axis=0) + rest * (mu[last, pixels] + TOP) / 2
        noise = np.trapezoid(lifted[: last + 1], grid, axis=0)
        variance = noise @ noise - 2 * area[pixels] * (noise @ step) + area[pixels] ** 2 * (step @ step)
        area_sigma[pixels] = np.sqrt(np.maximum(variance, 0)) / normalised.step[pixels]
    return EdgeEnergies(half, half_sigma, top - area / TOP, area_sigma / TOP)


def _crossing(energy_ev: Array, mu: Array, level: float) -> tuple[Array, NDArray[np.int64]]:
    """Energy (n,) at which each spectrum (E, n) first rises through a level, and the index before it; NaN and -1 if never."""
    rises = (mu[:-1] < level) & (mu[1:] >= level)
    index = np.where(rises.any(axis=0), np.argmax(rises, axis=0), -1).astype(np.int64)
    pixels, below = np.arange(mu.shape[1]), np.maximum(index, 0)
    low, high = mu[below, pixels], mu[below + 1, pixels]
    share = np.where(index >= 0, (level - low) / np.where(index >= 0, high - low, 1.0), np.nan)
    return energy_ev[below] + share * (energy_ev[below + 1] - energy_ev[below]), index


def _crossing_error(energy_ev: Array, normalised: Normalised, noise: Array, crossing: Array, index: NDArray[np.int64]) -> Array:
    """Standard error (n,) of crossings, by the noise (E, E) of ``lifted - level * step`` at every energy."""
    pixels, below = np.arange(index.size), np.maximum(index, 0)
    gap = energy_ev[below + 1] - energy_ev[below]
    slope = (normalised.absorption[below + 1, pixels] - normalised.absorption[below, pixels]) / gap * normalised.step
    share = (crossing - energy_ev[below]) / gap
    products = noise @ noise.T
    variance = (1 - share) ** 2 * products[below, below] + share**2 * products[below + 1, below + 1]
    variance += 2 * share * (1 - share) * products[below, below + 1]
    return np.asarray(np.sqrt(np.maximum(variance, 0)) / slope)


def _lifting(energy_ev: Array, found: Windows) -> Array:
    """(E, E) float64: what takes the line before the edge off a spectrum."""
    identity = np.eye(energy_ev.size)
    return identity - _polynomial(energy_ev, identity, found.pre, found.pre_degree)


def _polynomial(energy_ev: Array, spectra: Array, window: slice, degree: int) -> Array:
    """Values (E, n) of the polynomials fitted to each spectrum (E, n) within a window."""
    centre = energy_ev[window].mean()
    span = max(float(np.ptp(energy_ev[window])), 1.0)
    powers = ((energy_ev - centre) / span)[:, None] ** np.arange(degree + 1)
    return np.asarray(powers @ (np.linalg.pinv(powers[window]) @ spectra[window]))


def _at_or_below(values: Array, limit: float) -> int:
    """Index of the last of ascending ``values`` that is not above ``limit``; 0 where all are."""
    return max(int(np.searchsorted(values, limit, side="right")) - 1, 0)


def _nearest(values: Array, target: float) -> int:
    return int(np.argmin(np.abs(values - target)))
