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
        Amplitude absorption; the standard error takes the errors of different pixels as independent, NaN where not known.
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
    found = []
    for row, (name, inside) in enumerate(areas.items()):
        n_pixels = int(np.count_nonzero(inside))
        phase = means["phase"][row] if "phase" in means else None
        found.append(AreaSpectrum(name, n_pixels, energy_ev, means["absorption"][row], sigma / np.sqrt(n_pixels), phase))
    return found


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
