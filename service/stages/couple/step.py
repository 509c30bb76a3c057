"""Coupling of all energies in one step: what each reconstruction takes back from the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.correction import CorrectionStep, gauge_row
from service.stages.reconstruct import ReconstructStep
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from tasks.options.coupling import AlignOptions, KKROptions

if TYPE_CHECKING:
    from tasks.coupling.correction import Correction
    from tasks.coupling.spectra import Aligned, Spectra
    from tasks.scattering import Absorber

COUPLED_PIXEL_S: Final = 3e-6
"""Estimated time that coupling takes for each pixel of each energy's canvas [s]."""


@dataclass(frozen=True, kw_only=True)
class CouplingStep(Step):
    """A step that reads the objects of all energies of one dataset and couples them.

    Parameters
    ----------
    scans : tuple of ScanInput
        In ascending order of energy.
    absorber : Absorber
    formula : str
        Formula of the specimen, whose tables stand in outside the measured window.
    align : AlignOptions
    kkr : KKROptions
    states : tuple of StepRef
        The last round of each energy.
    """

    scans: tuple[ScanInput, ...]
    absorber: Absorber
    formula: str
    align: AlignOptions
    kkr: KKROptions
    states: tuple[StepRef[ReconstructStep], ...]

    @property
    def cost(self) -> float:
        return COUPLED_PIXEL_S * sum(math.prod(scan.canvas.shape) for scan in self.scans)


@dataclass(frozen=True, kw_only=True)
class CoupleStep(CouplingStep, CorrectionStep):
    """The barrier between two rounds: it needs every energy of one round, and the next round of each needs it."""

    version: ClassVar[int] = 6

    def run(self, context: StageContext) -> StepAttributes:
        spectra, corrections = impose_on(align_energies(context, self), self)
        arrays = {f"image{i}": correction.factor for i, correction in enumerate(corrections)}
        arrays["gauge"] = np.stack([gauge_row(correction.gauge) for correction in corrections])
        return context.write(arrays, **kk_attributes(spectra))


def align_energies(context: StageContext, step: CouplingStep) -> Aligned:
    """Objects of all energies on one grid (`tasks.coupling.spectra.align`)."""
    from tasks.coupling.spectra import align

    read = [context.read(state, "object", "dose") for state in step.states]
    context.check_stop()
    return align(
        [arrays["object"] for arrays in read],
        [arrays["dose"] for arrays in read],
        [scan.canvas for scan in step.scans],
        np.array([scan.energy_ev for scan in step.scans]) + step.align.energy_offset_ev,
        step.align,
    )


def impose_on(aligned: Aligned, step: CouplingStep) -> tuple[Spectra, list[Correction]]:
    """Coupled spectra, and the correction that each energy takes back (`tasks.coupling.spectra.impose`)."""
    from tasks.coupling.spectra import impose

    return impose(aligned, [scan.canvas for scan in step.scans], step.absorber, step.formula, step.kkr)


def spectra_arrays(spectra: Spectra) -> dict[str, NDArray[Any]]:
    """The arrays of coupled spectra, by the names under which the stage ``spectra`` stores them."""
    return {one.name: np.asarray(getattr(spectra, one.name)) for one in fields(spectra) if one.name != "kk_slope"}


def kk_attributes(spectra: Spectra) -> StepAttributes:
    """How well the Kramers-Kronig relation holds, over all energies."""
    return {
        "kk_residual_before": float(np.mean(spectra.kk_residual_before)),
        "kk_residual": float(np.mean(spectra.kk_residual)),
        "kk_slope": float(spectra.kk_slope),
    }
