"""Mean spectra of the specimen and of its domains, as exports state them, read energy by energy."""

import numpy as np
from numpy.typing import NDArray

from storage.exports.source import MeanSpectrum, Source
from storage.layout import dataset_group
from tasks.areas import error_of_mean, means
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, stated


def mean_spectra(source: Source, dataset: str) -> list[MeanSpectrum]:
    """Spectra of the specimen and of each of its domains; none of a dataset whose specimen was not found."""
    group, maps = dataset_group(dataset, "spectra"), dataset_group(dataset, "maps")
    areas = areas_of(source, dataset)
    energy_ev = source.read(group, "energy").astype(np.float64)
    found = {name: means(source.pages(group, name), areas) for name in ("absorption", "phase") if source.has(group, name)}
    sigma = source.read(group, "sigma_absorption") if source.has(group, "sigma_absorption") else np.full(len(energy_ev), np.nan)
    residual = source.read(maps, "residual") if source.has(maps, "residual") else None
    noise = stated(source.store.attributes(maps)) if source.has(maps, "mask") else INDEPENDENT
    return [
        MeanSpectrum(
            name,
            int(np.count_nonzero(inside)),
            energy_ev,
            found["absorption"][name],
            error_of_mean(sigma, inside, noise, residual),
            found["phase"][name] if "phase" in found else None,
        )
        for name, inside in areas.items()
    ]


def areas_of(source: Source, dataset: str) -> dict[str, NDArray[np.bool_]]:
    """Pixels (Y, X) of the specimen and of each domain, without empty ones."""
    places = [(dataset_group(dataset, "maps"), "mask"), (dataset_group(dataset, "spectra"), "sample_mask")]
    specimen = next((place for place in places if source.has(*place)), None)
    areas = {} if specimen is None else {"specimen": source.read(*specimen)}
    if source.has(f"{dataset}/domains", "label"):
        label = source.read(f"{dataset}/domains", "label")
        areas |= {f"domain-{number}": label == number for number in range(1, int(label.max()) + 1)}
    return {name: inside for name, inside in areas.items() if inside.any()}
