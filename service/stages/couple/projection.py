"""Coupling in parts, its second half: the pixels of each tile of rows are projected onto Kramers-Kronig pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.couple.alignment import F32, F64, FlattenStep, SampleStep, ShareStep
from service.stages.couple.tile import Tile
from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef
from storage.layout import ArraySpec

if TYPE_CHECKING:
    from tasks.coupling.projection import Pair
    from tasks.scattering import Absorber

ASSESSED_PIXEL_S: Final = 0.25e-6
CONSTRAINED_PIXEL_S: Final = 0.15e-6
"""Estimated times for each pixel of each energy [s]."""


@dataclass(frozen=True, kw_only=True)
class TileStep(Step):
    """A part of the coupling that concerns all energies at the pixels of one tile of rows.

    Parameters
    ----------
    energies : tuple of float
        All energies [eV], as calibrated.
    tile, n_tiles : int
    shared, sample : StepRef
    flat : tuple of StepRef
        All energies, in order.
    canvas_shape : tuple of int
        Shape of a canvas, from which the cost is estimated.
    """

    stage: ClassVar[str] = "couple"
    pixel_s: ClassVar[float]

    energies: tuple[float, ...]
    tile: int
    n_tiles: int
    shared: StepRef[ShareStep]
    sample: StepRef[SampleStep]
    flat: tuple[StepRef[FlattenStep], ...]
    canvas_shape: tuple[int, int] = field(metadata=NOT_IN_KEY)

    @property
    def cost(self) -> float:
        return self.pixel_s * len(self.energies) * math.prod(self.canvas_shape) / self.n_tiles

    def read_near(self, context: StageContext) -> tuple[Pair, Tile, NDArray[np.bool_], NDArray[np.bool_]]:
        """Pixels in the tile and near it, the tile, the field there, and the specimen in the tile alone."""
        from tasks.coupling.projection import Pair

        names = f"absorption{self.tile}", f"phase{self.tile}"
        read = [context.read(step, *names) for step in self.flat]
        context.check_stop()
        field_, sample = context.read(self.shared, "field")["field"], context.read(self.sample, "sample")["sample"]
        tile = Tile(self.tile, self.n_tiles, field_.shape[0])
        own = np.zeros_like(sample[tile.near])
        own[tile.inner] = sample[tile.rows]
        pair = Pair(*(np.concatenate([one[name] for one in read]).astype(float) for name in names))
        return pair, tile, field_[tile.near], own


@dataclass(frozen=True, kw_only=True)
class AssessStep(TileStep):
    """Second moments of the specimen's pixels in one tile."""

    part: ClassVar[str] = "-assess"
    version: ClassVar[int] = 1
    pixel_s: ClassVar[float] = ASSESSED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("n_pixels", (), ("int64",), "1", "pixels of the specimen in the tile"),
        ArraySpec("products", ("one", "other"), F64, "m-4", "sums of products of g'' and g', by band and energy"),
        ArraySpec("sums", ("one",), F64, "m-2", "sums of g'' and g', by band and energy"),
    )

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling.projection import moments_of

        pair, _, field_, own = self.read_near(context)
        moments = moments_of(pair, np.array(self.energies), field_, own)
        return context.write({**vars(moments), "n_pixels": np.array(moments.n_pixels)})


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


@dataclass(frozen=True, kw_only=True)
class ConstrainStep(TileStep):
    """Absorption and phase of one tile as Kramers-Kronig pairs, in the groups of energies that read them.

    Parameters
    ----------
    absorber : Absorber
    formula : str
        Formula of the specimen, whose tables stand in outside the measured window.
    mode : str
        `tasks.options.coupling.KKROptions.mode`.
    weights : StepRef
    sizes : tuple of int
        Energies in each group.
    """

    part: ClassVar[str] = "-constrain"
    version: ClassVar[int] = 2
    pixel_s: ClassVar[float] = CONSTRAINED_PIXEL_S
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("absorption{group}", ("energy", "y", "x"), F32, "1", "amplitude absorption in the tile"),
        ArraySpec("phase{group}", ("energy", "y", "x"), F32, "rad", "phase in the tile"),
        ArraySpec("left", ("energy",), F64, "m-4", "sum over the specimen's pixels of the squared residual, after"),
    )

    absorber: Absorber
    formula: str
    mode: str
    weights: StepRef[WeightsStep]
    sizes: tuple[int, ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.coupling import kkr
        from tasks.coupling.projection import Noise, project, projections, residual_squares

        pair, tile, field_, own = self.read_near(context)
        energy_ev = np.array(self.energies)
        K, T = kkr.window_matrix(energy_ev), kkr.outside_columns(energy_ev, self.absorber, self.formula)
        low, high = (Noise(*band) for band in context.read(self.weights, "noise")["noise"].tolist())
        if self.mode != "off":
            pair = project(pair, energy_ev, K, T, projections(K, T, (low, high), self.mode), field_)
        arrays: dict[str, NDArray[Any]] = {"left": residual_squares(pair, energy_ev, K, T, own)}
        ends = np.cumsum(self.sizes)[:-1]
        for name, values in (("absorption", pair.absorption), ("phase", pair.phase)):
            groups = np.split(values[:, tile.inner].astype(np.float32), ends)
            arrays |= {f"{name}{number}": group for number, group in enumerate(groups)}
        return context.write(arrays)
