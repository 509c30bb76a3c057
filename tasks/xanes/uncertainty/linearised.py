"""The fit of a model near a typical spectrum, where it is linear: small errors of the data become errors of its parameters."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.fit import fit_problem, fit_spectra
from tasks.xanes.model import PARAMETERS, area_slopes, jacobian
from tasks.xanes.models import SpectrumModel
from tasks.xanes.prior import Prior

Array = NDArray[np.float64]

SMALLEST: Final = 1e-12
"""Directions whose share of the normal matrix is less are left out of its inverse."""


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
        normal = weighted.T @ weighted + np.diag(self.prior_precision)
        root = np.sqrt(np.diag(normal))
        root[root == 0] = np.inf
        scale = np.outer(root, root)
        return np.asarray(np.linalg.pinv(normal / scale, rcond=SMALLEST, hermitian=True) / scale)

    def directions(self) -> dict[str, Array]:
        """Derivatives (P,) of each parameter, of PE and of PE/dmu by the parameters; NaN of what the model does not have."""
        area, ratio = area_slopes(self.names, self.parameters[None])
        own = dict(zip(self.names, np.eye(len(self.names)), strict=True))
        return own | {"pre_edge_area": area[0], "pre_edge_ratio": ratio[0]}


def linearised_eq1(
    energy_ev: Array, whole: NDArray[np.floating], sigma: Array, edge_energy_ev: float, prior: Prior | None
) -> Linearisation:
    """The fit of eq. 1 about that of the mean of the spectra ``whole`` (E, m); about NaN where none is finite.

    Other parameters are those of `tasks.xanes.fit.fit_spectra`.

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
    """The fit of ``model`` about its parameters ``typical`` (P,), energies and their errors ``sigma`` (E,) [eV]."""
    derivatives = model.evaluate(energy_ev, typical[None])[1][0].T
    return Linearisation(model.parameters, typical, derivatives, sigma, np.zeros(typical.size))
