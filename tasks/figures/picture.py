"""One map on its own, as the service's image route serves it."""

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError
from tasks.figures.panel import add_scale_bar, colour_map, shared_limits, show_image, whole_view
from tasks.figures.style import DOMAIN_COLOURS, draw_whole_png, png_of

COLOUR_MAPS: Final = (
    "viridis",
    "cividis",
    "plasma",
    "magma",
    "inferno",
    "gray",
    "gray_r",
    "bone",
    "twilight",
    "RdBu_r",
    "coolwarm",
    "domains",
)
"""Colour maps that may be asked for; ``domains`` gives whole numbers the colours of the domains, 0 in white."""
MIN_WIDTH_PX: Final = 120
MAX_WIDTH_PX: Final = 4096
_MIN_DPI: Final = 100.0
_MAX_WIDTH_INCH: Final = 6.0
_SIDE_INCH: Final = 0.85
_MAX_ASPECT: Final = 3.0
"""Height of the image over the width of the figure: a narrow map is drawn narrower."""


def render_image(
    image: NDArray[Any],
    pixel_size_m: float,
    *,
    cmap: str = "viridis",
    vmin: float | None = None,
    vmax: float | None = None,
    width: int = 800,
    label: str = "",
) -> bytes:
    """PNG of one map with its scale bar and colour bar.

    Parameters
    ----------
    image : (Y, X) array of real, integer or boolean values
        What is not finite is white.
    pixel_size_m : float [m]
    cmap : str
        One of ``COLOUR_MAPS``.
    vmin, vmax : float, optional
        Ends of the colour bar; the 1st and 99th percentile of the finite pixels where not given.
    width : int [px]
        Width of the PNG, 120 to 4096.
    label : str
        Name and unit, beside the colour bar.

    Raises
    ------
    InvalidOptionError
        For an array that is no image, an unknown colour map, limits that are not ascending, or a width out of range.
    """
    values = checked_image(image, cmap)
    if not MIN_WIDTH_PX <= width <= MAX_WIDTH_PX:
        raise InvalidOptionError(f"width must be {MIN_WIDTH_PX} to {MAX_WIDTH_PX} pixels, got {width}")
    limits = _limits(values, cmap, vmin, vmax)
    return draw_whole_png(label, _picture, values, pixel_size_m, cmap, limits, width, label)


def render_pixels(
    image: NDArray[Any], *, cmap: str = "viridis", vmin: float | None = None, vmax: float | None = None, label: str = ""
) -> bytes:
    """PNG of one map alone, a pixel of the array a pixel of the file; arguments and errors are those of `render_image`."""
    values = checked_image(image, cmap)
    low, high = _limits(values, cmap, vmin, vmax)
    scaled = np.ma.masked_invalid((values.astype(np.float64) - low) / (high - low))
    return png_of(colour_map(cmap)(scaled, bytes=True), label)


def checked_image(image: NDArray[Any], cmap: str) -> NDArray[Any]:
    """The image, if it and the colour map can be drawn.

    Raises
    ------
    InvalidOptionError
    """
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype.kind not in "fiub" or 0 in values.shape:
        raise InvalidOptionError(f"an image is a real (Y, X) array, got {values.dtype} of shape {values.shape}")
    if cmap not in COLOUR_MAPS:
        raise InvalidOptionError(f"cmap must be one of {', '.join(COLOUR_MAPS)}; got {cmap!r}")
    return values


def _limits(values: NDArray[Any], cmap: str, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    if cmap == "domains":
        return -0.5, len(DOMAIN_COLOURS) + 0.5
    lower, upper = shared_limits([values])
    lower, upper = (lower if vmin is None else vmin), (upper if vmax is None else vmax)
    # The colour bar adds neighbouring boundaries, which must stay finite as well.
    if not (lower < upper and np.isfinite(2 * (abs(lower) + abs(upper)))):
        raise InvalidOptionError(f"vmin must be below vmax, both finite; got vmin={lower:g}, vmax={upper:g}")
    return lower, upper


def _picture(values: NDArray[Any], pixel_size_m: float, cmap: str, limits: tuple[float, float], width: int, label: str) -> Figure:
    view = whole_view(values.shape, pixel_size_m)
    # a large picture has larger type, not more empty space
    dpi = max(_MIN_DPI, width / _MAX_WIDTH_INCH)
    width_inch = width / dpi
    image_inch = min(max(width_inch - _SIDE_INCH, 0.5 * width_inch), _MAX_ASPECT * width_inch / view.aspect)
    figure = Figure(figsize=(width_inch, image_inch * view.aspect + 0.35), dpi=dpi, layout="constrained")
    axes = figure.add_subplot()
    shown = show_image(axes, values, pixel_size_m, view, cmap, limits)
    add_scale_bar(axes)
    bar = figure.colorbar(shown, ax=axes, pad=0.02, aspect=30)
    bar.outline.set_linewidth(0.5)
    if cmap == "domains":
        largest = int(np.clip(np.max(values, where=np.isfinite(values), initial=1), 1, len(DOMAIN_COLOURS)))
        bar.set_ticks(list(range(1, largest + 1)))
        bar.ax.set_ylim(0.5, largest + 0.5)
    if label:
        bar.set_label(label)
    return figure
