"""Spectra of a dataset of images: the graph of such a dataset begins here, with no reconstruction before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.couple.step import impose_on, kk_attributes, spectra_arrays
from service.stages.reconstruct import ReconstructStep
from service.stages.spectra import F64, SpectraStep
from service.workflow.step import StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.arrays import filled

NO_PHASE: Final = "the images are absorption alone: the Kramers-Kronig constraint, which needs the phase, is left out"


@dataclass(frozen=True, kw_only=True)
class ImageSpectraStep(SpectraStep):
    """Spectra of images, with the phase and its coupling to the absorption where they are complex objects.

    Parameters
    ----------
    dataset : str
    has_phase : bool
        Whether the images are objects, not absorption alone.
    is_normalised : bool
        Whether I0 is taken out of absorption alone.
    """

    version: ClassVar[int] = 8
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        *SpectraStep.arrays,
        ArraySpec("incident_intensity", ("energy",), F64, "count", "I0 from the empty area"),
    )

    dataset: str
    has_phase: bool
    is_normalised: bool
    states: tuple[StepRef[ReconstructStep], ...] = ()

    def run(self, context: StageContext) -> StepAttributes:
        found, attributes, warnings = self._with_phase(context) if self.has_phase else self._without_phase(context)
        return context.write(found, warnings=warnings, **attributes)

    @property
    def _energy_ev(self) -> NDArray[np.float64]:
        return np.array([scan.energy_ev for scan in self.scans]) + self.align.energy_offset_ev

    def _with_phase(self, context: StageContext) -> tuple[dict[str, NDArray[Any]], StepAttributes, list[str]]:
        from tasks.coupling.outliers import phase_warnings, relation_warnings, shift_warnings
        from tasks.coupling.resolution import image_resolution
        from tasks.coupling.spectra import align

        read = [context.read_image(self.dataset, scan.name) for scan in self.scans]
        context.check_stop()
        objects = [filled(arrays["object"], arrays["seen"]) for arrays in read]
        canvases = [scan.canvas for scan in self.scans]
        seen = [arrays["seen"].astype(np.float32) for arrays in read]
        aligned = align(objects, seen, canvases, self._energy_ev, self.align)
        spectra, _ = impose_on(aligned, self)
        arrays = spectra_arrays(spectra)
        arrays |= image_resolution(aligned.images, spectra.grid, spectra.sample_mask) | stated_errors(read, arrays)
        warnings = shift_warnings(spectra.energy_ev, spectra.shift_px)
        warnings += phase_warnings(spectra.energy_ev, spectra.absorption, spectra.phase, spectra.vacuum_mask)
        warnings += relation_warnings(spectra.kk_measured, spectra.kk_predicted)
        return arrays, kk_attributes(spectra), warnings

    def _without_phase(self, context: StageContext) -> tuple[dict[str, NDArray[Any]], StepAttributes, list[str]]:
        from tasks.coupling.absorption import AbsorptionSpectra, absorption_spectra
        from tasks.coupling.outliers import shift_warnings
        from tasks.coupling.registration import Grid
        from tasks.coupling.resolution import image_resolution

        read = [context.read_image(self.dataset, scan.name) for scan in self.scans]
        context.check_stop()
        spectra = absorption_spectra(
            [np.where(arrays["seen"], arrays["absorption"], np.nan) for arrays in read],
            [scan.canvas for scan in self.scans],
            self._energy_ev,
            self.align,
            is_normalised=self.is_normalised,
        )
        arrays = {one.name: np.asarray(getattr(spectra, one.name)) for one in fields(AbsorptionSpectra)}
        grid = Grid(spectra.y_m, spectra.x_m, float(spectra.y_m[1] - spectra.y_m[0]))
        images = 1 - np.nan_to_num(spectra.absorption)
        arrays |= image_resolution(images, grid, spectra.sample_mask) | stated_errors(read, arrays)
        return arrays, {}, [NO_PHASE, *shift_warnings(spectra.energy_ev, spectra.shift_px)]


def stated_errors(
    read: Sequence[Mapping[str, NDArray[Any]]], found: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.float64]]:
    """Standard errors (E,) by name: those that files state, and those found in the vacuum where they do not.

    A constraint that was imposed before the images were written has lowered the noise of the vacuum too, and says less of
    the errors than the file.
    """
    stated = np.stack([one.get("errors", np.full(2, np.nan)) for one in read])
    names = [name for name in ("sigma_absorption", "sigma_phase") if name in found]
    return {name: np.where(np.isfinite(values), values, found[name]) for name, values in zip(names, stated.T, strict=False)}
