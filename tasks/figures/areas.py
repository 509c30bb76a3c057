"""Spectra of chosen areas of a specimen, with reference compounds (the paper's Figs 1d, e and S4)."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from tasks.figures.panel import UM_PER_M, add_scale_bar, common_views, shared_limits, show_image
from tasks.figures.quantities import axis_label, quantity
from tasks.figures.study import Area, Specimen, Study
from tasks.figures.style import AREA_COLOURS, INK, PAGE_MM, new_figure

_PERCENTILES = (4, 50, 96)
_REFERENCE_DASHES = ((0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 2)))


def choose_areas(specimen: Specimen) -> tuple[Area, ...]:
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
    areas: list[Area] = []
    for percentile in _PERCENTILES:
        k = order[round(percentile / 100 * (order.size - 1))]
        y, x = int(rows[k]), int(columns[k])
        if all(np.hypot(y - area.y, x - area.x) > 2 * radius for area in areas):
            areas.append(Area("ABC"[len(areas)], y, x, radius))
    return tuple(areas)


def area_mask(area: Area, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(Y, X) pixels of the area."""
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    return np.hypot(y - area.y, x - area.x) <= area.radius_px


def area_spectra(study: Study, specimen: Specimen) -> Figure:
    """Where the areas lie, their mean absorption and their mean phase against energy."""
    areas = choose_areas(specimen)
    figure = new_figure(PAGE_MM, 62)
    image, left, right = figure.subplots(1, 3, width_ratios=(0.9, 1, 1))
    specimens = [other for other in study.specimens if "edge_energy" in other.maps] or [specimen]
    name = "edge_energy" if "edge_energy" in specimen.maps else "absorption"
    pictures = [_picture(other, name) for other in specimens]
    view = common_views(specimens)[specimens.index(specimen)]
    shown = show_image(
        image, _picture(specimen, name), specimen.pixel_size_m, view, quantity(name).cmap, shared_limits(pictures)
    )
    figure.colorbar(shown, ax=image, location="bottom", pad=0.1, aspect=24, shrink=0.9, label=axis_label(name))
    add_scale_bar(image, view)
    p = specimen.pixel_size_m * UM_PER_M
    for area, colour in zip(areas, AREA_COLOURS, strict=False):
        centre = (area.x * p, area.y * p)
        image.add_patch(Circle(centre, area.radius_px * p, fill=False, color="white", linewidth=2.4))
        image.add_patch(Circle(centre, area.radius_px * p, fill=False, color=colour, linewidth=1.3))
        inside = area_mask(area, specimen.absorption.shape)
        left.plot(specimen.energy_ev, specimen.absorption[:, inside].mean(axis=1), "o-", color=colour, label=area.name)
        right.plot(specimen.energy_ev, specimen.phase[:, inside].mean(axis=1), "o-", color=colour)
    left.set_ylabel(axis_label("absorption"))
    right.set_ylabel(axis_label("phase"))
    for axes in (left, right):
        axes.set_xlabel("Energy (eV)")
    left.legend(title="Area", title_fontsize=7)
    return figure


def _picture(specimen: Specimen, name: str) -> NDArray:
    return specimen.absorption[-1] if name == "absorption" else specimen.values(name)


def normalised_spectrum(specimen: Specimen, area: Area) -> NDArray[np.float64]:
    """(E,) absorption of the area with the background before the edge at 0 and an edge jump of 1.

    Offset and jump are sums over the area's kept pixels, so that thick pixels count for more.
    """
    inside = area_mask(area, specimen.absorption.shape) & specimen.kept()
    spectrum = specimen.absorption[:, inside].sum(axis=1, dtype=np.float64)
    offset, jump = (float(np.asarray(specimen.maps[name])[inside].sum()) for name in ("offset", "edge_jump"))
    return (spectrum - offset) / jump


def reference_spectra(study: Study, specimen: Specimen) -> Figure:
    """Normalised absorption of the areas, with the reference compounds dashed."""
    figure = new_figure(PAGE_MM / 2, 70)
    axes = figure.subplots()
    energy = specimen.energy_ev
    for area, colour in zip(choose_areas(specimen), AREA_COLOURS, strict=False):
        axes.plot(energy, normalised_spectrum(specimen, area), "o-", color=colour, label=f"Area {area.name}")
    for i, reference in enumerate(study.references):
        near = (reference.energy_ev >= energy[0]) & (reference.energy_ev <= energy[-1])
        axes.plot(
            reference.energy_ev[near], reference.absorption[near], color=INK, label=reference.name,
            linestyle=_REFERENCE_DASHES[i % len(_REFERENCE_DASHES)],
        )
    axes.set_xlabel("Energy (eV)")
    axes.set_ylabel("Normalised absorption")
    axes.legend()
    return figure
