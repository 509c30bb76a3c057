"""What coupling does for each energy: drift against the reference, the final gauge and place, the correction's way back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.couple.step import CORRECTION_ARRAYS, gauge_of, gauge_row
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.options.coupling import AlignOptions

if TYPE_CHECKING:
    from service.stages.couple.exchange import GridStep, SampleStep, ShareStep
    from service.stages.couple.tiles import ConstrainStep
    from service.stages.reconstruct import ReconstructStep
    from tasks.coupling.alignment import EnergyObject, OwnGauge
    from tasks.coupling.registration import Grid

F32, F64, BOOL = ("float32",), ("float64",), ("bool",)
GAUGE: Final = ArraySpec("gauge", ("energy", "term"), F64, "1", "log gain, phase [rad] and slopes [rad/pixel] of each gauge")
SHIFT: Final = ArraySpec("shift_px", ("energy", "axis"), F64, "pixel", "drift of each energy")
REGISTERED_PIXEL_S: Final = 1.6e-6
FLATTENED_PIXEL_S: Final = 0.6e-6
CORRECTED_PIXEL_S: Final = 0.2e-6
"""Estimated times for each pixel of an energy's canvas [s]."""


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
    """Vacuum and gauge that each object shows by itself, and its drift against the reference."""

    part: ClassVar[str] = "-register"
    version: ClassVar[int] = 1
    pixel_s: ClassVar[float] = REGISTERED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        GAUGE,
        SHIFT,
        ArraySpec("vacuum{energy}", ("y", "x"), BOOL, "1", "pixels of one energy's canvas that are empty"),
        ArraySpec("phase", ("y", "x"), F64, "rad", "sum of the phases of these energies, in the place of the reference"),
        ArraySpec("field", ("y", "x"), BOOL, "1", "pixels that all of these energies see"),
    )

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import Registered, own_gauge, register, require_finite

        read = context.read(self.grid)
        grid = grid_of(read)
        reference = Registered(np.zeros(2), read["phase"], read["field"])
        own, found = [], []
        for seen, scan in zip(self.objects(context), self.scans, strict=True):
            require_finite(seen.object, scan.energy_ev)
            own.append(own_gauge(seen, grid, self.align))
            found.append(register(seen, own[-1], reference, grid, self.align))
        arrays: dict[str, NDArray[Any]] = {f"vacuum{i}": one.vacuum for i, one in enumerate(own)}
        arrays["gauge"] = np.stack([gauge_row(one.gauge) for one in own])
        arrays["shift_px"] = np.stack([one.shift_px for one in found])
        arrays["phase"] = np.sum([one.phase for one in found], axis=0)
        arrays["field"] = np.logical_and.reduce([one.field for one in found])
        return context.write(arrays)


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
    version: ClassVar[int] = 1
    pixel_s: ClassVar[float] = FLATTENED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        GAUGE,
        SHIFT,
        ArraySpec("absorption{tile}", ("energy", "y", "x"), F32, "1", "amplitude absorption in a tile and near it"),
        ArraySpec("phase{tile}", ("energy", "y", "x"), F32, "rad", "phase in a tile and near it"),
        ArraySpec("phase", ("y", "x"), F64, "rad", "sum of the phases of these energies"),
        ArraySpec("sigma_absorption", ("energy",), F64, "1", "standard deviation of absorption in vacuum"),
        ArraySpec("sigma_phase", ("energy",), F64, "rad", "standard deviation of phase in vacuum"),
    )

    registered: StepRef[RegisterStep]
    shared: StepRef[ShareStep]
    n_tiles: int

    def run(self, context: StageContext) -> StepAttributes:
        from service.stages.couple.tiles import Tile
        from tasks.coupling.alignment import Shared, flatten
        from tasks.coupling.spectra import rms_in_vacuum

        grid, shared = grid_of(context.read(self.grid, "y_m", "x_m")), Shared(**context.read(self.shared))
        before = context.read(self.registered)
        flat = [
            flatten(seen, self._own(before, i, seen), before["shift_px"][i], shared, grid, self.align)
            for i, seen in enumerate(self.objects(context))
        ]
        absorption, phase = np.stack([one.absorption for one in flat]), np.stack([one.phase for one in flat])
        arrays: dict[str, NDArray[Any]] = {
            "gauge": np.stack([gauge_row(one.gauge) for one in flat]),
            "shift_px": np.stack([one.shift_px for one in flat]),
            "phase": phase.sum(axis=0, dtype=float),
            "sigma_absorption": rms_in_vacuum(absorption, shared.vacuum),
            "sigma_phase": rms_in_vacuum(phase, shared.vacuum),
        }
        for number in range(self.n_tiles):
            near = Tile(number, self.n_tiles, grid.shape[0]).near
            arrays |= {f"absorption{number}": absorption[:, near], f"phase{number}": phase[:, near]}
        return context.write(arrays)

    def _own(self, before: dict[str, NDArray[Any]], index: int, seen: EnergyObject) -> OwnGauge:
        from tasks.coupling.alignment import OwnGauge
        from tasks.gauge import field_of_view

        return OwnGauge(field_of_view(seen.dose), before[f"vacuum{index}"], gauge_of(before["gauge"][index]))


@dataclass(frozen=True, kw_only=True)
class CorrectStep(Step):
    """What the reconstructions of some energies take back from the others, each on its own canvas.

    Parameters
    ----------
    scans : tuple of ScanInput
    gamma : float
        Share of the constraint's change that is taken.
    group : int
        Number of these energies' group in the tiles.
    grid, flat, sample : StepRef
    tiles : tuple of StepRef
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-correct"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = CORRECTION_ARRAYS

    scans: tuple[ScanInput, ...]
    gamma: float
    group: int
    grid: StepRef[GridStep]
    flat: StepRef[FlattenStep]
    sample: StepRef[SampleStep]
    tiles: tuple[StepRef[ConstrainStep], ...]

    @property
    def cost(self) -> float:
        return CORRECTED_PIXEL_S * sum(math.prod(scan.canvas.shape) for scan in self.scans)

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.projection import Pair
        from tasks.coupling.spectra import changes, correction_factor, sample_edge

        grid, read = grid_of(context.read(self.grid, "y_m", "x_m")), context.read(self.flat)
        edge = sample_edge(context.read(self.sample, "sample")["sample"])
        before = joined_tiles(read, len(self.tiles), grid.shape[0])
        after = [context.read(tile, f"absorption{self.group}", f"phase{self.group}") for tile in self.tiles]
        kept = Pair(*(np.concatenate([one[f"{name}{self.group}"] for one in after], axis=1) for name in ("absorption", "phase")))
        arrays: dict[str, NDArray[Any]] = {"gauge": read["gauge"]}
        for i, (change, scan) in enumerate(zip(changes(before, kept, self.gamma), self.scans, strict=True)):
            gauge = gauge_of(read["gauge"][i])
            arrays[f"image{i}"] = correction_factor(change * edge, grid, scan.canvas, read["shift_px"][i], gauge)
        return context.write(arrays)


@dataclass(frozen=True, kw_only=True)
class CorrelateStep(Step):
    """Fourier ring correlation of some energies with the next one each, before the last constraint, which shares their noise.

    Parameters
    ----------
    n_pixels : int
        Largest side of a frame, which gives the axis of frequencies.
    grid, sample : StepRef
    flat : tuple of StepRef
        These energies, and the group after them where there is one.
    n_tiles : int
    """

    stage: ClassVar[str] = "couple"
    part: ClassVar[str] = "-correlate"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("frc", ("pair", "frequency"), F32, "1", "Fourier ring correlation with the next energy"),
    )

    n_pixels: int
    grid: StepRef[GridStep]
    sample: StepRef[SampleStep]
    flat: tuple[StepRef[FlattenStep], ...]
    n_tiles: int

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.alignment import as_object
        from tasks.coupling.resolution import Rings
        from tasks.ptycho.resolution import neighbour_frc

        grid, sample = grid_of(context.read(self.grid, "y_m", "x_m")), context.read(self.sample, "sample")["sample"]
        pairs = [joined_tiles(context.read(step), self.n_tiles, grid.shape[0]) for step in self.flat]
        images = [as_object(pair.absorption[i], pair.phase[i]) for pair in pairs[:1] for i in range(len(pair.phase))]
        images += [as_object(pair.absorption[0], pair.phase[0]) for pair in pairs[1:]]
        rings = Rings.of(sample, self.n_pixels, grid)
        return context.write({"frc": neighbour_frc(np.stack(images), rings.window, grid.pixel_size_m, rings.frequency_per_m)})


def joined_tiles(flat: dict[str, NDArray[Any]], n_tiles: int, n_rows: int) -> Any:
    """Absorption and phase of a `FlattenStep` as a whole, `tasks.coupling.projection.Pair` of (E, Y, X) arrays."""
    from service.stages.couple.tiles import Tile
    from tasks.coupling.projection import Pair

    tiles = [Tile(number, n_tiles, n_rows) for number in range(n_tiles)]
    return Pair(
        *(
            np.concatenate([flat[f"{name}{tile.number}"][:, tile.inner] for tile in tiles], axis=1)
            for name in ("absorption", "phase")
        )
    )


def grid_of(read: dict[str, NDArray[Any]]) -> Grid:
    """The grid whose axes a step has stored."""
    from tasks.coupling.registration import Grid

    return Grid(read["y_m"], read["x_m"], float(read["y_m"][1] - read["y_m"][0]))
