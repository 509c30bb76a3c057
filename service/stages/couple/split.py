"""The parts into which the coupling of many or large energies is split, and how they are wired."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.stages.correction import CorrectionStep
from service.stages.couple.alignment import FlattenStep, GridStep, RegisterStep, SampleStep, ShareStep
from service.stages.couple.outcome import CorrectStep, CorrelateStep
from service.stages.couple.projection import AssessStep, ConstrainStep, WeightsStep
from service.stages.couple.step import CoupleStep, CouplingStep
from service.workflow.graph import Graph
from service.workflow.inputs import ScanInput, energy_label
from service.workflow.step import StepRef
from tasks.arrays import nth_part
from tasks.coupling.fixed_energy import fixed_index

SPLIT_PIXELS: Final = 1_000_000
"""Coupling of fewer pixels of all canvases is one step, which takes some seconds."""
GROUP_PIXELS: Final = 250_000
"""A group of energies has at least so many, as a step takes some hundredths of a second beside its work."""
MOST_GROUPS: Final = 64
"""Sums over energies are exchanged by groups, so that many energies are no long exchange."""
ROWS_OF_TILES: Final = (32, 96)
"""Fewest and most rows of a tile; those near it are read as well."""
TILED_ROWS: Final = 6_000
"""Rows of all energies together in one tile, about: they bound the memory that it takes."""


@dataclass(frozen=True)
class Parts:
    """References to the steps that later ones read."""

    groups: tuple[slice, ...]
    """Energies of each group."""
    grid: StepRef[GridStep]
    shared: StepRef[ShareStep]
    flat: tuple[StepRef[FlattenStep], ...]
    sample: StepRef[SampleStep]
    weights: StepRef[WeightsStep]
    tiles: tuple[StepRef[ConstrainStep], ...]


def is_split(step: CouplingStep) -> bool:
    """Whether there is enough to couple for several workers."""
    return sum(math.prod(scan.canvas.shape) for scan in step.scans) > SPLIT_PIXELS


def add_corrections(graph: Graph, step: CoupleStep) -> Iterator[tuple[StepRef[CorrectionStep], int]]:
    """Add a coupling, whole or in parts; for each energy the step that holds its correction, and its place there."""
    if not is_split(step):
        whole = graph.add(step)
        yield from ((whole, index) for index in range(len(step.scans)))
        return
    parts = add_parts(graph, step)
    for number, group in enumerate(parts.groups):
        correct = CorrectStep(
            label=label_of(step.scans[group], step.label),
            scans=step.scans[group],
            gamma=step.kkr.gamma,
            group=number,
            grid=parts.grid,
            flat=parts.flat[number],
            sample=parts.sample,
            tiles=parts.tiles,
        )
        corrected = graph.add(correct)
        yield from ((corrected, index) for index in range(len(correct.scans)))


def add_parts(graph: Graph, step: CouplingStep) -> Parts:
    """Add the parts of a coupling, up to the projection of every tile."""
    align, states, label = step.align, step.states, step.label
    measured_ev = tuple(scan.energy_ev for scan in step.scans)
    energies = tuple(energy_ev + align.energy_offset_ev for energy_ev in measured_ev)
    groups = tuple(groups_of(step.scans))
    grid = graph.add(GridStep(label=label, scans=step.scans, align=align, states=states))
    own: list[dict[str, Any]] = [
        {"label": label_of(scans, label), "scans": scans, "align": align, "states": states[group], "grid": grid}
        for group, scans in ((group, step.scans[group]) for group in groups)
    ]
    fixed_ev = measured_ev[fixed_index(len(step.scans))]
    registered = tuple(graph.add(RegisterStep(**about, fixed_ev=fixed_ev)) for about in own)
    shared = graph.add(ShareStep(label=label, align=align, grid=grid, registered=registered))
    shape = step.scans[0].canvas.shape
    n_tiles = number_of_tiles(shape[0], len(energies))
    flat = tuple(
        graph.add(FlattenStep(**about, registered=found, shared=shared, n_tiles=n_tiles))
        for about, found in zip(own, registered, strict=True)
    )
    sample = graph.add(SampleStep(label=label, energies=measured_ev, shared=shared, flat=flat, n_tiles=n_tiles))
    tiles: list[dict[str, Any]] = [
        {
            "label": f"-tile{tile + 1}of{n_tiles}{label}", "energies": energies, "tile": tile, "n_tiles": n_tiles,
            "shared": shared, "sample": sample, "flat": flat, "canvas_shape": shape,
        }
        for tile in range(n_tiles)
    ]  # fmt: skip
    relation: dict[str, Any] = {"absorber": step.absorber, "formula": step.formula}
    assessed = tuple(graph.add(AssessStep(**about)) for about in tiles)
    weights = graph.add(WeightsStep(label=label, energies=energies, **relation, tiles=assessed))
    sizes = tuple(len(step.scans[group]) for group in groups)
    constrained = tuple(
        graph.add(ConstrainStep(**about, **relation, mode=step.kkr.mode, weights=weights, sizes=sizes)) for about in tiles
    )
    return Parts(groups, grid, shared, flat, sample, weights, constrained)


def add_correlations(graph: Graph, step: CouplingStep, parts: Parts) -> tuple[StepRef[CorrelateStep], ...]:
    """Add the ring correlations of neighbouring energies, a group at a time."""
    n_pixels = max(scan.n_pixels for scan in step.scans)
    return tuple(
        graph.add(
            CorrelateStep(
                label=label_of(step.scans[group], step.label),
                n_pixels=n_pixels,
                grid=parts.grid,
                sample=parts.sample,
                flat=parts.flat[number : number + 2],
                n_tiles=len(parts.tiles),
            )
        )
        for number, group in enumerate(parts.groups)
    )


def groups_of(scans: Sequence[ScanInput]) -> Iterator[slice]:
    """Neighbouring energies in groups of nearly one size."""
    largest = max(math.prod(scan.canvas.shape) for scan in scans)
    size = max(math.ceil(GROUP_PIXELS / largest), math.ceil(len(scans) / MOST_GROUPS))
    n_groups = math.ceil(len(scans) / size)
    yield from (nth_part(len(scans), number, n_groups) for number in range(n_groups))


def number_of_tiles(n_rows: int, n_energies: int) -> int:
    """Tiles into which the rows of all energies are cut: one, or an even number, because workers often come in pairs."""
    fewest, most = ROWS_OF_TILES
    n_tiles = math.ceil(n_rows / min(most, max(fewest, TILED_ROWS // n_energies)))
    return 1 if n_tiles < 2 else n_tiles + n_tiles % 2


def label_of(scans: Sequence[ScanInput], label: str) -> str:
    """Label of a step that concerns some neighbouring energies."""
    ends = dict.fromkeys(energy_label(scan.energy_ev) for scan in (scans[0], scans[-1]))
    return f"-{'-to-'.join(ends)}{label}"
