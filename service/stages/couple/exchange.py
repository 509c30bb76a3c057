"""What all energies of one dataset exchange while they are coupled: the grid, their mean, the specimen, the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from service.stages.context import StageContext
from service.stages.couple.energies import SHIFT, grid_of
from service.stages.scans import read_field_box
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.options.coupling import AlignOptions

if TYPE_CHECKING:
    from service.stages.couple.energies import FlattenStep, RegisterStep
    from service.stages.couple.tiles import AssessStep
    from service.stages.reconstruct import ReconstructStep
    from tasks.scattering import Absorber

F64, BOOL = ("float64",), ("bool",)


@dataclass(frozen=True, kw_only=True)
class GridStep(Step):
    """The grid of all energies, and the phase of the one that the others are registered against.

    Parameters
    ----------
    scans : tuple of ScanInput
        In ascending order of energy.
    align : AlignOptions
    states : tuple of StepRef
        The last round of each energy.
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-grid"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("y_m", ("y",), F64, "m", "position down"),
        ArraySpec("x_m", ("x",), F64, "m", "position right"),
        ArraySpec("phase", ("y", "x"), F64, "rad", "phase of the reference"),
        ArraySpec("field", ("y", "x"), BOOL, "1", "pixels that the reference sees"),
    )

    scans: tuple[ScanInput, ...]
    align: AlignOptions
    states: tuple[StepRef[ReconstructStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import EnergyObject, own_gauge, reference_index, register_reference, require_finite
        from tasks.coupling.registration import common_grid

        canvases = [scan.canvas for scan in self.scans]
        grid = common_grid(canvases, [read_field_box(context.artifacts, state.key) for state in self.states])
        middle = reference_index(len(self.states))
        seen = EnergyObject(**context.read(self.states[middle], "object", "dose"), canvas=canvases[middle])
        require_finite(seen.object, self.scans[middle].energy_ev)
        reference = register_reference(seen, own_gauge(seen, grid, self.align), grid)
        return context.write({"y_m": grid.y_m, "x_m": grid.x_m, "phase": reference.phase, "field": reference.field})


@dataclass(frozen=True, kw_only=True)
class ShareStep(Step):
    """The mean of all energies in the mean place of the specimen, the field that all see, and where it is empty.

    Parameters
    ----------
    align : AlignOptions
    grid : StepRef
    registered : tuple of StepRef
        All energies, in order.
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-share"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("offset_px", ("axis",), F64, "pixel", "mean drift of all energies against the reference"),
        ArraySpec("phase", ("y", "x"), F64, "rad", "mean phase of all energies"),
        ArraySpec("field", ("y", "x"), BOOL, "1", "pixels that all energies see"),
        ArraySpec("vacuum", ("y", "x"), BOOL, "1", "pixels known to be empty"),
    )

    align: AlignOptions
    grid: StepRef[GridStep]
    registered: tuple[StepRef[RegisterStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import share

        grid = grid_of(context.read(self.grid, "y_m", "x_m"))
        shifts, fields, phase = [], [], np.zeros(grid.shape)
        for step in self.registered:
            read = context.read(step, "shift_px", "phase", "field")
            shifts.append(read["shift_px"])
            fields.append(read["field"])
            phase += read["phase"]
        shifts_px = np.concatenate(shifts)
        field = np.asarray(np.logical_and.reduce(fields))
        return context.write(dict(vars(share(shifts_px, phase / len(shifts_px), field, grid, self.align))))


@dataclass(frozen=True, kw_only=True)
class SampleStep(Step):
    """Where the specimen is, and the drift of every energy.

    Parameters
    ----------
    shared : StepRef
    flat : tuple of StepRef
        All energies, in order.
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-sample"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("sample", ("y", "x"), BOOL, "1", "pixels of the specimen"),
        SHIFT,
    )

    shared: StepRef[ShareStep]
    flat: tuple[StepRef[FlattenStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import find_sample

        shared = context.read(self.shared, "field", "vacuum")
        shifts, phase = [], np.zeros(shared["field"].shape)
        for step in self.flat:
            read = context.read(step, "shift_px", "phase")
            shifts.append(read["shift_px"])
            phase += read["phase"]
        shift_px = np.concatenate(shifts)
        return context.write({"sample": find_sample(phase / len(shift_px), **shared), "shift_px": shift_px})


@dataclass(frozen=True, kw_only=True)
class WeightsStep(Step):
    """How far absorption and phase are each to be trusted, by band of spatial frequencies, from the moments of all tiles.

    Parameters
    ----------
    energies : tuple of float
        All energies [eV], as calibrated.
    absorber : Absorber
    formula : str
        Formula of the specimen, whose tables stand in outside the measured window.
    tiles : tuple of StepRef
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-weights"
    version: ClassVar[int] = 2
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("noise", ("band", "part"), F64, "m-2", "standard errors of g'' and g', low spatial frequencies first"),
        ArraySpec("residual", ("energy",), F64, "1", "Kramers-Kronig residual [electrons per absorber], before"),
        ArraySpec("measured", ("energy",), F64, "1", "g' - T c before the constraint, mean [electrons per absorber]"),
        ArraySpec("predicted", ("energy",), F64, "1", "K g'' before the constraint, mean [electrons per absorber]"),
        ArraySpec("density", (), F64, "m-2", "rms projected density of the absorber"),
    )

    energies: tuple[float, ...]
    absorber: Absorber
    formula: str
    tiles: tuple[StepRef[AssessStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling import kkr
        from tasks.coupling.projection import Moments, assess

        energy_ev = np.array(self.energies)
        K, T = kkr.window_matrix(energy_ev), kkr.outside_columns(energy_ev, self.absorber, self.formula)
        read = [context.read(tile) for tile in self.tiles]
        products, sums = (np.sum([one[name] for one in read], axis=0) for name in ("products", "sums"))
        moments = Moments(sum(int(one["n_pixels"]) for one in read), products, sums)
        found = assess(moments, energy_ev, K, T, self.absorber)
        noise = np.array([[band.absorption, band.phase] for band in found.noise])
        arrays = {name: getattr(found, name) for name in ("residual", "measured", "predicted")}
        arrays |= {"noise": noise, "density": np.array(found.density)}
        return context.write(arrays, kk_residual_before=float(found.residual.mean()), kk_slope=found.slope)
