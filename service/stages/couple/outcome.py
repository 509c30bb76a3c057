"""Coupling in parts, its end: what each energy takes back, and how far neighbouring energies agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.correction import CorrectionStep, gauge_of
from service.stages.couple.alignment import F32, FlattenStep, GridStep, SampleStep, grid_of
from service.stages.couple.projection import ConstrainStep
from service.stages.couple.tile import joined
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec

if TYPE_CHECKING:
    from tasks.coupling.projection import Pair

CORRECTED_PIXEL_S: Final = 0.2e-6
"""Estimated time for each pixel of an energy's canvas [s]."""


@dataclass(frozen=True, kw_only=True)
class CorrectStep(CorrectionStep):
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

    part: ClassVar[str] = "-correct"
    version: ClassVar[int] = 1

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
        before = joined_pair(read, len(self.tiles), grid.shape[0])
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
        from tasks.coupling.resolution import Rings
        from tasks.coupling.spectra import as_object
        from tasks.ptycho.resolution import neighbour_frc

        grid, sample = grid_of(context.read(self.grid, "y_m", "x_m")), context.read(self.sample, "sample")["sample"]
        pairs = [joined_pair(context.read(step), self.n_tiles, grid.shape[0]) for step in self.flat]
        images = [as_object(pair.absorption[i], pair.phase[i]) for pair in pairs[:1] for i in range(len(pair.phase))]
        images += [as_object(pair.absorption[0], pair.phase[0]) for pair in pairs[1:]]
        rings = Rings.of(sample, self.n_pixels, grid)
        return context.write({"frc": neighbour_frc(np.stack(images), rings.window, grid.pixel_size_m, rings.frequency_per_m)})


def joined_pair(flat: dict[str, NDArray[Any]], n_tiles: int, n_rows: int) -> Pair:
    """Absorption and phase of a `FlattenStep` as a whole, (E, Y, X) arrays."""
    from tasks.coupling.projection import Pair

    return Pair(*(joined(flat, name, n_tiles, n_rows) for name in ("absorption", "phase")))
