"""Absorption and phase images of one specimen (the paper's Fig. 1b, c)."""

from matplotlib.figure import Figure

from tasks.figures.panel import add_colour_bar, add_scale_bar, common_views, letter_panels, shared_limits, show_image
from tasks.figures.quantities import axis_label, quantity
from tasks.figures.study import Specimen, Study
from tasks.figures.style import PAGE_MM, new_figure

_MARGIN = 0.25


def complex_images(study: Study, specimen: Specimen) -> Figure:
    """Absorption at the highest energy and phase at the lowest, on the scales of the whole study.

    Where there is no phase, absorption at the lowest energy takes its place.
    """
    specimens = list(study.specimens)
    view = common_views(specimens, _MARGIN)[specimens.index(specimen)]
    figure = new_figure(PAGE_MM, min(0.42 * PAGE_MM * view.aspect, 110) + 10, images=True)
    panels = figure.subplots(1, 2)
    letter_panels(panels)
    for axes, name, which in zip(panels, ("absorption", specimen.image_names[-1]), (-1, 0), strict=True):
        limits = shared_limits([one.image(name)[which] for one in specimens if name in one.image_names], 0.5, 99.8)
        shown = show_image(axes, specimen.image(name)[which], specimen.pixel_size_m, view, quantity(name).cmap, limits)
        axes.set_title(f"{name.capitalize()}, {specimen.energy_ev[which]:.1f} eV", loc="left")
        add_scale_bar(axes)
        add_colour_bar(axes, shown, axis_label(name))
    return figure
