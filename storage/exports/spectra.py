"""Mean spectra of the specimen and of its domains, read energy by energy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.exports.source import Source
from storage.layout import dataset_group


@dataclass(frozen=True)
class AreaSpectrum:
    """Mean over the pixels of one area of a dataset, at each energy (E,).

    Attributes
    ----------
    name : str
        ``specimen``, or ``domain-1`` and so on.
    n_pixels : int
    energy_ev, absorption, sigma : (E,) float64 array
        Amplitude absorption and its standard error, NaN where not known: neighbouring pixels are as correlated as the
        attribute ``blur_px`` of the maps says.
    phase : (E,) float64 array or None
        [rad]; None of images without a phase.
    """

    name: str
    n_pixels: int
    energy_ev: NDArray[np.float64]
    absorption: NDArray[np.float64]
    sigma: NDArray[np.float64]
    phase: NDArray[np.float64] | None


def area_spectra(source: Source, dataset: str) -> list[AreaSpectrum]:
    """Spectra of the specimen and of each of its domains; none of a dataset whose specimen was not found."""
    group = dataset_group(dataset, "spectra")
    areas = _areas(source, dataset)
    energy_ev = source.read(group, "energy").astype(np.float64)
    means = {name: _means(source, group, name, areas) for name in ("absorption", "phase") if source.has(group, name)}
    sigma = np.full(len(energy_ev), np.nan)
    if source.has(group, "sigma_absorption"):
        sigma = source.read(group, "sigma_absorption").astype(np.float64)
    maps = dataset_group(dataset, "maps")
    blur_px = float(source.store.attributes(maps).get("blur_px", 0.0)) if source.has(maps, "mask") else 0.0
    found = []
    for row, (name, inside) in enumerate(areas.items()):
        n_pixels = int(np.count_nonzero(inside))
        phase = means["phase"][row] if "phase" in means else None
        error = sigma * (error_of_sum(inside, blur_px) / n_pixels)
        found.append(AreaSpectrum(name, n_pixels, energy_ev, means["absorption"][row], error, phase))
    return found


def error_of_sum(inside: NDArray[np.bool_], blur_px: float) -> float:
    """Standard error of a sum over pixels (Y, X) that have an error of 1 each.

    As `tasks.xanes.unresolved.error_of_sum` has it: errors at a distance d have a correlation of exp(-d^2 / (4 blur_px^2)).
    """
    counted = inside.astype(np.float64)
    if blur_px <= 0.0:
        return float(np.sqrt(counted.sum()))
    steps = [np.subtract.outer(np.arange(n), np.arange(n)) for n in inside.shape]
    along_y, along_x = (np.exp(-(step**2) / (4 * blur_px**2)) for step in steps)
    return float(np.sqrt(np.sum(counted * (along_y @ counted @ along_x))))


def _areas(source: Source, dataset: str) -> dict[str, NDArray[np.bool_]]:
    """Pixels (Y, X) of the specimen and of each domain, without empty ones."""
    places = [(dataset_group(dataset, "maps"), "mask"), (dataset_group(dataset, "spectra"), "sample_mask")]
    specimen = next((place for place in places if source.has(*place)), None)
    areas = {} if specimen is None else {"specimen": source.read(*specimen)}
    if source.has(f"{dataset}/domains", "label"):
        label = source.read(f"{dataset}/domains", "label")
        areas |= {f"domain-{number}": label == number for number in range(1, int(label.max()) + 1)}
    return {name: inside for name, inside in areas.items() if inside.any()}


def _means(source: Source, group: str, name: str, areas: dict[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
    """(area, energy) means; pixels that were not seen at an energy do not count there."""
    rows = []
    for image in source.pages(group, name):
        counted = [inside & np.isfinite(image) for inside in areas.values()]
        rows.append([image[one].mean(dtype=np.float64) if one.any() else np.nan for one in counted])
    return np.array(rows).T
