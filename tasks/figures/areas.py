"""Spectra of chosen areas of a specimen, with reference compounds (the paper's Figs 1d, e and S4)."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

import tasks.areas
from tasks.figures.panel import (
    UM_PER_M,
    add_colour_bar,
    add_scale_bar,
    common_views,
    formula_text,
    legend_above,
    letter_panels,
    plain_text,
    shared_limits,
    show_image,
)
from tasks.figures.quantities import axis_label, quantity
from tasks.figures.study import Disc, Specimen, Study
from tasks.figures.style import AREA_COLOURS, FAINT, PAGE_MM, REFERENCE_COLOURS, new_figure
from tasks.xanes.model import eq1

_PERCENTILES = (4, 50, 96)
_EDGE_REGION_EV = (-25.0, 45.0)
_REFERENCE_DASHES = ((0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 2)))


def choose_areas(specimen: Specimen) -> tuple[Disc, ...]:
    """The specimen's own areas; else discs of low, middle and high edge energy well inside it.

    Fewer than three where the specimen is too small; none where it has no map of edge energies.
    """
    if specimen.areas or "edge_energy" not in specimen.maps or not specimen.kept().any():
        return specimen.areas
    energies, kept = specimen.values("edge_energy"), specimen.kept()
    radius = max(1.5, 0.08 * float(np.sqrt(kept.sum())))
    box = 2 * int(radius) + 1
    inside = uniform_filter(kept.astype(np.float64), box, mode="constant") > 1 - 1e-9
    if not inside.any():
        return ()
    mean = uniform_filter(np.where(kept, energies, 0.0), box, mode="constant")
    rows, columns = np.nonzero(inside)
    order = np.argsort(mean[inside], kind="stable")
    areas: list[Disc] = []
    for percentile in _PERCENTILES:
        k = order[round(percentile / 100 * (order.size - 1))]
        y, x = int(rows[k]), int(columns[k])
        if all(np.hypot(y - area.y, x - area.x) > 2 * radius for area in areas):
            areas.append(Disc("ABC"[len(areas)], y, x, radius))
    return tuple(areas)


def area_mask(area: Disc, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(Y, X) pixels of the area."""
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    return np.asarray(np.hypot(y - area.y, x - area.x) <= area.radius_px)


def area_spectra(study: Study, specimen: Specimen) -> Figure:
    """Where the areas lie, their mean absorption with eq. 1 fitted to it, and their mean phase, with standard errors."""
    figure = new_figure(PAGE_MM, 68)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 2.1))[0]
    areas = choose_areas(specimen)
    shown = left.subplots()
    _show_areas(shown, study, specimen, areas)
    panels = right.subplots(1, len(specimen.image_names), squeeze=False)[0]
    letter_panels([shown, *panels])
    for axes, name in zip(panels, specimen.image_names, strict=True):
        for area, colour in zip(areas, AREA_COLOURS, strict=False):
            inside = area_mask(area, specimen.absorption.shape)
            one, residual = specimen.sigma_phase, None
            if name == "absorption":
                one, residual = specimen.sigma_absorption, specimen.maps.get("residual")
            spectrum, sigma = tasks.areas.mean_spectrum(specimen.image(name), one, inside, specimen.noise, residual)
            fit = study.fitted(specimen.energy_ev, spectrum, sigma) if name == "absorption" else None
            plot_spectrum(axes, specimen.energy_ev, spectrum, sigma, colour, fit, plain_text(area.name))
        axes.set_ylabel(axis_label(name))
        axes.set_xlabel("Energy (eV)")
    legend_above(panels[0], title="Areas", ncols=3)
    _tell_ratios(panels[-1], study, specimen, areas)
    return figure


def plot_spectrum(
    axes: Axes,
    energy_ev: NDArray[Any],
    values: NDArray[Any],
    sigma: NDArray[Any],
    colour: str,
    fit: tasks.areas.AreaFit | None = None,
    label: str = "",
) -> None:
    """Points (E,) with bars of one standard error, and the fitted curve; a thin line joins them where there is none."""
    bars = np.where(np.isfinite(sigma), sigma, 0.0)
    style = "o" if fit is not None else "o-"
    axes.errorbar(
        energy_ev, values, bars, fmt=style, color=colour, markersize=2.2, linewidth=0.6, elinewidth=0.7, label=label or None
    )
    if fit is not None:
        axes.plot(fit.curve_energy_ev, fit.curve, color=colour, linewidth=0.9)


def _tell_ratios(axes: Axes, study: Study, specimen: Specimen, areas: tuple[Disc, ...]) -> None:
    """A legend of the areas' electron ratios."""
    ratios = [(area, area_electrons(specimen, area)) for area in areas]
    words = [f"{plain_text(area.name)}: {with_error(*one)}" for area, one in ratios if one is not None]
    if words:
        legend_above(axes, axes.containers[: len(words)], words, title=f"Electrons per {study.absorber} atom", ncols=1)


def with_error(value: float, sigma: float) -> str:
    """``value ± sigma`` to the two first digits of the error."""
    decimals = max(0, 1 - math.floor(math.log10(sigma))) if 0 < sigma < math.inf else 1
    return f"{value:.{decimals}f} ± {sigma:.{decimals}f}"


def area_electrons(specimen: Specimen, area: Disc) -> tuple[float, float] | None:
    """Electrons per absorber over the kept pixels of an area, and one standard error; None without the maps."""
    inside = area_mask(area, specimen.absorption.shape) & specimen.kept()
    return tasks.areas.area_electrons(specimen.maps, inside, specimen.noise)


def _show_areas(axes: Axes, study: Study, specimen: Specimen, areas: tuple[Disc, ...]) -> None:
    name = "edge_energy" if "edge_energy" in specimen.maps else "absorption"
    specimens = [other for other in study.specimens if name == "absorption" or name in other.maps]
    view = common_views(specimens)[specimens.index(specimen)]
    limits = shared_limits([_picture(other, name) for other in specimens])
    shown = show_image(axes, _picture(specimen, name), specimen.pixel_size_m, view, quantity(name).cmap, limits)
    add_colour_bar(axes, shown, axis_label(name))
    add_scale_bar(axes)
    p = specimen.pixel_size_m * UM_PER_M
    for area, colour in zip(areas, AREA_COLOURS, strict=False):
        for rim, width in (("white", 2.6), (colour, 1.4)):
            axes.add_patch(Circle((area.x * p, area.y * p), area.radius_px * p, fill=False, color=rim, linewidth=width))
        axes.annotate(
            plain_text(area.name),
            ((area.x + area.radius_px) * p, (area.y - area.radius_px) * p),
            fontsize=7,
            color=colour,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
        )


def _picture(specimen: Specimen, name: str) -> NDArray[Any]:
    return specimen.absorption[-1] if name == "absorption" else specimen.values(name)


def normalised_spectrum(specimen: Specimen, area: Disc) -> NDArray[np.float64]:
    """(E,) absorption of the area with the background before the edge at 0 and an edge jump of 1.

    Offset and jump are sums over the area's kept pixels, so that thick pixels count for more.
    """
    inside = area_mask(area, specimen.absorption.shape) & specimen.kept()
    spectrum = specimen.absorption[:, inside].sum(axis=1, dtype=np.float64)
    offset, jump = (float(np.asarray(specimen.maps[name])[inside].sum()) for name in ("offset", "edge_jump"))
    return np.asarray((spectrum - offset) / jump)


def reference_spectra(study: Study, specimen: Specimen) -> Figure:
    """Normalised absorption of the areas, with the reference compounds dashed and eq. 1 fitted to them in thin grey."""
    figure = new_figure(0.6 * PAGE_MM, 80)
    axes = figure.subplots()
    energy = specimen.energy_ev
    for area, colour in zip(choose_areas(specimen), AREA_COLOURS, strict=False):
        spectrum = normalised_spectrum(specimen, area)
        axes.plot(energy, spectrum, "o-", color=colour, markersize=2, linewidth=0.6, label=plain_text(f"Area {area.name}"))
    for i, reference in enumerate(study.references):
        near = (reference.energy_ev >= energy[0]) & (reference.energy_ev <= energy[-1])
        axes.plot(
            reference.energy_ev[near],
            reference.absorption[near],
            color=REFERENCE_COLOURS[i % len(REFERENCE_COLOURS)],
            label=formula_text(reference.name),
            linestyle=_REFERENCE_DASHES[i % len(_REFERENCE_DASHES)],
        )
        if reference.parameters is not None:
            fine = np.linspace(energy[0], energy[-1], 400)
            axes.plot(fine, eq1(fine, reference.parameters), color=FAINT, linewidth=0.6, zorder=1)
    edge = float(np.nanmedian(specimen.values("edge_energy")))
    axes.set_xlim(max(edge + _EDGE_REGION_EV[0], energy[0]), min(edge + _EDGE_REGION_EV[1], energy[-1]))
    axes.set_xlabel("Energy (eV)")
    axes.set_ylabel("Normalised absorption")
    legend_above(axes, ncols=3)
    return figure
