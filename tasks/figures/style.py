"""How figures look: sizes, colours, and the step from a drawn figure to PNG bytes."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tasks.figures.dark import PAPER, darken

Arguments = ParamSpec("Arguments")

MM_PER_INCH: Final = 25.4
PAGE_MM: Final = 180.0
"""Width of two journal columns [mm]."""
DPI: Final = 300
MARGIN_PX: Final = 9
"""White around what is drawn."""
COMPRESSION: Final = 4
"""Level of a PNG's compression: of 9, which takes three times as long as this, a file is a tenth smaller."""

STYLE: Final[Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "mathtext.default": "regular",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.usetex": False,
    "path.simplify": True,
    "svg.hashsalt": "ptyxas",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}

DOMAIN_COLOURS: Final = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#000000",
    "#882255",
    "#999933",
    "#332288",
    "#AAAAAA",
)
"""Colours of domains 1..12: Okabe and Ito's eight, then four of Paul Tol's muted ones."""
GROUP_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
AREA_COLOURS: Final = ("#004488", "#BB5566", "#DDAA33", "#117733", "#AA4499", "#44AA99")
"""Paul Tol's high-contrast colours, then three of his muted ones; none is a domain's or a group's."""
REFERENCE_COLOURS: Final = ("#222222", "#B5651D", "#6A5ACD", "#708090")
"""Told apart from areas, and by their dashes from each other."""
STANDARD_COLOUR: Final = "#777777"
INK: Final = "#222222"
FAINT: Final = "#999999"

WIDE_FONT: Final = ("noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf")
"""Package and file of the font of Chinese, Japanese and Korean titles (SIL Open Font License)."""
WIDE_FAMILY: Final = ["DejaVu Sans", "Noto Sans CJK JP"]
FIRST_WIDE_SIGN: Final = "\u1100"
"""Hangul, Chinese and Japanese signs come from here on."""

GLYPH_PT: Final = 100.0
"""Size at which the widths of characters are measured [pt]."""

# rcParams belong to the process, and the service draws single images from a pool of threads
_DRAWING: Final = threading.RLock()


def new_figure(width_mm: float, height_mm: float, *, images: bool = False) -> Figure:
    """Empty figure of a given size [mm] that lays itself out; ``images`` draws panels of fixed aspect together."""
    size = (width_mm / MM_PER_INCH, height_mm / MM_PER_INCH)
    return Figure(figsize=size, dpi=DPI, layout="compressed" if images else "constrained")


def draw_png(title: str, build: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
    """PNG of the figure that ``build(*args, **kwargs)`` returns, in the project's style, cut to what is drawn.

    The file holds no date and no library version, so that the same arrays give the same bytes.
    """
    with drawing_style():
        return png_of(without_margins(_drawn(_built(partial(build, *args, **kwargs)))), title)


def draw_dark_png(title: str, build: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
    """PNG for a dark page, otherwise as ``draw_png``."""
    with drawing_style():
        picture = _drawn(darken(_built(partial(build, *args, **kwargs))))
        return png_of(without_margins(picture, PAPER), title)


def draw_whole_png(title: str, build: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
    """PNG of exactly the figure's size in pixels, otherwise as ``draw_png``."""
    with drawing_style():
        return png_of(_drawn(_built(partial(build, *args, **kwargs))), title)


def draw_vector(
    file_format: Literal["pdf", "svg"],
    title: str,
    build: Callable[Arguments, Figure],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> bytes:
    """PDF or SVG of the figure that ``build(*args, **kwargs)`` returns, otherwise as ``draw_png``."""
    nameless = dict.fromkeys(("CreationDate", "Producer") if file_format == "pdf" else ("Date",))
    buffer = io.BytesIO()
    with drawing_style():
        _built(partial(build, *args, **kwargs)).savefig(
            buffer,
            format=file_format,
            bbox_inches="tight",
            pad_inches=MARGIN_PX / DPI,
            metadata={"Title": title, "Creator": "ptyxas", **nameless},
        )
    return buffer.getvalue()


@contextmanager
def drawing_style() -> Iterator[None]:
    """Matplotlib in the project's style, for one thread at a time."""
    with _DRAWING, matplotlib.rc_context(STYLE):
        yield


def _built(build: Callable[[], Figure]) -> Figure:
    """The figure, with the wide font where a text needs it: looking each letter up in two fonts takes longer."""
    figure = build()
    texts = "".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    if max(texts, default="") < FIRST_WIDE_SIGN:
        return figure
    _add_wide_font()
    with matplotlib.rc_context({"font.family": WIDE_FAMILY}):
        return build()


@cache
def _add_wide_font() -> None:
    with _wide_font() as path:
        fontManager.addfont(path)


def _wide_font() -> AbstractContextManager[Path]:
    package, file = WIDE_FONT
    return as_file(files(package) / file)


def has_glyph(sign: str) -> bool:
    """Whether one of the fonts that figures use can draw a character."""
    return ord(sign) in _signs(WIDE_FAMILY[0]) or (sign >= FIRST_WIDE_SIGN and ord(sign) in _signs(WIDE_FAMILY[1]))


@cache
def glyph_width(sign: str) -> float:
    """Width of a character as a share of the font's size; that of a square where no font has it."""
    if sign >= FIRST_WIDE_SIGN or ord(sign) not in _signs(WIDE_FAMILY[0]):
        return 1.0
    font = _latin_font()
    return float(font.load_char(ord(sign)).linearHoriAdvance) / 65536 / GLYPH_PT


@cache
def _latin_font() -> FT2Font:
    font = FT2Font(findfont(WIDE_FAMILY[0]))
    font.set_size(GLYPH_PT, 72)
    return font


@cache
def _signs(family: str) -> frozenset[int]:
    """Code points that a font of `WIDE_FAMILY` has a glyph for."""
    if family == WIDE_FAMILY[0]:
        return frozenset(FT2Font(findfont(family)).get_charmap())
    with _wide_font() as path:
        return frozenset(FT2Font(str(path)).get_charmap())


def _drawn(figure: Figure) -> NDArray[np.uint8]:
    """(Y, X, 4) colours of a figure, which is laid out once; ``Figure.savefig`` does it by drawing everything twice."""
    canvas: Any = FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def without_margins(picture: NDArray[np.uint8], paper: str = "white") -> NDArray[np.uint8]:
    """The part of a picture (Y, X, 4) that is not the colour of the paper, with `MARGIN_PX` of it around."""
    ground = np.rint(255 * np.array(to_rgba(paper))).astype(np.uint8)
    inked = picture.view(np.uint32)[..., 0] != ground.view(np.uint32)[0]
    padded = []
    for lines in (inked.any(axis=1), inked.any(axis=0)):
        found = np.flatnonzero(lines)
        padded.append((found[0], found[-1] + 1) if found.size else (0, lines.size))
    (top, bottom), (left, right) = padded
    framed = np.empty((bottom - top + 2 * MARGIN_PX, right - left + 2 * MARGIN_PX, 4), np.uint8)
    framed[:] = ground
    framed[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = picture[top:bottom, left:right]
    return framed


def png_of(picture: NDArray[np.uint8], title: str) -> bytes:
    """PNG of a picture (Y, X, 3 or 4), with its title and no date."""
    about = PngInfo()
    about.add_itxt("Title", title)
    about.add_text("Software", "ptyxas")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture[..., :3])).save(
        buffer, "PNG", pnginfo=about, dpi=(DPI, DPI), compress_level=COMPRESSION
    )
    return buffer.getvalue()
