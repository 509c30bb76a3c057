"""Coupling of all energies between two rounds: what each reconstruction takes back from the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from service.stages.context import StageContext
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.options import AlignOptions, KKROptions

if TYPE_CHECKING:
    from service.stages.reconstruct import ReconstructStep
    from tasks.coupling.correction import Correction
    from tasks.coupling.spectra import Spectra
    from tasks.scattering import Absorber

COUPLED_PIXEL_S: Final = 1e-6
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
class CoupleStep(CouplingStep):
    """The barrier between two rounds: it needs every energy of one round, and the next round of each needs it."""

    stage: ClassVar[str] = "couple"
    version: ClassVar[int] = 3
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("image{energy}", ("y", "x"), ("complex64",), "1", "factor on the object of one energy, on its own canvas"),
        ArraySpec("gauge", ("energy", "term"), ("float64",), "1", "log gain, phase [rad] and slopes [rad/pixel] of each gauge"),
    )

    def run(self, context: StageContext) -> StepAttributes:
        spectra, corrections = couple_energies(context, self)
        arrays = {f"image{i}": correction.image for i, correction in enumerate(corrections)}
        gauges = [correction.gauge for correction in corrections]
        arrays["gauge"] = np.array([[gauge.log_gain, gauge.phase_rad, *gauge.slope_rad_px] for gauge in gauges])
        return context.write(arrays, **kk_attributes(spectra))


def couple_energies(context: StageContext, step: CouplingStep) -> tuple[Spectra, list[Correction]]:
    """Coupled spectra, and the correction that each energy takes back (`tasks.coupling.spectra.couple`)."""
    from tasks.coupling.spectra import couple

    read = [context.read(state, "object", "dose") for state in step.states]
    context.check_stop()
    return couple(
        [arrays["object"] for arrays in read],
        [arrays["dose"] for arrays in read],
        [scan.canvas for scan in step.scans],
        np.array([scan.energy_ev for scan in step.scans]) + step.align.energy_offset_ev,
        step.absorber,
        step.formula,
        step.align,
        step.kkr,
    )


def read_correction(context: StageContext, step: StepRef[CoupleStep], index: int) -> Correction:
    """The correction of the energy at ``index`` among those coupled."""
    from tasks.coupling.correction import Correction
    from tasks.gauge import Gauge

    arrays = context.read(step, f"image{index}", "gauge")
    log_gain, phase_rad, slope_y, slope_x = (float(value) for value in arrays["gauge"][index])
    return Correction(arrays[f"image{index}"], Gauge(log_gain, phase_rad, (slope_y, slope_x)))


def kk_attributes(spectra: Spectra) -> StepAttributes:
    """How well the Kramers-Kronig relation holds, over all energies."""
    return {
        "kk_residual_before": float(np.mean(spectra.kk_residual_before)),
        "kk_residual": float(np.mean(spectra.kk_residual)),
        "kk_slope": float(spectra.kk_slope),
    }
