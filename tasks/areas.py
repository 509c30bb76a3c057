"""Mean spectra of areas of a specimen, the run's model fitted to them, and ratios of sums over them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.chemistry import Density, area_ratio
from tasks.errors import NoModelError
from tasks.scattering import Absorber
from tasks.xanes.fit import at_edge_wavelength, fit_spectra
from tasks.xanes.model import PARAMETERS, eq1
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, NoiseCorrelation, error_of_sum

if TYPE_CHECKING:
    from tasks.xanes.models import SpectrumModel

N_CURVE: Final = 400
"""Energies at which a fitted curve is drawn."""

ELECTRON_MAPS: Final = ("n_electron", "n_electron_sigma", "n_absorber", "edge_jump", "edge_jump_sigma")
PRE_EDGE_MAPS: Final = ("pre_edge_area", "pre_edge_area_sigma", "edge_jump", "edge_jump_sigma")

Maps = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class AreaModel:
    """The model of a spectrum that ``fit.model`` names, at the edge of the absorber."""

    absorber: Absorber
    name: str = "eq1"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, as the maps have them; none where there is no model."""
        if self.name == "none":
            return ()
        return PARAMETERS if self.name == "eq1" else self._described().parameters

    def curve(self, energy_ev: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(E,) absorption at the wavelength of the edge, for one spectrum's parameters (P,)."""
        return eq1(energy_ev, values) if self.name == "eq1" else self._described().evaluate(energy_ev, values[None])[0][0]

    def fit(
        self, energy_ev: NDArray[np.float64], absorption: NDArray[np.float64], sigma: NDArray[np.float64] | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Parameters of one spectrum (E,) at the wavelength of the edge and their standard errors, by name.

        Raises
        ------
        EnergyGridError
            The energies cannot determine the model.
        NoModelError
        """
        if self.name == "none":
            raise NoModelError('the run fitted no model to its spectra (fit.model "none")')
        if self.name == "eq1":
            found = fit_spectra(energy_ev, absorption[:, None], sigma, self.absorber.edge_energy_ev)
            extra: dict[str, float] = {}
        else:
            from tasks.xanes.batch import fit_model
            from tasks.xanes.models import EXTRA

            weights = np.ones_like(energy_ev) if sigma is None else sigma
            its = fit_model(energy_ev, absorption[:, None], weights, self._described())
            found, extra = its.fit, dict(zip(EXTRA, its.extra[:, 0].tolist(), strict=True))
        values = dict(zip(PARAMETERS, found.parameters[:, 0].tolist(), strict=True)) | extra
        errors = dict(zip(PARAMETERS, found.sigma[:, 0].tolist(), strict=True))
        return {name: values[name] for name in self.parameters}, {name: errors.get(name, np.nan) for name in self.parameters}

    def _described(self) -> "SpectrumModel":
        from tasks.xanes.models import spectrum_model

        return spectrum_model(self.name, self.absorber)


@dataclass(frozen=True)
class AreaFit:
    """A model beside the spectrum it describes, in the unit of the absorption images.

    Parameters
    ----------
    parameters, sigma : dict of str to float
        By the names of the maps, with one standard error each; NaN where none is known.
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
    images: NDArray[np.floating],
    sigma: NDArray[np.floating] | None,
    inside: NDArray[np.bool_],
    noise: NoiseCorrelation = INDEPENDENT,
    residual: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the pixels of an area and its standard error, at each energy.

    Parameters
    ----------
    images : (E, Y, X) float array
    sigma : (E,) float array, optional
        Standard deviation of one empty pixel; the errors are NaN without it.
    inside : (Y, X) bool array
        At least one pixel.
    noise : NoiseCorrelation
        How that of neighbouring pixels is correlated.
    residual : (Y, X) float array, optional
        Scatter of the pixels about their fits, to which their noise is scaled (`pixel_sigma`).

    Returns
    -------
    mean, sigma : (E,) float64 arrays
    """
    mean = images[:, inside].mean(axis=1, dtype=np.float64)
    return mean, error_of_mean(np.full(len(mean), np.nan) if sigma is None else sigma, inside, noise, residual)


def pixel_sigma(
    sigma: NDArray[np.floating], residual: NDArray[np.floating] | None, inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Standard deviation (E,) of the absorption of one pixel of an area.

    That of empty pixels, ``sigma`` (E,), scaled so that its mean square is that of the scatter of the area's pixels about their
    fits, the map ``residual`` (Y, X): inside a specimen noise is 1.1 to 1.7 times as large. As it is where that is unknown, or
    less: a fit may pass through the points of a few pixels by chance, or through all of hardly more energies than parameters.
    """
    empty = np.asarray(sigma, dtype=np.float64)
    scatter = np.zeros(0) if residual is None else residual[inside & np.isfinite(residual)].astype(np.float64)
    if not scatter.size or not np.any(empty > 0):
        return empty
    return np.asarray(empty * np.sqrt(max(np.mean(scatter**2) / np.mean(empty**2), 1.0)))


def means(images: Iterable[NDArray[np.floating]], areas: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[np.float64]]:
    """(E,) means of E images (Y, X), which come one by one, over the finite pixels of each area (Y, X); NaN where it has none."""
    found: dict[str, list[float]] = {name: [] for name in areas}
    for image in images:
        finite = np.isfinite(image)
        for name, inside in areas.items():
            values = image[inside & finite]
            found[name].append(float(values.mean(dtype=np.float64)) if values.size else np.nan)
    return {name: np.array(row) for name, row in found.items()}


def error_of_mean(
    sigma: NDArray[np.floating],
    inside: NDArray[np.bool_],
    noise: NoiseCorrelation = INDEPENDENT,
    residual: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Standard error (E,) of the mean absorption over an area of at least one pixel; parameters are those of `mean_spectrum`."""
    one = pixel_sigma(sigma, residual, inside)
    return np.asarray(one * error_of_sum(inside.astype(np.float64), noise) / np.count_nonzero(inside))


def fit_mean(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.float64], sigma: NDArray[np.float64], model: AreaModel
) -> AreaFit:
    """Fit the model to one spectrum (E,), weighted by its standard errors (E,) where they are known.

    Raises
    ------
    EnergyGridError
        The energies cannot determine the model.
    NoModelError
    """
    edge_ev = model.absorber.edge_energy_ev
    scaled = [at_edge_wavelength(energy_ev, values, edge_ev) for values in (absorption, sigma)]
    found = model.fit(energy_ev, scaled[0], scaled[1] if np.all(scaled[1] > 0) else None)
    return describe_fit(energy_ev, absorption, *found, model)


def pixel_fit(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.float64], maps: Maps, pixel: tuple[int, int], model: AreaModel
) -> AreaFit | None:
    """The fit of one pixel (row, column) as the maps hold it; None where they have none there."""
    names = model.parameters
    if not names or not set(names) <= set(maps) or not all(np.isfinite(maps[name][pixel]) for name in names):
        return None
    parameters = {name: float(maps[name][pixel]) for name in names}
    sigma = {name: float(maps[f"{name}_sigma"][pixel]) if f"{name}_sigma" in maps else np.nan for name in names}
    return describe_fit(energy_ev, absorption, parameters, sigma, model)


def describe_fit(
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.float64],
    parameters: dict[str, float],
    sigma: dict[str, float],
    model: AreaModel,
) -> AreaFit:
    """Curve and residual of ``parameters``, which are those of the absorption (E,) scaled to the wavelength of the edge."""
    values, edge_ev = np.array([parameters[name] for name in model.parameters]), model.absorber.edge_energy_ev
    fine = np.linspace(energy_ev[0], energy_ev[-1], N_CURVE)
    curve = model.curve(fine, values) * (edge_ev / fine)
    return AreaFit(parameters, sigma, fine, curve, absorption - model.curve(energy_ev, values) * (edge_ev / energy_ev))


def area_electrons(maps: Maps, inside: NDArray[np.bool_], noise: NoiseCorrelation = INDEPENDENT) -> tuple[float, float] | None:
    """Electrons per absorber over an area, its electrons over its absorber atoms, and one standard error; None without maps."""
    if not set(ELECTRON_MAPS) <= set(maps):
        return None
    electrons, electrons_sigma, atoms, jump, jump_sigma = (np.asarray(maps[name], np.float64) for name in ELECTRON_MAPS)
    return area_ratio(Density(electrons, electrons_sigma), Density(atoms, np.abs(jump_sigma / jump * atoms)), inside, noise)


def area_pre_edge(maps: Maps, inside: NDArray[np.bool_], noise: NoiseCorrelation = INDEPENDENT) -> tuple[float, float] | None:
    """PE/dmu [eV] over an area, the sum of the pre-edge areas over that of the edge jumps, and one standard error."""
    if not set(PRE_EDGE_MAPS) <= set(maps):
        return None
    area, area_sigma, jump, jump_sigma = (np.asarray(maps[name], np.float64) for name in PRE_EDGE_MAPS)
    return area_ratio(Density(area, area_sigma), Density(jump, jump_sigma), inside, noise)
