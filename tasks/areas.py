"""Mean spectra of areas of a specimen, eq. 1 fitted to them, and ratios of sums over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.chemistry import Density, area_ratio
from tasks.xanes.fit import at_edge_wavelength, fit_spectra
from tasks.xanes.model import PARAMETERS, eq1

N_CURVE: Final = 400
"""Energies at which a fitted curve is drawn."""

ELECTRON_MAPS: Final = ("n_electron", "n_absorber", "edge_jump", "edge_jump_sigma", "electron_ratio", "electron_ratio_sigma")
PRE_EDGE_MAPS: Final = ("pre_edge_area", "pre_edge_area_sigma", "edge_jump", "edge_jump_sigma")

Maps = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class AreaFit:
    """Eq. 1 beside the spectrum it describes, in the unit of the absorption images.

    Parameters
    ----------
    parameters, sigma : dict of str to float
        By `tasks.xanes.model.PARAMETERS`, with one standard error each; NaN where none is known.
    curve_energy_ev, curve : (400,) float64 arrays
        The fitted absorption between the first and the last energy.
    residual : (E,) float64 array
        Spectrum minus fit.
    """

    parameters: dict[str, float]
    sigma: dict[str, float]
    curve_energy_ev: NDArray[np.float64]
    curve: NDArray[np.float64]
    residual: NDArray[np.float64]


def mean_spectrum(
    images: NDArray[np.floating], sigma: NDArray[np.floating] | None, inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the pixels of an area and its standard error, at each energy.

    Parameters
    ----------
    images : (E, Y, X) float array
    sigma : (E,) float array, optional
        Standard deviation of one pixel; the errors are NaN without it.
    inside : (Y, X) bool array
        At least one pixel.

    Returns
    -------
    mean, sigma : (E,) float64 arrays
        Errors of different pixels are taken as independent.
    """
    mean = images[:, inside].mean(axis=1, dtype=np.float64)
    one = np.full(len(mean), np.nan) if sigma is None else np.asarray(sigma, dtype=np.float64)
    return mean, one / np.sqrt(np.count_nonzero(inside))


def fit_mean(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.float64], sigma: NDArray[np.float64], edge_energy_ev: float
) -> AreaFit:
    """Fit eq. 1 to one spectrum (E,), weighted by its standard errors (E,) where they are known.

    Raises
    ------
    EnergyGridError
        The energies cannot determine eq. 1.
    """
    scaled = [at_edge_wavelength(energy_ev, values, edge_energy_ev) for values in (absorption, sigma)]
    weights = scaled[1] if np.all(scaled[1] > 0) else None
    found = fit_spectra(energy_ev, scaled[0][:, None], weights, edge_energy_ev)
    parameters = dict(zip(PARAMETERS, found.parameters[:, 0].tolist(), strict=True))
    return describe_fit(
        energy_ev, absorption, parameters, dict(zip(PARAMETERS, found.sigma[:, 0].tolist(), strict=True)), edge_energy_ev
    )


def pixel_fit(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.float64], maps: Maps, pixel: tuple[int, int], edge_energy_ev: float
) -> AreaFit | None:
    """The fit of one pixel (row, column) as the maps hold it; None where they have none there."""
    if not set(PARAMETERS) <= set(maps) or not all(np.isfinite(maps[name][pixel]) for name in PARAMETERS):
        return None
    parameters = {name: float(maps[name][pixel]) for name in PARAMETERS}
    sigma = {name: float(maps[f"{name}_sigma"][pixel]) if f"{name}_sigma" in maps else np.nan for name in PARAMETERS}
    return describe_fit(energy_ev, absorption, parameters, sigma, edge_energy_ev)


def describe_fit(
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.float64],
    parameters: dict[str, float],
    sigma: dict[str, float],
    edge_energy_ev: float,
) -> AreaFit:
    """Curve and residual of ``parameters``, which are those of the absorption (E,) scaled to the wavelength of the edge."""
    values = np.array([parameters[name] for name in PARAMETERS])
    fine = np.linspace(energy_ev[0], energy_ev[-1], N_CURVE)
    curve = eq1(fine, values) * (edge_energy_ev / fine)
    return AreaFit(parameters, sigma, fine, curve, absorption - eq1(energy_ev, values) * (edge_energy_ev / energy_ev))


def area_electrons(maps: Maps, inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Electrons per absorber over an area, its electrons over its absorber atoms, and one standard error; None without maps."""
    if not set(ELECTRON_MAPS) <= set(maps):
        return None
    electrons, atoms, jump, jump_sigma, ratio, ratio_sigma = (np.asarray(maps[name], np.float64) for name in ELECTRON_MAPS)
    below = np.abs(jump_sigma / jump)
    above = np.sqrt(np.maximum((ratio_sigma / ratio) ** 2 - below**2, 0))
    densities = Density(electrons, above * np.abs(electrons)), Density(atoms, below * np.abs(atoms))
    return area_ratio(*densities, inside)


def area_pre_edge(maps: Maps, inside: NDArray[np.bool_]) -> tuple[float, float] | None:
    """PE/dmu [eV] over an area, the sum of the pre-edge areas over that of the edge jumps, and one standard error."""
    if not set(PRE_EDGE_MAPS) <= set(maps):
        return None
    area, area_sigma, jump, jump_sigma = (np.asarray(maps[name], np.float64) for name in PRE_EDGE_MAPS)
    return area_ratio(Density(area, area_sigma), Density(jump, jump_sigma), inside)
