"""The fit of a model near a typical spectrum, where it is linear: small errors of the data become errors of its parameters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.batch import inverse_normal
from tasks.xanes.fit import fit_problem, fit_spectra
from tasks.xanes.model import PARAMETERS, area_slopes, jacobian
from tasks.xanes.models import SpectrumModel
from tasks.xanes.prior import Prior

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Linearisation:
    """A least-squares fit about the parameters of a typical spectrum.

    Parameters
    ----------
    names : (P,) tuple of str
        The model's parameters.
    parameters : (P,) float64 array
        The typical spectrum's.
    jacobian : (E, P) float64 array
        Derivatives of the model by its parameters.
    sigma : (E,) float64 array
        Standard deviation of a point that each energy is weighed by.
    prior_precision : (P,) float64 array
        What a Gaussian prior adds to the diagonal of the normal matrix; 0 without one.
    """

    names: tuple[str, ...]
    parameters: Array
    jacobian: Array
    sigma: Array
    prior_precision: Array

    def inverse(self) -> Array:
        """(P, P) inverse of the normal matrix; 0 in the rows and columns of what has no influence."""
        weighted = self.jacobian / self.sigma[:, None]
        return inverse_normal(weighted.T @ weighted + np.diag(self.prior_precision))

    def directions(self) -> dict[str, Array]:
        """Derivatives (P,) of each parameter, of PE and of PE/dmu by the parameters; NaN of what the model does not have."""
        area, ratio = area_slopes(self.names, self.parameters[None])
        own = dict(zip(self.names, np.eye(len(self.names)), strict=True))
        return own | {"pre_edge_area": area[0], "pre_edge_ratio": ratio[0]}


def linearised_eq1(
    energy_ev: Array, whole: NDArray[np.floating], sigma: Array, edge_energy_ev: float, prior: Prior | None
) -> Linearisation:
    """The fit of eq. 1 about that of the mean spectrum of the specimen; about NaN where no spectrum is finite.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    whole : (E, m) float array
        All spectra of the specimen, as the fitted ones.
    sigma : (E,) float64 array
        Standard deviation of one point at each energy, in the unit of the absorption.
    edge_energy_ev : float
        Tabulated edge of the absorber [eV].
    prior : Prior, optional

    Raises
    ------
    EnergyGridError, InvalidOptionError
    """
    finite = whole[:, np.all(np.isfinite(whole), axis=0)]
    mean = finite.mean(axis=1, dtype=np.float64) if finite.size else np.full(energy_ev.size, np.nan)
    typical = fit_spectra(energy_ev, mean[:, None], sigma, edge_energy_ev).parameters[:, 0]
    precision = fit_problem(energy_ev, 1 / sigma, edge_energy_ev, prior).prior_precision
    return Linearisation(PARAMETERS, typical, jacobian(energy_ev, typical), sigma, precision)


def linearised_model(energy_ev: Array, typical: Array, sigma: Array, model: SpectrumModel) -> Linearisation:
    """The fit of a model about the parameters of a typical spectrum.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    typical : (P,) float64 array
        In the order of ``model.parameters``.
    sigma : (E,) float64 array
        Standard deviation of one point at each energy, in the unit of the absorption.
    model : SpectrumModel
    """
    derivatives = model.evaluate(energy_ev, typical[None])[1][0].T
    return Linearisation(model.parameters, typical, derivatives, sigma, np.zeros(typical.size))
