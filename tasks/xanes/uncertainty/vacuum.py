"""What the vacuum tells of the errors of fits: absorption is zero there, and noise is seen alone, at all energies together."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.fit import SpectrumFit
from tasks.xanes.model import PARAMETERS
from tasks.xanes.uncertainty.linearised import Linearisation

Array = NDArray[np.float64]

LEAST_PIXELS: Final = 100
"""Fewer pixels of vacuum tell no variance."""
MOST_PIXELS: Final = 20_000
"""Of more, every second, third ... is taken."""


@dataclass(frozen=True)
class ErrorScales:
    """What the standard errors of fits are multiplied by, by the names of what is fitted; 1 of what is not among them."""

    by_name: dict[str, float]

    def of(self, name: str) -> float:
        return self.by_name.get(name, 1.0)

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
    the scatter does not show. In vacuum it is seen: the spectra of empty pixels go through the linearised fit, and the variance
    of each parameter is compared with the one that their scatter explains. This is the sandwich estimator of a covariance (White,
    Econometrica 48, 817 (1980)) with the noise's covariance along the energies from the vacuum. What a prior leaves open is no
    noise, and stays.

    Parameters
    ----------
    typical : Linearisation
        The fit about a typical spectrum of the specimen.
    vacuum : (E, n) float array
        Spectra of empty pixels, in the unit of the fitted ones; those that are not finite are left out.
    """
    noise = _sample(vacuum)
    if noise.shape[1] < LEAST_PIXELS or not np.isfinite(typical.parameters).all():
        return ErrorScales({})
    inverse = typical.inverse()
    estimator = inverse @ (typical.jacobian / typical.sigma[:, None] ** 2).T
    freedom = typical.sigma.size - float(np.trace(estimator @ typical.jacobian))
    if freedom < 1:
        return ErrorScales({})
    moved = estimator @ noise
    left = (noise - typical.jacobian @ moved) / typical.sigma[:, None]
    scatter = float(np.mean(np.sum(left**2, axis=0))) / freedom
    scales = {}
    for name, direction in typical.directions().items():
        found = float(np.mean((direction @ moved) ** 2))
        explained = scatter * float(np.sum((direction @ estimator * typical.sigma) ** 2))
        from_prior = scatter * float(np.sum((direction @ inverse) ** 2 * typical.prior_precision))
        if np.isfinite(found) and explained > 0:
            scales[name] = float(np.sqrt((found + from_prior) / (explained + from_prior)))
    return ErrorScales(scales)


def _sample(vacuum: NDArray[np.floating]) -> Array:
    """At most `MOST_PIXELS` of the spectra (E, n), those that are finite."""
    some = vacuum[:, :: 1 + vacuum.shape[1] // MOST_PIXELS].astype(np.float64)
    return np.asarray(some[:, np.all(np.isfinite(some), axis=0)])
