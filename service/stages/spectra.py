"""Absorption and phase spectra of one dataset: all energies on one grid and in one gauge, coupled a last time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.correction import gauge_of
from service.stages.couple.alignment import FlattenStep, GridStep, SampleStep, ShareStep, grid_of
from service.stages.couple.outcome import CorrelateStep
from service.stages.couple.projection import ConstrainStep, WeightsStep
from service.stages.couple.step import CouplingStep, align_energies, impose_on, kk_attributes, spectra_arrays
from service.workflow.step import StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.arrays import pad

if TYPE_CHECKING:
    from tasks.gauge import Gauge

F32, F64 = ("float32",), ("float64",)
JOINED_PIXEL_S: Final = 0.1e-6
"""Estimated time that joining takes for each pixel of each energy's canvas [s]."""


@dataclass(frozen=True, kw_only=True)
class SpectraStep(CouplingStep):
    """Spectra of one dataset, their resolution, and warnings of the energies that stand out."""

    stage: ClassVar[str] = "spectra"
    version: ClassVar[int] = 9
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
        from tasks.coupling.resolution import spectrum_resolution

        aligned = align_energies(context, self)
        spectra, corrections = impose_on(aligned, self)
        gauges = [correction.gauge for correction in corrections]
        read = self._read_states(context)
        arrays = spectra_arrays(spectra)
        canvases, n_pixels = [scan.canvas for scan in self.scans], [scan.n_pixels for scan in self.scans]
        arrays |= spectrum_resolution(aligned, canvases, [state["prtf"] for state in read], n_pixels)
        return self._write(context, arrays, gauges, read, kk_attributes(spectra))

    def _read_states(self, context: StageContext) -> list[dict[str, NDArray[Any]]]:
        return [context.read(state, "probe", "prtf", "errors") for state in self.states]

    def _write(
        self,
        context: StageContext,
        arrays: dict[str, NDArray[Any]],
        gauges: Sequence[Gauge],
        states: Sequence[dict[str, NDArray[Any]]],
        attributes: StepAttributes,
    ) -> StepAttributes:
        """Store the spectra, with the probes in the common gauge and warnings of energies that stand out."""
        from tasks.coupling.outliers import coupling_warnings, phase_warnings, relation_warnings

        arrays["probe"] = pad([gauge.onto_probe(state["probe"]) for gauge, state in zip(gauges, states, strict=True)], 0)
        r_factor = np.array([state["errors"][-1] for state in states])
        noise = np.array([context.attributes(state)["noise_error"] for state in self.states], float)
        warnings = coupling_warnings(arrays["energy_ev"], r_factor, noise, arrays["kk_residual"], arrays["shift_px"])
        warnings += phase_warnings(arrays["energy_ev"], arrays["absorption"], arrays["phase"], arrays["vacuum_mask"])
        warnings += relation_warnings(arrays["kk_measured"], arrays["kk_predicted"])
        return context.write(arrays, warnings=warnings, **attributes)


@dataclass(frozen=True, kw_only=True)
class JoinSpectraStep(SpectraStep):
    """Spectra of one dataset whose coupling was split into parts, put together.

    Parameters
    ----------
    grid, shared, sample, weights : StepRef
    flat, correlated : tuple of StepRef
        One a group of energies.
    tiles : tuple of StepRef
    """

    version: ClassVar[int] = 2

    grid: StepRef[GridStep]
    shared: StepRef[ShareStep]
    sample: StepRef[SampleStep]
    weights: StepRef[WeightsStep]
    flat: tuple[StepRef[FlattenStep], ...]
    tiles: tuple[StepRef[ConstrainStep], ...]
    correlated: tuple[StepRef[CorrelateStep], ...]

    @property
    def cost(self) -> float:
        return JOINED_PIXEL_S * sum(math.prod(scan.canvas.shape) for scan in self.scans)

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.resolution import Rings, transfers

        grid, shared = context.read(self.grid, "y_m", "x_m"), context.read(self.shared, "field", "vacuum")
        sample = context.read(self.sample)
        arrays: dict[str, NDArray[Any]] = {
            "energy_ev": np.array([scan.energy_ev for scan in self.scans]) + self.align.energy_offset_ev,
            **grid,
            **self._images(context, shared["field"]),
            "vacuum_mask": shared["vacuum"],
            "sample_mask": sample["sample"],
            "shift_px": sample["shift_px"],
            **self._residuals(context, int(np.count_nonzero(sample["sample"]))),
        }
        flat = [context.read(step, "gauge", "sigma_absorption", "sigma_phase") for step in self.flat]
        arrays |= {name: np.concatenate([one[name] for one in flat]) for name in ("sigma_absorption", "sigma_phase")}
        gauges = [gauge_of(row) for one in flat for row in one["gauge"]]
        states, n_pixels = self._read_states(context), [scan.n_pixels for scan in self.scans]
        rings = Rings.of(sample["sample"], max(n_pixels), grid_of(grid))
        arrays |= rings.correlations(np.concatenate([context.read(step)["frc"] for step in self.correlated]))
        canvases = [scan.canvas for scan in self.scans]
        arrays |= transfers(rings.frequency_per_m, [state["prtf"] for state in states], n_pixels, canvases)
        attributes = {**context.attributes(self.weights), "kk_residual": float(arrays["kk_residual"].mean())}
        held = {name: attributes[name] for name in ("kk_residual_before", "kk_residual", "kk_slope")}
        return self._write(context, arrays, gauges, states, held)

    def _images(self, context: StageContext, field: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Absorption and phase of all energies, NaN outside the field, from every group of every tile."""
        found = {}
        for name in ("absorption", "phase"):
            images = np.empty((len(self.scans), *field.shape), np.float32)
            row = 0
            for tile in self.tiles:
                groups = context.read(tile, *(f"{name}{number}" for number in range(len(self.flat)))).values()
                n_rows = next(iter(groups)).shape[1]
                np.concatenate(list(groups), out=images[:, row : row + n_rows])
                row += n_rows
            np.copyto(images, np.nan, where=~field)
            found[name] = images
        return found

    def _residuals(self, context: StageContext, n_pixels: int) -> dict[str, NDArray[Any]]:
        """What the Kramers-Kronig relation says of the specimen [electrons per absorber], by the names of the spectra."""
        read = context.read(self.weights)
        left = np.sum([context.read(tile, "left")["left"] for tile in self.tiles], axis=0)
        after = np.sqrt(left / max(n_pixels, 1)) / float(read["density"])
        before = {"kk_residual_before": "residual", "kk_measured": "measured", "kk_predicted": "predicted"}
        return {name: read[stored] for name, stored in before.items()} | {"kk_residual": after}
