"""Maps of the chemical state and their histograms, all specimens beside each other (the paper's Figs 2 and S8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.figures.panel import (
    HEADING_PT,
    MAX_GROUP,
    add_colour_bar,
    add_scale_bar,
    common_views,
    formula_text,
    heading,
    letter_panels,
    plain_text,
    shared_limits,
    shorten,
    show_image,
    space_ticks,
)
from tasks.figures.quantities import axis_label, quantity
from tasks.figures.study import Specimen, Study
from tasks.figures.style import FAINT, GROUP_COLOURS, INK, PAGE_MM, STANDARD_COLOUR, new_figure

_MIN_PANEL_MM = 24.0
_NAME_AND_SYMBOL_MM = 32.0
"""Colour bars shorter than this have room for the symbol alone [mm]."""
_NAME_MM = 24.0
_LETTER_MM = 4.0
"""Left free above a specimen's name beside its row, where the panel's letter is [mm]."""
_GROUP_COLUMNS = 4


def mapped_specimens(study: Study, names: Sequence[str]) -> list[Specimen]:
    """The specimens that have all maps ``names``."""
    return [specimen for specimen in study.specimens if all(name in specimen.maps for name in names)]


@dataclass(frozen=True)
class Row:
    """One quantity of every specimen, on one colour scale."""

    label: str
    cmap: str
    limits: tuple[float, float]
    images: list[NDArray[Any]]
    extend: str = "both"


def state_maps(study: Study, names: Sequence[str]) -> Figure:
    """Maps ``names`` of every specimen: one colour scale a quantity, one length scale for all, masked pixels white."""
    specimens = mapped_specimens(study, names)
    rows = []
    for name in names:
        images: list[NDArray[Any]] = [specimen.values(name) for specimen in specimens]
        # a bar as high as one of seven panels has no room for the label on one line
        label = axis_label(name, study.absorber, lines=2)
        rows.append(Row(label, quantity(name).cmap, shared_limits(images), images))
    return _table_of_maps(specimens, rows)


def mixture_maps(study: Study) -> Figure:
    """Share of every reference compound in each pixel's spectrum, from 0 to 1, all specimens beside each other."""
    specimens = [specimen for specimen in study.specimens if specimen.mixture is not None]
    rows = [
        Row(formula_text(reference.name), "viridis", (0.0, 1.0), [_share(s, i) for s in specimens], "neither")
        for i, reference in enumerate(study.references)
    ]
    return _table_of_maps(specimens, rows)


def _share(specimen: Specimen, number: int) -> NDArray[Any]:
    return np.asarray(np.asarray(specimen.mixture)[number])


def _table_of_maps(specimens: Sequence[Specimen], rows: Sequence[Row]) -> Figure:
    """Up to two specimens lie in rows, one quantity a column; more stand in columns, one quantity a row."""
    views = common_views(specimens)
    in_rows = len(specimens) <= 2
    figure, grid, panel_mm = _grid(len(specimens), len(rows), views[0].aspect, in_rows)
    has_room = panel_mm * views[0].aspect >= _NAME_AND_SYMBOL_MM
    for i, row in enumerate(rows):
        line = grid[:, i] if in_rows else grid[i, :]
        for axes, specimen, image, view in zip(line, specimens, row.images, views, strict=True):
            shown = show_image(axes, image, specimen.pixel_size_m, view, row.cmap, row.limits)
            if in_rows or axes is line[-1]:
                add_colour_bar(axes, shown, row.label if has_room else row.label.rpartition(",\n")[2], extend=row.extend)
    for i, specimen in enumerate(specimens):
        if in_rows:
            grid[i, 0].set_ylabel(heading(specimen, panel_mm * views[0].aspect - _LETTER_MM), fontsize=HEADING_PT)
        else:
            grid[0, i].set_title(heading(specimen, panel_mm), fontsize=HEADING_PT)
    letter_panels(grid[0] if in_rows else grid[:, 0])
    add_scale_bar(grid[-1, 0])
    return figure


def _grid(n_specimens: int, n_names: int, aspect: float, in_rows: bool) -> tuple[Figure, NDArray[np.object_], float]:
    if in_rows:
        panel_mm = PAGE_MM / n_names - 18
        figure = new_figure(PAGE_MM, n_specimens * panel_mm * aspect + 8, images=True)
        return figure, figure.subplots(n_specimens, n_names, squeeze=False), panel_mm
    panel_mm = max((PAGE_MM - 20) / n_specimens, _MIN_PANEL_MM)
    figure = new_figure(panel_mm * n_specimens + 20, n_names * panel_mm * aspect + 14, images=True)
    return figure, figure.subplots(n_names, n_specimens, squeeze=False), panel_mm


def histograms(study: Study, names: Sequence[str]) -> Figure:
    """Distribution of maps ``names`` over the pixels of every specimen, one row a specimen, with the median.

    Lines mark the theoretical electron ratios of ``study.theory``.
    """
    specimens = mapped_specimens(study, names)
    figure = new_figure(PAGE_MM, (17 if len(specimens) > 2 else 30) * len(specimens) + 16)
    grid = figure.subplots(len(specimens), len(names), squeeze=False, sharex="col")
    for column, name in zip(grid.T, names, strict=True):
        images = [specimen.values(name) for specimen in specimens]
        low, high = shared_limits(images, 0.5, 99.0)
        if name == "electron_ratio":
            low, high = min(low, *study.theory.values(), low), max(high, *study.theory.values(), high)
            _mark_theory(column, study, high - low)
        edges = np.linspace(low - 0.04 * (high - low), high + 0.04 * (high - low), 70)
        for axes, specimen, image in zip(column, specimens, images, strict=True):
            _histogram(axes, image[np.isfinite(image)], edges, specimen_colour(study, specimen))
        column[-1].set_xlabel(axis_label(name, study.absorber, lines=2))
        space_ticks(column[-1], PAGE_MM / len(names) - 15)
    for axes, specimen in zip(grid[:, 0], specimens, strict=True):
        axes.set_ylabel(heading(specimen, _NAME_MM).split("\n")[0], rotation=0, ha="right", va="center")
    figure.supylabel("Share of pixels", fontsize=7.5)
    letter_panels(grid[0])
    _explain_groups(figure, study)
    return figure


def specimen_colour(study: Study, specimen: Specimen) -> str:
    """Colour of the specimen's group; grey for a standard."""
    if specimen.standard:
        return STANDARD_COLOUR
    return group_colour(study, specimen.group)


def group_colour(study: Study, group: str) -> str:
    """Colour of a group; they come again where there are more groups than colours."""
    return GROUP_COLOURS[study.groups().index(group) % len(GROUP_COLOURS)]


def _histogram(axes: Axes, pixels: NDArray[np.float64], edges: NDArray[np.float64], colour: str) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(edges[0], edges[-1])
    if pixels.size == 0:
        return
    counts, _ = np.histogram(pixels, edges)
    axes.stairs(counts / pixels.size, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(counts / pixels.size, edges, color=colour, linewidth=0.8)
    axes.axvline(float(np.median(pixels)), color=INK, linewidth=0.7, linestyle=(0, (3, 2)))
    axes.set_ylim(0, max(counts.max() / pixels.size, 1e-9) * 1.15)


def _mark_theory(column: Sequence[Axes], study: Study, span: float) -> None:
    lines = sorted(study.theory.items(), key=lambda item: item[1])
    following = [ratio for _, ratio in lines[1:]] + [np.inf]
    for (formula, ratio), after in zip(lines, following, strict=True):
        for axes in column:
            axes.axvline(ratio, color=FAINT, linewidth=0.8)
        # two names side by side would lie on each other: the left one leans to the left
        lean = -1 if after - ratio < 0.1 * span else 1
        column[0].annotate(
            formula_text(formula),
            (ratio, 1.0),
            xycoords=column[0].get_xaxis_transform(),
            xytext=(0, 1),
            textcoords="offset points",
            rotation=35 * lean,
            ha="left" if lean > 0 else "right",
            va="bottom",
            fontsize=6,
        )


def _explain_groups(figure: Figure, study: Study) -> None:
    groups = [group for group in study.groups() if group]
    if len(groups) < 2:
        return
    entries = [figure.axes[0].plot([], [], color=group_colour(study, group), linewidth=4, alpha=0.5)[0] for group in groups]
    labels = [plain_text(shorten(group, MAX_GROUP)) for group in groups]
    figure.legend(entries, labels, loc="outside lower center", ncols=min(len(groups), _GROUP_COLUMNS))
