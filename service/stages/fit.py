"""Eq. 1 fitted to every pixel's spectrum, a tile of rows at a time."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext, StepAttributes
from service.stages.pixels import spread, tile_rows
from tasks.coupling.kkr import outside_columns
from tasks.options import FitOptions
from tasks.scattering import Absorber
from tasks.xanes.fit import SpectrumFit, Status, at_edge_wavelength, find_prior, fit_spectra
from tasks.xanes.joint import Pairs, fit_pairs
from tasks.xanes.mask import mask_pixels
from tasks.xanes.prior import Prior

Array = NDArray[Any]


def fit(
    desk: StageContext,
    *,
    absorber: Mapping[str, str],
    options: FitOptions,
    tile: int,
    n_tiles: int,
    spectra: str,
    formula: str = "",
) -> StepAttributes:
    """Eq. 1 fitted to the pixels of one tile of rows, those of the specimen."""
    read = desk.read(spectra, "energy_ev", "absorption", "sample_mask", "sigma_absorption")
    energy_ev, sample = read["energy_ev"], read["sample_mask"]
    edge_ev = Absorber(**absorber).edge_energy_ev
    absorption = at_edge_wavelength(energy_ev, read["absorption"], edge_ev)
    prior = find_prior(energy_ev, absorption[:, sample], read["sigma_absorption"], edge_ev, options)
    rows = tile_rows(sample.shape[0], tile, n_tiles)
    inside = sample[rows].ravel()
    pixels = absorption[:, rows].reshape(len(energy_ev), -1)[:, inside]
    desk.check_stop()
    if options.joint:
        found = fit_with_phase(desk, spectra, (rows, inside), pixels, Absorber(**absorber), formula, prior)
    else:
        found = fit_spectra(energy_ev, pixels, read["sigma_absorption"], edge_ev, prior)
    status = mask_pixels(
        found, options, energy_ev=energy_ev, absorption=pixels, edge_energy_ev=edge_ev,
        sigma_vacuum=float(np.sqrt(np.mean(read["sigma_absorption"] ** 2))),
    )  # fmt: skip
    fitted = [field.name for field in fields(SpectrumFit) if field.name != "status"]
    arrays = {name: spread(getattr(found, name), inside) for name in fitted}
    arrays["status"] = spread(status, inside, fill=Status.MASKED_VACUUM)
    return desk.write(arrays, n_pixels=int(inside.sum()))


def fit_with_phase(
    desk: StageContext, spectra: str, where: tuple[slice, Array], absorption: Array, absorber: Absorber, formula: str,
    prior: Prior | None,
) -> SpectrumFit:  # fmt: skip
    """Eq. 1 fitted to absorption (E, n) and phase together, ``where`` the rows of the tile and its pixels inside."""
    read = desk.read(spectra, "energy_ev", "phase", "sigma_absorption", "sigma_phase")
    energy_ev, edge_ev = read["energy_ev"], absorber.edge_energy_ev
    phase = read["phase"][:, where[0]].reshape(len(energy_ev), -1)[:, where[1]]
    columns = outside_columns(energy_ev, absorber, formula)
    electrons, sigma_a, sigma_phi = (
        at_edge_wavelength(energy_ev, values, edge_ev) for values in (-phase, read["sigma_absorption"], read["sigma_phase"])
    )
    return fit_pairs(Pairs(energy_ev, absorption, electrons, sigma_a, sigma_phi, columns), edge_ev, prior)
