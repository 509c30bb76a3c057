"""One image panel: an array with its frame, its scale bar and the limits it shares with others."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from tasks.figures.study import Specimen
from tasks.figures.style import DOMAIN_COLOURS, INK, PAGE_MM, glyph_width, has_glyph, new_figure

UM_PER_M = 1e6
MAX_FORMULA = 17.0
"""Longest formula or name of a compound that a figure writes out [font sizes]: some thirty letters."""
MAX_GROUP = 15.0
"""The same of a group's name in a legend."""
HEADING_PT = 7.0
MM_PER_PT = 25.4 / 72
LONG_NUMBER = 1000.0
TICK_MM = 11.0
"""Labels of numbers from this on, such as 5476.5, need this much room along an axis [mm]."""
_COLUMNS = 6


@dataclass(frozen=True)
class View:
    """Part of the plane that a panel shows; (y, x) from the centre of pixel [0, 0]."""

    centre_m: tuple[float, float]
    height_m: float
    width_m: float

    @property
    def aspect(self) -> float:
        """Height over width."""
        return self.height_m / self.width_m


def common_views(specimens: Sequence[Specimen], margin: float = 0.12) -> list[View]:
    """One view a specimen, all of one size, each centred on its own specimen as far as its array reaches.

    Parameters
    ----------
    specimens : sequence of Specimen
    margin : float
        Empty space on each side, as a share of the largest specimen's extent, where the arrays have it.
    """
    boxes = np.array([_bounding_box_m(specimen) for specimen in specimens])
    fields = np.array([np.multiply(specimen.absorption.shape[1:], specimen.pixel_size_m) for specimen in specimens])
    extent = (boxes[:, :, 1] - boxes[:, :, 0]).max(axis=0)
    wanted = extent * (1 + 2 * margin)
    # neither ribbons nor slivers: the shorter side is at least half of the longer
    wanted = np.maximum(wanted, wanted[::-1] / 2)
    size = np.minimum(wanted, np.maximum(extent, fields.min(axis=0)))
    views = []
    for box, array, specimen in zip(boxes, fields, specimens, strict=True):
        reach = np.maximum(array - size, 0) / 2
        middle = (array - specimen.pixel_size_m) / 2
        y, x = np.clip(box.mean(axis=1), middle - reach, middle + reach)
        views.append(View((float(y), float(x)), float(size[0]), float(size[1])))
    return views


def _bounding_box_m(specimen: Specimen) -> tuple[tuple[float, float], tuple[float, float]]:
    mask = specimen.sample_mask if specimen.sample_mask is not None else specimen.kept()
    if not mask.any():
        mask = np.ones_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    p = specimen.pixel_size_m
    return ((rows[0] - 0.5) * p, (rows[-1] + 0.5) * p), ((columns[0] - 0.5) * p, (columns[-1] + 0.5) * p)


def whole_view(shape: tuple[int, ...], pixel_size_m: float) -> View:
    """View of a whole array."""
    n_y, n_x = shape[-2:]
    return View(((n_y - 1) / 2 * pixel_size_m, (n_x - 1) / 2 * pixel_size_m), n_y * pixel_size_m, n_x * pixel_size_m)


def shared_limits(images: Iterable[NDArray[Any]], low: float = 1.0, high: float = 99.0) -> tuple[float, float]:
    """Colour limits for all images: percentiles of their finite pixels together; (0, 1) where there are none."""
    finite = [image[np.isfinite(image)].astype(np.float64) for image in images]
    pixels = np.concatenate([values.ravel() for values in finite]) if finite else np.empty(0)
    if pixels.size == 0:
        return 0.0, 1.0
    lower, upper = (float(value) for value in np.percentile(pixels, [low, high]))
    return (lower, upper) if upper > lower else (lower - 0.5, upper + 0.5)


def colour_map(name: str) -> Colormap:
    """Matplotlib's colour map ``name``, or ``domains``; what is not finite is white."""
    cmap = ListedColormap(["#FFFFFF", *DOMAIN_COLOURS]) if name == "domains" else matplotlib.colormaps[name]
    return cmap.with_extremes(bad="white")


def show_image(
    axes: Axes, image: NDArray[Any], pixel_size_m: float, view: View, cmap: str, limits: tuple[float, float]
) -> AxesImage:
    """Draw ``image`` (Y, X) in micrometres, without axes; every pixel is one flat square, NaN is white."""
    values = np.ma.masked_invalid(np.asarray(image, dtype=np.float64))
    shown = place_image(axes, values, pixel_size_m, cmap=colour_map(cmap), vmin=limits[0], vmax=limits[1])
    frame_panel(axes, view)
    return shown


def place_image(axes: Axes, image: NDArray[Any], pixel_size_m: float, **colours: Any) -> AxesImage:
    """Lay ``image`` (Y, X) into axes in micrometres, the centre of pixel [0, 0] at 0; the axes' view stays."""
    n_y, n_x = image.shape
    p = pixel_size_m * UM_PER_M
    limits = axes.get_xlim(), axes.get_ylim()
    extent = (-0.5 * p, (n_x - 0.5) * p, (n_y - 0.5) * p, -0.5 * p)
    shown = axes.imshow(image, interpolation="nearest", extent=extent, **colours)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    return shown


def frame_panel(axes: Axes, view: View) -> None:
    """Show ``view`` in a thin frame without ticks; row 0 is at the top."""
    y, x = view.centre_m
    axes.set_xlim((x - view.width_m / 2) * UM_PER_M, (x + view.width_m / 2) * UM_PER_M)
    axes.set_ylim((y + view.height_m / 2) * UM_PER_M, (y - view.height_m / 2) * UM_PER_M)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")
    axes.spines[:].set_linewidth(0.5)


def show_domains(axes: Axes, label: NDArray[Any], pixel_size_m: float) -> AxesImage:
    """Lay domains (Y, X) into a framed panel in their colours, 0 in white."""
    limits = {"vmin": -0.5, "vmax": len(DOMAIN_COLOURS) + 0.5}
    return place_image(axes, label, pixel_size_m, cmap=colour_map("domains"), **limits)


def bar_length_m(width_m: float) -> float:
    """Longest of 1, 2, 5 x 10^n that is at most 0.4 of the panel's width."""
    limit = 0.4 * width_m
    decade = 10.0 ** np.floor(np.log10(limit))
    return float(decade * max(step for step in (1.0, 2.0, 5.0) if step * decade <= limit * (1 + 1e-9)))


def length_text(length_m: float) -> str:
    """A length in nm below a micrometre, else in micrometres."""
    return f"{length_m * 1e9:g} nm" if length_m < 0.9995e-6 else f"{length_m * 1e6:g} µm"


def specimen_panels(specimens: Sequence[Specimen]) -> tuple[Figure, list[Axes]]:
    """Figure with one framed and named panel a specimen, six a row, all on one length scale."""
    views = common_views(specimens)
    n_columns = min(len(specimens), _COLUMNS)
    n_rows = -(-len(specimens) // n_columns)
    width_mm = min(PAGE_MM, 70.0 * n_columns)
    panel_mm = width_mm / n_columns
    headings = [heading(specimen, panel_mm) for specimen in specimens]
    figure = new_figure(width_mm, n_rows * (panel_mm * views[0].aspect + headings_mm(headings)) + 12, images=True)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    panels = list(grid.flat)[: len(specimens)]
    for axes, text, view in zip(panels, headings, views, strict=True):
        frame_panel(axes, view)
        axes.set_title(text, fontsize=HEADING_PT)
    for axes in list(grid.flat)[len(specimens) :]:
        axes.set_axis_off()
    add_scale_bar(grid[-1, 0])
    return figure, panels


def add_scale_bar(axes: Axes) -> None:
    """Draw a bar of round length under a framed panel, where it hides nothing."""
    left, right = axes.get_xlim()
    length = bar_length_m((right - left) / UM_PER_M)
    end = left + length * UM_PER_M
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("a scale bar needs axes that belong to a figure")
    below = axes.get_xaxis_transform() + ScaledTranslation(0, -6 / 72, figure.dpi_scale_trans)
    axes.plot([left, end], [0, 0], transform=below, clip_on=False, color=INK, linewidth=2, solid_capstyle="butt", gid="scale-bar")
    axes.text(end, 0, f" {length_text(length)}", transform=below, va="center", ha="left")


def add_colour_bar(axes: Axes, shown: ScalarMappable, label: str, **options: Any) -> Colorbar:
    """Draw a colour bar as high as the panel, to its right."""
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("a colour bar needs axes that belong to a figure")
    bar = figure.colorbar(shown, cax=axes.inset_axes((1.04, 0.0, 0.045, 1.0)), **options)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    return bar


def letter_panels(panels: Iterable[Axes]) -> None:
    """Name panels a, b, c ... at their upper left corners."""
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        axes.annotate(
            letter,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=9,
            fontweight="bold",
            fontfamily="DejaVu Sans",
        )


def legend_above(axes: Axes, *args: Any, ncols: int = 2, **options: Any) -> Legend:
    """Legend of ``axes`` above them, where it hides no data."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.3, "columnspacing": 1.2}
    legend: Legend = axes.legend(*args, **place, ncols=ncols, title_fontsize=7, alignment="left", **options)
    return legend


def heading(specimen: Specimen, width_mm: float) -> str:
    """Title and group of a specimen, broken into lines that fit above a panel; a very long title ends in dots."""
    room = max(width_mm, 10.0) / (HEADING_PT * MM_PER_PT)
    title = plain_text(broken(specimen.title, room))
    below = "standard" if specimen.standard else plain_text(shorten(specimen.group, room))
    return f"{title}\n{below}" if below else title


def headings_mm(headings: Iterable[str]) -> float:
    """Height of the tallest of some headings [mm], with the gap beneath it."""
    return 2.0 + 1.2 * HEADING_PT * MM_PER_PT * max((text.count("\n") + 1 for text in headings), default=1)


def broken(text: str, room: float) -> str:
    """A text on at most two lines as wide as ``room`` [font sizes], broken between words where it can be; a longer one ends in
    dots."""
    text = " ".join(text.split())
    if text_width(text) <= room:
        return text
    first = shorten(text, room).removesuffix("…")
    first = first.rpartition(" ")[0] or first
    return f"{first}\n{shorten(text[len(first) :].strip(), room)}"


def shorten(text: str, room: float) -> str:
    """A text as wide as at most ``room`` [font sizes]; a longer one ends in dots."""
    if text_width(text) <= room:
        return text
    widths = np.cumsum([glyph_width(sign) for sign in text])
    return f"{text[: int(np.searchsorted(widths, room - glyph_width('…'), side='right'))]}…"


def text_width(text: str) -> float:
    """Width of a text [font sizes]; a Chinese, Japanese or Korean sign is as wide as the font is high."""
    return sum(map(glyph_width, text))


def space_ticks(axes: Axes, width_mm: float) -> None:
    """Where labels along x are as long as those of energies, no more ticks than have room on axes of this width."""
    if max(map(abs, axes.get_xlim())) >= LONG_NUMBER:
        axes.xaxis.set_major_locator(MaxNLocator(max(int(width_mm / TICK_MM), 2), steps=[1, 2, 5, 10]))


def plain_text(text: str) -> str:
    """A user's text as figures can draw it, of which matplotlib takes no dollar sign for mathematics.

    Of what no font has, letters become question marks and the rest, such as emoji, is left out; where nothing else is there,
    the code point of the first stands for all.
    """
    drawn = "".join(sign if sign == "\n" or has_glyph(sign) else _substitute(sign) for sign in text)
    missing = next((sign for sign in text if sign != "\n" and not has_glyph(sign)), None)
    if missing and not drawn.strip(" \n?"):
        drawn = f"U+{ord(missing):04X}"
    return re.sub(" {2,}", " ", drawn).strip(" ").replace("$", r"\$")


def _substitute(sign: str) -> str:
    return "?" if unicodedata.category(sign)[0] in "LN" else ""


def formula_text(formula: str) -> str:
    """A chemical formula with its numbers set low: ``LiVO2``, ``Li10/7V6/7O2``; a very long one ends in dots."""
    return re.sub(r"(\d+(?:[./]\d+)?)", r"$_{\1}$", plain_text(shorten(formula, MAX_FORMULA)))
