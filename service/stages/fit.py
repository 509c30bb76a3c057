"""Least-squares fit of eq. 1 to every pixel's spectrum, a tile of rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.arrays import scatter
from tasks.options import FitOptions

if TYPE_CHECKING:
    from service.stages.spectra import SpectraStep
    from tasks.scattering import Absorber
    from tasks.xanes.fit import SpectrumFit
    from tasks.xanes.prior import Prior

Array = NDArray[Any]

F64 = ("float64",)
FITTED_PIXEL_S: Final = 5e-5
"""Estimated time of one pixel's fit [s]."""


@dataclass(frozen=True, kw_only=True)
class FitStep(Step):
    """Fit eq. 1 to the specimen's pixels in one tile of rows; arrays are over all n pixels of the tile, NaN outside.

    Parameters
    ----------
    absorber : Absorber
    formula : str
        Formula of the specimen, for the Kramers-Kronig partner of the phase; "" where the phase is not fitted.
    options : FitOptions
    tile, n_tiles : int
        Which of how many tiles.
    spectra : StepRef
    canvas_shape : tuple of int
        Shape of the dataset's canvas, from which the cost is estimated.
    """

    stage: ClassVar[str] = "fit"
    version: ClassVar[int] = 3
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("parameters", ("parameter", "pixel"), F64, "1", "parameters of eq. 1, in their units"),
        ArraySpec("sigma", ("parameter", "pixel"), F64, "1", "standard errors of the parameters, in their units"),
        ArraySpec("pre_edge_area_sigma", ("pixel",), F64, "eV", "standard error of the pre-edge area"),
        ArraySpec("pre_edge_ratio_sigma", ("pixel",), F64, "eV", "standard error of the pre-edge ratio"),
        ArraySpec("residual", ("pixel",), F64, "1", "standard deviation of one data point about the fit"),
        ArraySpec("chi2", ("pixel",), F64, "1", "weighted sum of squared residuals"),
        ArraySpec("status", ("pixel",), ("int8",), "1", "what became of the pixel's fit"),
    )

    absorber: Absorber
    formula: str
    options: FitOptions
    tile: int
    n_tiles: int
    spectra: StepRef[SpectraStep]
    canvas_shape: tuple[int, int] = field(metadata=NOT_IN_KEY)

    @property
    def cost(self) -> float:
        return FITTED_PIXEL_S * math.prod(self.canvas_shape) / self.n_tiles

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.xanes.fit import SpectrumFit, Status, at_edge_wavelength, find_prior, fit_spectra
        from tasks.xanes.mask import mask_pixels

        read = context.read(self.spectra, "energy_ev", "absorption", "sample_mask", "sigma_absorption")
        energy_ev, sample, sigma = read["energy_ev"], read["sample_mask"], read["sigma_absorption"]
        edge_ev = self.absorber.edge_energy_ev
        absorption = at_edge_wavelength(energy_ev, read["absorption"], edge_ev)
        prior = find_prior(energy_ev, absorption[:, sample], sigma, edge_ev, self.options)
        rows = tile_rows(sample.shape[0], self.tile, self.n_tiles)
        inside = sample[rows].ravel()
        pixels = absorption[:, rows].reshape(len(energy_ev), -1)[:, inside]
        context.check_stop()
        if self.options.joint:
            found = self._fit_with_phase(context, rows, inside, pixels, prior)
        else:
            found = fit_spectra(energy_ev, pixels, sigma, edge_ev, prior)
        status = mask_pixels(
            found, self.options, energy_ev=energy_ev, absorption=pixels, edge_energy_ev=edge_ev,
            sigma_vacuum=float(np.sqrt(np.mean(sigma**2))),
        )  # fmt: skip
        fitted = [one.name for one in fields(SpectrumFit) if one.name != "status"]
        arrays = {name: scatter(getattr(found, name), inside) for name in fitted}
        arrays["status"] = scatter(status, inside, fill=Status.MASKED_VACUUM)
        return context.write(arrays, n_pixels=int(inside.sum()))

    def _fit_with_phase(
        self, context: StageContext, rows: slice, inside: Array, absorption: Array, prior: Prior | None
    ) -> SpectrumFit:
        """Eq. 1 fitted to absorption (E, n) and phase together, at the n pixels ``inside`` the rows of the tile."""
        from tasks.coupling.kkr import outside_columns
        from tasks.xanes.fit import at_edge_wavelength
        from tasks.xanes.joint import Pairs, fit_pairs

        read = context.read(self.spectra, "energy_ev", "phase", "sigma_absorption", "sigma_phase")
        energy_ev, edge_ev = read["energy_ev"], self.absorber.edge_energy_ev
        phase = read["phase"][:, rows].reshape(len(energy_ev), -1)[:, inside]
        columns = outside_columns(energy_ev, self.absorber, self.formula)
        electrons, sigma_a, sigma_phi = (
            at_edge_wavelength(energy_ev, values, edge_ev) for values in (-phase, read["sigma_absorption"], read["sigma_phase"])
        )
        return fit_pairs(Pairs(energy_ev, absorption, electrons, sigma_a, sigma_phi, columns), edge_ev, prior)


def tile_rows(n_rows: int, tile: int, n_tiles: int) -> slice:
    """Rows of one tile; all tiles together are all rows, each once."""
    return slice(tile * n_rows // n_tiles, (tile + 1) * n_rows // n_tiles)
