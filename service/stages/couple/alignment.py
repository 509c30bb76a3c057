"""Coupling in parts, its first half: all energies come to one grid, one gauge and one place, and the specimen is found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.correction import GAUGE, gauge_of, gauge_row
from service.stages.couple.tile import Tile, joined
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import read_field_box
from service.workflow.inputs import ScanInput
from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.options.coupling import AlignOptions

if TYPE_CHECKING:
    from tasks.coupling.alignment import EnergyObject
    from tasks.coupling.registration import Grid

F32, F64, BOOL = ("float32",), ("float64",), ("bool",)
SHIFT: Final = ArraySpec("shift_px", ("energy", "axis"), F64, "pixel", "drift of each energy")
REGISTERED_PIXEL_S: Final = 1.6e-6
FLATTENED_PIXEL_S: Final = 0.6e-6
"""Estimated times for each pixel of an energy's canvas [s]."""


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
        ArraySpec("phase", ("y", "x"), F64, "rad", "phase of the fixed energy"),
        ArraySpec("field", ("y", "x"), BOOL, "1", "pixels that the fixed energy sees"),
    )

    scans: tuple[ScanInput, ...]
    align: AlignOptions
    states: tuple[StepRef[ReconstructStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import EnergyObject, own_gauge, register_fixed, require_finite
        from tasks.coupling.fixed_energy import fixed_index
        from tasks.coupling.registration import common_grid
        from tasks.coupling.spectra import concerning

        canvases = [scan.canvas for scan in self.scans]
        grid = common_grid(canvases, [read_field_box(context.artifacts, state.key) for state in self.states])
        middle = fixed_index(len(self.states))
        fixed_ev = self.scans[middle].energy_ev
        seen = EnergyObject(**context.read(self.states[middle], "object", "dose"), canvas=canvases[middle])
        with concerning(fixed_ev):
            require_finite(seen.object, fixed_ev)
            own = own_gauge(seen, grid, self.align)
        fixed = register_fixed(seen, own, grid, fixed_ev)
        return context.write({"y_m": grid.y_m, "x_m": grid.x_m, "phase": fixed.phase, "field": fixed.field})


@dataclass(frozen=True, kw_only=True)
class EnergiesStep(Step):
    """A part of the coupling that concerns some energies, one as a rule, more where they are small.

    Parameters
    ----------
    scans : tuple of ScanInput
    align : AlignOptions
    states : tuple of StepRef
        The last round of each of these energies.
    grid : StepRef
    """

    stage: ClassVar[str] = "couple"
    pixel_s: ClassVar[float]

    scans: tuple[ScanInput, ...]
    align: AlignOptions
    states: tuple[StepRef[ReconstructStep], ...]
    grid: StepRef[GridStep]

    @property
    def cost(self) -> float:
        return self.pixel_s * sum(math.prod(scan.canvas.shape) for scan in self.scans)

    @property
    def energy_ev(self) -> float | None:
        return self.scans[0].energy_ev if len(self.scans) == 1 else None

    def objects(self, context: StageContext) -> Iterator[EnergyObject]:
        """The objects of these energies, one after another; the step may be cancelled before each."""
        from tasks.coupling.alignment import EnergyObject

        for state, scan in zip(self.states, self.scans, strict=True):
            context.check_stop()
            yield EnergyObject(**context.read(state, "object", "dose"), canvas=scan.canvas)


@dataclass(frozen=True, kw_only=True)
class RegisterStep(EnergiesStep):
    """The gauge that each object shows by itself, and its drift against the fixed energy.

    Parameters
    ----------
    fixed_ev : float
        The energy that the others are registered against [eV].
    """

    part: ClassVar[str] = "-register"
    version: ClassVar[int] = 3
    pixel_s: ClassVar[float] = REGISTERED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        GAUGE,
        SHIFT,
        ArraySpec("phase", ("y", "x"), F64, "rad", "sum of the phases of these energies, in its place"),
        ArraySpec("field", ("y", "x"), BOOL, "1", "pixels that all of these energies see"),
    )

    fixed_ev: float = field(metadata=NOT_IN_KEY)

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import own_gauge, register, require_finite
        from tasks.coupling.fixed_energy import FixedEnergy
        from tasks.coupling.spectra import concerning

        read = context.read(self.grid)
        grid = grid_of(read)
        fixed = FixedEnergy(self.fixed_ev, read["phase"], read["field"])
        gauges, found = [], []
        for seen, scan in zip(self.objects(context), self.scans, strict=True):
            with concerning(scan.energy_ev):
                require_finite(seen.object, scan.energy_ev)
                own = own_gauge(seen, grid, self.align)
                found.append(register(seen, own, fixed, grid, self.align))
            gauges.append(gauge_row(own.gauge))
        arrays: dict[str, NDArray[Any]] = {
            "gauge": np.stack(gauges),
            "shift_px": np.stack([one.shift_px for one in found]),
            "phase": np.sum([one.phase for one in found], axis=0),
            "field": np.logical_and.reduce([one.field for one in found]),
        }
        return context.write(arrays)


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
        ArraySpec("offset_px", ("axis",), F64, "pixel", "mean drift of all energies against the fixed one"),
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
        return context.write(asdict(share(shifts_px, phase / len(shifts_px), field, grid, self.align)))


@dataclass(frozen=True, kw_only=True)
class FlattenStep(EnergiesStep):
    """Absorption and phase of each energy on the common grid, in their final gauge and place, by tiles of rows.

    Parameters
    ----------
    registered : StepRef
        Of the same energies.
    shared : StepRef
    n_tiles : int
    """

    part: ClassVar[str] = "-flatten"
    version: ClassVar[int] = 3
    pixel_s: ClassVar[float] = FLATTENED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        GAUGE,
        SHIFT,
        ArraySpec("absorption{tile}", ("energy", "y", "x"), F32, "1", "amplitude absorption in a tile and near it"),
        ArraySpec("phase{tile}", ("energy", "y", "x"), F32, "rad", "phase in a tile and near it"),
        ArraySpec("sigma_absorption", ("energy",), F64, "1", "standard deviation of absorption in vacuum"),
        ArraySpec("sigma_phase", ("energy",), F64, "rad", "standard deviation of phase in vacuum"),
    )

    registered: StepRef[RegisterStep]
    shared: StepRef[ShareStep]
    n_tiles: int

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import Shared, flatten
        from tasks.coupling.spectra import concerning, rms_in_vacuum

        grid, shared = grid_of(context.read(self.grid, "y_m", "x_m")), Shared(**context.read(self.shared))
        before = context.read(self.registered, "gauge", "shift_px")
        flat = []
        for i, seen in enumerate(self.objects(context)):
            with concerning(self.scans[i].energy_ev):
                flat.append(flatten(seen, gauge_of(before["gauge"][i]), before["shift_px"][i], shared, grid, self.align))
        absorption, phase = np.stack([one.absorption for one in flat]), np.stack([one.phase for one in flat])
        arrays: dict[str, NDArray[Any]] = {
            "gauge": np.stack([gauge_row(one.gauge) for one in flat]),
            "shift_px": np.stack([one.shift_px for one in flat]),
            "sigma_absorption": rms_in_vacuum(absorption, shared.vacuum),
            "sigma_phase": rms_in_vacuum(phase, shared.vacuum),
        }
        for number in range(self.n_tiles):
            near = Tile(number, self.n_tiles, grid.shape[0]).near
            arrays |= {f"absorption{number}": absorption[:, near], f"phase{number}": phase[:, near]}
        return context.write(arrays)


@dataclass(frozen=True, kw_only=True)
class SampleStep(Step):
    """Where the specimen is, and the drift of every energy.

    Parameters
    ----------
    energies : tuple of float
        All energies [eV], as measured.
    shared : StepRef
    flat : tuple of StepRef
        All energies, in order.
    n_tiles : int
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-sample"
    version: ClassVar[int] = 2
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("sample", ("y", "x"), BOOL, "1", "pixels of the specimen"),
        SHIFT,
    )

    energies: tuple[float, ...] = field(metadata=NOT_IN_KEY)
    shared: StepRef[ShareStep]
    flat: tuple[StepRef[FlattenStep], ...]
    n_tiles: int

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import find_sample
        from tasks.coupling.outliers import noisiest
        from tasks.errors import VacuumError

        shared = context.read(self.shared, "field", "vacuum")
        shifts, phase = [], np.zeros(shared["field"].shape)
        names = [f"phase{number}" for number in range(self.n_tiles)]
        for step in self.flat:
            read = context.read(step, "shift_px", *names)
            shifts.append(read["shift_px"])
            phase += joined(read, "phase", self.n_tiles, len(phase)).sum(axis=0, dtype=float)
        shift_px = np.concatenate(shifts)
        try:
            sample = find_sample(phase / len(shift_px), **shared)
        except VacuumError as error:
            noise = np.concatenate([context.read(step, "sigma_phase")["sigma_phase"] for step in self.flat])
            raise VacuumError(f"{error}{noisiest(self.energies, noise)}") from error
        return context.write({"sample": sample, "shift_px": shift_px})


def grid_of(read: dict[str, NDArray[Any]]) -> Grid:
    """The grid whose axes a step has stored."""
    from tasks.coupling.registration import Grid

    return Grid(read["y_m"], read["x_m"], float(read["y_m"][1] - read["y_m"][0]))
