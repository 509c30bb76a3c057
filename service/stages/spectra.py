"""Absorption and phase spectra of one dataset: all energies on one grid and in one gauge, coupled a last time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.couple import CouplingStep, couple_energies, kk_attributes
from service.workflow.step import StepAttributes
from storage.layout import ArraySpec
from tasks.arrays import pad

F32, F64 = ("float32",), ("float64",)


@dataclass(frozen=True, kw_only=True)
class SpectraStep(CouplingStep):
    """Spectra of one dataset, their resolution, and warnings of the energies that stand out."""

    stage: ClassVar[str] = "spectra"
    version: ClassVar[int] = 6
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("energy_ev", ("energy",), F64, "eV", "photon energy, as calibrated"),
        ArraySpec("y_m", ("y",), F64, "m", "position down"),
        ArraySpec("x_m", ("x",), F64, "m", "position right"),
        ArraySpec("absorption", ("energy", "y", "x"), F32, "1", "amplitude absorption A = -ln|O|"),
        ArraySpec("phase", ("energy", "y", "x"), F32, "rad", "phase of O"),
        ArraySpec("vacuum_mask", ("y", "x"), ("bool",), "1", "pixels known to be empty"),
        ArraySpec("sample_mask", ("y", "x"), ("bool",), "1", "pixels of the specimen"),
        ArraySpec("shift_px", ("energy", "axis"), F64, "pixel", "drift that was removed"),
        ArraySpec("kk_residual", ("energy",), F64, "1", "Kramers-Kronig residual [electrons per absorber], after"),
        ArraySpec("kk_residual_before", ("energy",), F64, "1", "Kramers-Kronig residual [electrons per absorber], before"),
        ArraySpec("kk_measured", ("energy",), F64, "1", "g' - T c before the constraint, mean [electrons per absorber]"),
        ArraySpec("kk_predicted", ("energy",), F64, "1", "K g'' before the constraint, mean [electrons per absorber]"),
        ArraySpec("sigma_absorption", ("energy",), F64, "1", "standard deviation of absorption in vacuum"),
        ArraySpec("sigma_phase", ("energy",), F64, "rad", "standard deviation of phase in vacuum"),
        ArraySpec("probe", ("energy", "mode", "v", "u"), ("complex64",), "1", "probe [square root of counts]"),
        ArraySpec("frequency_per_m", ("frequency",), F64, "m-1", "spatial frequency"),
        ArraySpec("prtf", ("energy", "frequency"), F32, "1", "phase retrieval transfer function"),
        ArraySpec("frc", ("energy", "frequency"), F32, "1", "Fourier ring correlation with the next energy"),
        ArraySpec("half_bit", ("frequency",), F32, "1", "half-bit threshold of the ring correlation"),
        ArraySpec("resolution_m", ("energy",), F64, "m", "full period at which the ring correlation meets half a bit"),
        ArraySpec("prtf_resolution_m", ("energy",), F64, "m", "full period at which the transfer function falls to 1/e"),
    )

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.outliers import coupling_warnings
        from tasks.coupling.resolution import spectrum_resolution
        from tasks.coupling.spectra import Spectra

        spectra, corrections = couple_energies(context, self)
        gauges = [correction.gauge for correction in corrections]
        read = [context.read(state, "probe", "prtf", "errors") for state in self.states]
        arrays: dict[str, NDArray[Any]] = {
            one.name: np.asarray(getattr(spectra, one.name)) for one in fields(Spectra) if one.name != "kk_slope"
        }
        arrays["probe"] = pad([gauge.onto_probe(state["probe"]) for gauge, state in zip(gauges, read, strict=True)], 0)
        arrays |= spectrum_resolution(
            spectra,
            (context.read(state, "object")["object"] for state in self.states),
            gauges,
            [scan.canvas for scan in self.scans],
            [state["prtf"] for state in read],
            [scan.n_pixels for scan in self.scans],
        )
        r_factor = np.array([state["errors"][-1] for state in read])
        noise = np.array([context.attributes(state)["noise_error"] for state in self.states], float)
        warnings = coupling_warnings(spectra.energy_ev, r_factor, noise, spectra.kk_residual, spectra.shift_px)
        return context.write(arrays, warnings=warnings, **kk_attributes(spectra))
