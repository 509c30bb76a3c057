"""Spectra of pixels and areas of a run's results, with the fit of the run's model and ratios of sums."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from service.errors import FieldError, InvalidInputError, NotFoundError
from service.results.cached_arrays import read_arrays
from storage.results import ResultsStore
from tasks.areas import (
    ELECTRON_MAPS,
    PRE_EDGE_MAPS,
    AreaFit,
    AreaModel,
    area_electrons,
    area_pre_edge,
    fit_mean,
    mean_spectrum,
    pixel_fit,
)
from tasks.errors import EnergyGridError, NoModelError
from tasks.scattering import Absorber
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, stated

Point = tuple[float, float]
"""Row and column [px]; pixel centres lie on whole numbers."""


@dataclass(frozen=True)
class Area:
    """Which pixels of which dataset; one of the three shapes is given.

    Parameters
    ----------
    dataset, name : str
    pixel : (row, column)
    box : (first row, first column, last row, last column), all inside
    polygon : at least three corners (row, column)
    """

    dataset: str
    name: str = ""
    pixel: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    polygon: Sequence[Point] | None = None


@dataclass(frozen=True)
class AreaSpectrum:
    """What the results say of one area; arrays are over the energies of its dataset."""

    dataset: str
    name: str
    n_pixels: int
    """Those that every energy has seen, over which the spectra are taken."""
    n_kept: int
    """Pixels with maps, over which the ratios are taken."""
    energy_ev: NDArray[np.float64]
    absorption: NDArray[np.float64]
    absorption_sigma: NDArray[np.float64]
    phase: NDArray[np.float64]
    phase_sigma: NDArray[np.float64]
    fit: AreaFit | None
    fit_refused: str
    """Why there is no fit; "" where there is one."""
    ratios: dict[str, tuple[float, float]]
    """Sums over sums with one standard error: ``electron_ratio`` and ``pre_edge_ratio`` [eV]."""


def read_area_spectrum(store: ResultsStore, area: Area, field: str) -> AreaSpectrum:
    """Spectrum, fit and ratios of one area.

    Parameters
    ----------
    store : ResultsStore
        Sealed.
    area : Area
    field : str
        Name of the area in the request, for errors.

    Raises
    ------
    NotFoundError
        The results hold no spectra of the dataset.
    InvalidInputError
        The area lies outside the image, or holds no pixel centre.
    """
    group = f"{area.dataset}/spectra"
    if "absorption" not in store.arrays(group):
        raise NotFoundError(f"the results hold no spectra of a dataset {area.dataset!r}")
    inside = pixels_of(area, store.array(group, "absorption").shape[1:], field)
    window = span(inside, axis=0), span(inside, axis=1)
    inside = inside[window]
    model = AreaModel(Absorber(**store.attributes(group)["absorber"]), fitted_model(store))
    fitted_maps = {*model.parameters, *(f"{name}_sigma" for name in model.parameters), "mask", "residual"}
    spectra = read_arrays(store, group, {"energy", "absorption", "phase", "sigma_absorption", "sigma_phase"}, window)
    maps = read_arrays(store, f"{area.dataset}/maps", {*fitted_maps, *ELECTRON_MAPS, *PRE_EDGE_MAPS}, window)
    energy_ev = np.asarray(spectra["energy"], np.float64)
    noise = stated(store.attributes(f"{area.dataset}/maps")) if maps else INDEPENDENT
    seen = inside & np.isfinite(spectra["absorption"]).all(axis=0)
    inside = seen if seen.any() else inside
    absorption, absorption_sigma = mean_spectrum(
        spectra["absorption"], spectra.get("sigma_absorption"), inside, noise, maps.get("residual")
    )
    phase = phase_sigma = np.full(len(energy_ev), np.nan)
    if "phase" in spectra:
        phase, phase_sigma = mean_spectrum(spectra["phase"], spectra.get("sigma_phase"), inside, noise)
    fit, refused = fitted(energy_ev, absorption, absorption_sigma, maps, inside, model)
    ratios = {"electron_ratio": area_electrons(maps, inside, noise), "pre_edge_ratio": area_pre_edge(maps, inside, noise)}
    return AreaSpectrum(
        area.dataset,
        area.name,
        n_pixels=int(np.count_nonzero(seen)),
        n_kept=int(np.count_nonzero(inside & maps["mask"])) if "mask" in maps else 0,
        energy_ev=energy_ev,
        absorption=absorption,
        absorption_sigma=absorption_sigma,
        phase=phase,
        phase_sigma=phase_sigma,
        fit=fit,
        fit_refused=refused,
        ratios={name: ratio for name, ratio in ratios.items() if ratio is not None},
    )


def load_ahead() -> None:
    """Load the tables of edges and the compiled fit, for which the first spectrum would wait half a second."""
    energy_ev = np.linspace(5420.0, 5540.0, 24)
    fit_mean(energy_ev, np.linspace(0.1, 0.2, 24), np.full(24, 0.01), AreaModel(Absorber()))


def fitted(
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.float64],
    sigma: NDArray[np.float64],
    maps: dict[str, NDArray[Any]],
    inside: NDArray[np.bool_],
    model: AreaModel,
) -> tuple[AreaFit | None, str]:
    """The fit of an area's spectrum, or why there is none; a single pixel has the fit of the maps, where they hold one."""
    if not np.isfinite(absorption).all():
        return None, "no pixel of the area was seen at every energy"
    rows, columns = np.nonzero(inside)
    if rows.size == 1:
        found = pixel_fit(energy_ev, absorption, maps, (int(rows[0]), int(columns[0])), model)
        if found is not None:
            return found, ""
    try:
        return fit_mean(energy_ev, absorption, sigma, model), ""
    except (EnergyGridError, NoModelError) as error:
        return None, str(error)


def pixels_of(area: Area, shape: tuple[int, ...], field: str) -> NDArray[np.bool_]:
    """(Y, X) pixels of an area: those whose centres lie in it.

    Raises
    ------
    InvalidInputError
    """
    inside = np.zeros(shape, dtype=bool)
    if area.pixel is not None:
        corners, kind = [area.pixel], "pixel"
    elif area.box is not None:
        corners, kind = [area.box[:2], area.box[2:]], "box"
    else:
        inside = polygon2mask(shape, np.asarray(area.polygon))
        corners, kind = [], "polygon"
    if any(not 0 <= y < shape[0] or not 0 <= x < shape[1] for y, x in corners):
        message = f"lies outside the image of {shape[0]} rows and {shape[1]} columns, counted from 0"
        raise InvalidInputError(f"the area {message}", [FieldError(f"{field}.{kind}", message)])
    if corners:
        (top, left), (bottom, right) = corners[0], corners[-1]
        inside[min(top, bottom) : max(top, bottom) + 1, min(left, right) : max(left, right) + 1] = True
    if not inside.any():
        raise InvalidInputError("the area is empty", [FieldError(f"{field}.{kind}", "holds no pixel's centre")])
    return inside


def span(inside: NDArray[np.bool_], axis: int) -> slice:
    """The part of an axis of an image along which pixels of an area (Y, X) lie."""
    places = np.nonzero(inside)[axis]
    return slice(int(places.min()), int(places.max()) + 1)


def fitted_model(store: ResultsStore) -> str:
    """The model that the run fitted, as its options name it."""
    return str(store.attributes("").get("options", {}).get("fit", {}).get("model", "eq1"))
