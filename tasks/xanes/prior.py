"""What is known of the shapes of a spectrum before a pixel is fitted: they are like those of the other pixels.

``population`` asks the pixels themselves how much each shape varies between them beyond its error, and draws each pixel
that far and no further (empirical Bayes; Efron & Morris, J. Am. Stat. Assoc. 68, 117 (1973)). ``mean`` takes the spread
of vanadium's oxides instead.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.model import PARAMETERS

SPREAD: Final = {
    "edge_energy": 2.0,
    "edge_width": 1.0,
    "pre_edge_energy": 0.5,
    "pre_edge_width": 0.4,
    "white_line_energy": 3.0,
    "white_line_width": 2.0,
}
"""How far a pixel's shape is expected to lie from the mean's, one standard deviation [eV].

The edge of vanadium moves by 3.4 eV from V2O3 to V2O5, so the edge energy, which is what the maps show, is hardly held;
what is held are the widths and positions that noise would exchange with it. On simulated states the edge energy's rms
error falls from 0.157 to 0.152 eV at 3 % noise and from 0.58 to 0.44 eV at 10 %.
"""


SHAPES: Final = ("edge_width", "pre_edge_energy", "pre_edge_width", "white_line_energy", "white_line_width")
"""What ``population`` draws; never the edge energy or the heights, which are what the maps show."""

WITHIN: Final = 3.0
"""The population's spread is that of pixels whose error is at most this many times the median."""

LEAST_PIXELS: Final = 50
"""Fewer say too little of a population."""

NARROWEST: Final = 0.3
"""Smallest spread that is believed, in typical errors: below it, a shape is as good as common to all."""

TAIL: Final = 0.005
"""Share of the pixels at either end that count as the next ones: failed fits are no population."""


@dataclass(frozen=True)
class Prior:
    """Gaussian priors on the parameters of eq. 1.

    Parameters
    ----------
    centre : (10,) float64 array
        In the order of `tasks.xanes.model.PARAMETERS`; energies absolute [eV].
    sd : (10,) float64 array
        Standard deviations, infinite where nothing is known.
    noise : float
        The true standard deviation of a point, in units of the one that the fit is told.
    """

    centre: NDArray[np.float64]
    sd: NDArray[np.float64]
    noise: float = 1.0


def prior_around(parameters: NDArray[np.float64], noise: float) -> Prior:
    """Prior about the shape of ``parameters`` (10,), as wide as `SPREAD`; none on the offset and the heights."""
    sd = np.array([SPREAD.get(name, np.inf) for name in PARAMETERS])
    return Prior(np.asarray(parameters, dtype=np.float64).copy(), sd, noise)


def population_prior(parameters: NDArray[np.float64], sigma: NDArray[np.float64], noise: float) -> Prior | None:
    """Prior from ``parameters`` (10, n) of pixels fitted one by one and their errors ``sigma`` (10, n); none for few pixels."""
    if parameters.shape[1] < LEAST_PIXELS:
        return None
    centre, sd = np.median(parameters, axis=1), np.full(len(PARAMETERS), np.inf)
    for name in SHAPES:
        i = PARAMETERS.index(name)
        centre[i], sd[i] = spread_beyond_errors(parameters[i], sigma[i])
    return Prior(centre, sd, noise)


def spread_beyond_errors(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of what ``values`` (n,) measure, their ``errors`` (n,) taken off.

    The variance less the mean squared error (Hedges & Olkin, Statistical Methods for Meta-Analysis, 1985), over the
    pixels that are well measured.
    """
    good = errors <= WITHIN * np.median(errors)
    values = np.clip(values[good], *np.quantile(values[good], [TAIL, 1 - TAIL]))
    typical = np.sqrt(np.mean(errors[good] ** 2))
    beyond = np.sqrt(max(np.var(values) - typical**2, 0.0))
    return float(np.mean(values)), float(max(beyond, NARROWEST * typical))
