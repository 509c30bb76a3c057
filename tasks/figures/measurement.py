"""What came in for one energy: a scan's mean diffraction pattern and positions of the probe, or an image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.figures.dark import ON_COLOUR
from tasks.figures.panel import UM_PER_M, add_colour_bar, add_scale_bar, shared_limits, show_image, whole_view
from tasks.figures.quantities import axis_label, quantity
from tasks.figures.style import FAINT, INK, PAGE_MM, new_figure


def measurement(mean_counts: NDArray[np.float64], mask: NDArray[np.bool_], positions_m: NDArray[np.float64]) -> Figure:
    """Mean counts a frame in logarithmic colours, masked pixels grey, beside the positions.

    Parameters
    ----------
    mean_counts : (N, N) float64 array [count]
        The beam's centre is in its middle.
    mask : (N, N) bool array
        True = good.
    positions_m : (P, 2) float64 array [m]
        (y, x) of the probe.
    """
    figure = new_figure(PAGE_MM, 78, images=True)
    left, right = figure.subplots(1, 2)
    seen = np.where(mask & (mean_counts > 0), mean_counts, np.nan)
    lowest = float(np.nanmin(seen, initial=1.0))
    left.set_facecolor(FAINT)
    dark = np.where(mask, np.maximum(mean_counts, lowest), np.nan)
    norm = LogNorm(lowest, max(float(np.nanmax(dark, initial=0.0)), 2 * lowest))
    bar = figure.colorbar(left.imshow(dark, cmap="magma", norm=norm), ax=left, pad=0.02)
    bar.set_label("Mean counts a frame")
    middle = len(mask) // 2
    left.plot(middle, middle, "+", color="white", markersize=6, markeredgewidth=0.8, gid=ON_COLOUR)
    left.set_xlabel("Column (px)")
    left.set_ylabel("Row (px)")
    y_um, x_um = positions_m.T * UM_PER_M
    right.plot(x_um, y_um, ".", color=INK, markersize=3)
    right.set_aspect("equal")
    right.invert_yaxis()
    right.set_xlabel("x (µm)")
    right.set_ylabel("y (µm)")
    right.set_title(f"{len(positions_m)} positions")
    return figure


def measured_images(images: Mapping[str, NDArray[Any]], pixel_size_m: float) -> Figure:
    """Images (Y, X) of one energy beside each other, by their names: ``absorption``, ``phase``; NaN is white."""
    figure = new_figure(PAGE_MM, 78, images=True)
    panels = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, (name, image) in zip(panels, images.items(), strict=True):
        view = whole_view(image.shape, pixel_size_m)
        shown = show_image(axes, image, pixel_size_m, view, quantity(name).cmap, shared_limits([image]))
        add_colour_bar(axes, shown, axis_label(name))
        add_scale_bar(axes)
    return figure
