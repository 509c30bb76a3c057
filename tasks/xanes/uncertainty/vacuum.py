"""What the vacuum tells of the errors of fits: absorption is zero there, and noise is seen alone, at all energies together."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.fit import SpectrumFit
from tasks.xanes.model import PARAMETERS
from tasks.xanes.uncertainty.linearised import Linearisation

Array = NDArray[np.float64]

ONE_SIGMA: Final = math.erf(math.sqrt(0.5))
"""Share of normal errors that are less than their standard deviation."""
OUTLYING: Final = 4.0
"""A pixel is left out whose value is further from zero than this many times that within which `ONE_SIGMA` of them lie."""
LEAST_PIXELS: Final = 100
"""Fewer pixels of vacuum tell no variance."""
MOST_PIXELS: Final = 20_000
"""Of more, every second, third ... is taken (`sampled`)."""
MOST_OF_JUMP: Final = 4.0
"""Scale of the edge jump's error above which vacuum may hold some of the specimen; after reconstructions it is 1 to 1.3."""


@dataclass(frozen=True)
class ErrorScales:
    """What the standard errors of fits are multiplied by, by the names of what is fitted; 1 of what is not among them."""

    by_name: dict[str, float]

    def of(self, name: str) -> float:
        """That of one parameter, of ``pre_edge_area`` or of ``pre_edge_ratio``."""
        return self.by_name.get(name, 1.0)

    def only(self, *names: str) -> "ErrorScales":
        """Those of some names, as far as they are known."""
        return ErrorScales({name: self.by_name[name] for name in names if name in self.by_name})

    def scaled(self, fit: SpectrumFit) -> SpectrumFit:
        """The fits with their standard errors multiplied."""
        sigma = fit.sigma * np.array([self.of(name) for name in PARAMETERS])[:, None]
        area, ratio = self.of("pre_edge_area"), self.of("pre_edge_ratio")
        return replace(
            fit,
            sigma=sigma,
            pre_edge_area_sigma=fit.pre_edge_area_sigma * area,
            pre_edge_ratio_sigma=fit.pre_edge_ratio_sigma * ratio,
        )


def error_scales(typical: Linearisation, vacuum: NDArray[np.floating]) -> ErrorScales:
    """Ratio of what noise does to fits to what their standard errors say, as empty pixels show it.

    Standard errors take the noise of energies as independent and its size from the scatter of a spectrum about its fit. After a
    reconstruction it is not independent: energies that start from one reference inherit its noise, slow waves of the image end
    alike at neighbouring energies, and the Kramers-Kronig relation mixes all. Noise that looks like an edge passes for one, which
    the scatter does not show. In vacuum it is seen: the spectra of empty pixels go through the linearised fit, and the mean
    square of what they make of each parameter is compared with the variance that their scatter explains. This is the sandwich
    estimator of a covariance (White, Econometrica 48, 817 (1980)), with the covariance that the vacuum's noise has along the
    energies. Pixels that are `OUTLYING`, such as those that are not quite empty, are left out; what a prior leaves open is no
    noise, and stays.

    Parameters
    ----------
    typical : Linearisation
        The fit about a typical spectrum of the specimen.
    vacuum : (E, n) float array
        Spectra of empty pixels, in the unit of the fitted ones; those that are not finite, or constant, are left out.
    """
    noise = _telling(vacuum)
    if not np.isfinite(typical.parameters).all():
        return ErrorScales({})
    inverse = typical.inverse()
    estimator = inverse @ (typical.jacobian / typical.sigma[:, None] ** 2).T
    # a whole number without a prior: rounding errors must not decide whether there is one energy more than parameters
    freedom = round(typical.sigma.size - float(np.trace(estimator @ typical.jacobian)), 3)
    if noise.shape[1] < LEAST_PIXELS or freedom < 1:
        return ErrorScales({})
    moved = estimator @ noise
    left = (noise - typical.jacobian @ moved) / typical.sigma[:, None]
    variance = np.sum(left**2, axis=0) / freedom
    scales = {}
    for name, direction in typical.directions().items():
        expected = float(np.sum((direction @ estimator * typical.sigma) ** 2))
        if expected > 0:
            found = _variance_ratio(direction @ moved, variance)
            from_prior = float(np.sum((direction @ inverse) ** 2 * typical.prior_precision))
            scales[name] = float(np.sqrt((found + from_prior) / (expected + from_prior)))
    return ErrorScales(scales)


def _variance_ratio(values: Array, variance: Array) -> float:
    """Mean square of what n empty pixels make of a parameter over their mean ``variance``, without those that are `OUTLYING`."""
    in_errors = np.abs(values) / np.sqrt(variance)
    inside = in_errors <= OUTLYING * np.quantile(in_errors, ONE_SIGMA)
    return float(np.sum(values[inside] ** 2) / np.sum(variance[inside]))


def vacuum_warnings(scales: ErrorScales) -> list[str]:
    """Whether the pixels that are taken as vacuum look as if they held some of the specimen."""
    if scales.of("edge_jump") <= MOST_OF_JUMP:
        return []
    return [
        f"the pixels taken as vacuum show edges {scales.of('edge_jump'):.0f} times as large as their noise explains, and the "
        "standard errors of the edge jump are multiplied by that. Is the field empty there? State align.vacuum_box"
    ]


def sampled(vacuum: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most `MOST_PIXELS` of the pixels of a vacuum (Y, X), so that the spectra of all need not be held."""
    pixels = np.flatnonzero(vacuum)
    some = np.zeros_like(vacuum)
    some.flat[pixels[:: 1 + pixels.size // MOST_PIXELS]] = True
    return some


def _telling(vacuum: NDArray[np.floating]) -> Array:
    """Those of the spectra (E, n) that are finite and not constant."""
    varies = np.ptp(vacuum, axis=0) > 0  # False of NaN too
    return np.asarray(vacuum[:, varies & np.isfinite(vacuum).all(axis=0)], np.float64)
