"""Least-squares fit of the model to every pixel's spectrum, and edge energies without one, a tile of rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.arrays import nth_part, scatter
from tasks.options.spectra import FitOptions

if TYPE_CHECKING:
    from service.stages.spectra import SpectraStep
    from tasks.scattering import Absorber
    from tasks.xanes.fit import SpectrumFit
    from tasks.xanes.prior import Prior
    from tasks.xanes.uncertainty.linearised import Linearisation
    from tasks.xanes.uncertainty.vacuum import ErrorScales

Array = NDArray[Any]

F64 = ("float64",)
EDGE_ENERGIES: Final = tuple(f"edge_energy_{name}" for name in ("half", "half_sigma", "centroid", "centroid_sigma"))
"""Arrays of a tile that need no model."""

FITTED_PIXEL_S: Final = 5e-5
"""Estimated time of one pixel's fit [s]."""


@dataclass(frozen=True, kw_only=True)
class FitStep(Step):
    """Fit the specimen's pixels in one tile of rows; arrays are over all n pixels of the tile, NaN outside.

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
    version: ClassVar[int] = 8
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("parameters", ("parameter", "pixel"), F64, "1", "parameters of eq. 1, in their units"),
        ArraySpec("sigma", ("parameter", "pixel"), F64, "1", "standard errors of the parameters, in their units"),
        ArraySpec("pre_edge_area_sigma", ("pixel",), F64, "eV", "standard error of the pre-edge area"),
        ArraySpec("pre_edge_ratio_sigma", ("pixel",), F64, "eV", "standard error of the pre-edge ratio"),
        ArraySpec("residual", ("pixel",), F64, "1", "standard deviation of one data point about the fit"),
        ArraySpec("chi2", ("pixel",), F64, "1", "weighted sum of squared residuals"),
        ArraySpec("status", ("pixel",), ("int8",), "1", "what became of the pixel's fit"),
        ArraySpec("extra", ("extra_parameter", "pixel"), F64, "1", "parameters that eq. 1 does not have, in their units"),
        *(ArraySpec(name, ("pixel",), F64, "eV", "edge energy of the normalised spectrum") for name in EDGE_ENERGIES),
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
        from tasks.xanes.fit import SpectrumFit, Status, at_edge_wavelength
        from tasks.xanes.mask import mask_pixels
        from tasks.xanes.model_check import neighbour_warnings
        from tasks.xanes.uncertainty.vacuum import sampled, vacuum_warnings

        read = context.read(self.spectra, "energy_ev", "absorption", "sample_mask", "vacuum_mask", "sigma_absorption")
        energy_ev, sample, sigma = read["energy_ev"], read["sample_mask"], read["sigma_absorption"]
        edge_ev = self.absorber.edge_energy_ev
        absorption = at_edge_wavelength(energy_ev, read["absorption"], edge_ev)
        rows = nth_part(sample.shape[0], self.tile, self.n_tiles)
        inside = sample[rows].ravel()
        pixels = absorption[:, rows].reshape(len(energy_ev), -1)[:, inside]
        context.check_stop()
        found, further, typical = self._fit(context, (rows, inside), energy_ev, sigma, pixels, absorption[:, sample])
        scales = self._error_scales(typical, absorption[:, sampled(read["vacuum_mask"])])
        found = scales.scaled(found)
        status = mask_pixels(
            found, self.options, energy_ev=energy_ev, absorption=pixels, edge_energy_ev=edge_ev,
            sigma_vacuum=float(np.sqrt(np.mean(sigma**2))),
        )  # fmt: skip
        fitted = {one.name: getattr(found, one.name) for one in fields(SpectrumFit) if one.name != "status"}
        arrays = {name: scatter(values, inside) for name, values in (fitted | further).items()}
        arrays["status"] = scatter(status, inside, fill=Status.MASKED_VACUUM)
        warnings = neighbour_warnings(energy_ev, self.absorber, self.options.model) + vacuum_warnings(scales)
        return context.write(arrays, warnings=warnings, n_pixels=int(inside.sum()), error_scales=scales.by_name)

    def _fit(
        self, context: StageContext, tile: tuple[slice, Array], energy_ev: Array, sigma: Array, pixels: Array, whole: Array
    ) -> tuple[SpectrumFit, dict[str, Array], Linearisation | None]:
        """The fit of ``options.model`` to the pixels (E, n) of a tile, by all (E, m) of the specimen, what it has beside, and its
        linearisation about a typical spectrum, where it has one."""
        from tasks.xanes.batch import fit_model
        from tasks.xanes.fit import find_prior, fit_spectra
        from tasks.xanes.models import spectrum_model
        from tasks.xanes.normalisation import edge_energies, fit_of_edges, merged, normalise_spectra, steepest_energy, windows
        from tasks.xanes.uncertainty.linearised import linearised_eq1, linearised_model

        options, edge_ev = self.options, self.absorber.edge_energy_ev
        apart_ev, spectra, errors = merged(energy_ev, pixels, sigma)
        found = windows(apart_ev, steepest_energy(energy_ev, whole), options)
        normalised = normalise_spectra(apart_ev, spectra, found)
        edges = edge_energies(apart_ev, normalised, found, errors)
        further = {f"edge_energy_{one.name}": getattr(edges, one.name) for one in fields(edges)}
        if options.model == "none":
            return fit_of_edges(apart_ev, normalised, found, edges, errors), further, None
        if options.model != "eq1":
            model = spectrum_model(options.model, self.absorber)
            fit = fit_model(energy_ev, pixels, sigma, model, whole)
            typical = None if fit.typical is None else linearised_model(energy_ev, fit.typical, sigma, model)
            return fit.fit, further | {"extra": fit.extra}, typical
        prior = find_prior(energy_ev, whole, sigma, edge_ev, options)
        if options.joint:
            fits = self._fit_with_phase(context, *tile, pixels, prior)
        else:
            fits = fit_spectra(energy_ev, pixels, sigma, edge_ev, prior)
        return fits, further, linearised_eq1(energy_ev, whole, sigma, edge_ev, prior)

    def _error_scales(self, typical: Linearisation | None, vacuum: Array) -> ErrorScales:
        """What the noise of empty pixels (E, n) makes of the errors; of the jump alone where the phase is fitted too."""
        from tasks.xanes.uncertainty.vacuum import ErrorScales, error_scales

        if typical is None:
            return ErrorScales({})
        found = error_scales(typical, vacuum)
        # vacuum says nothing of the phase's noise: there the gauge has just been fixed on it
        return found.only("edge_jump") if self.options.joint else found

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
