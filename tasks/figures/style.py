"""How figures look: sizes, colours, and the step from a drawn figure to PNG bytes."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Final, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

Arguments = ParamSpec("Arguments")

MM_PER_INCH: Final = 25.4
PAGE_MM: Final = 180.0
"""Width of two journal columns [mm]."""
DPI: Final = 300

STYLE: Final[Any] = {
    "font.family": ["DejaVu Sans", "Noto Sans CJK JP"],
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
AREA_COLOURS: Final = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STANDARD_COLOUR: Final = "#777777"
INK: Final = "#222222"
FAINT: Final = "#999999"

WIDE_FONT: Final = ("noto_cjk_sans_jp_regular", "NotoSansCJKjp-Regular.otf")
"""Package and file of the font of Chinese, Japanese and Korean titles (SIL Open Font License)."""

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
        return _print(build(*args, **kwargs), title, bbox_inches="tight", pad_inches=0.03)


def draw_whole_png(title: str, build: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
    """PNG of exactly the figure's size in pixels, otherwise as ``draw_png``."""
    with drawing_style():
        return _print(build(*args, **kwargs), title)


@contextmanager
def drawing_style() -> Iterator[None]:
    """Matplotlib in the project's style, for one thread at a time."""
    with _DRAWING:
        _add_wide_font()
        with matplotlib.rc_context(STYLE):
            yield


@cache
def _add_wide_font() -> None:
    package, file = WIDE_FONT
    with as_file(files(package) / file) as path:
        fontManager.addfont(path)


def _print(figure: Figure, title: str, **cut: Any) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", metadata={"Title": title, "Software": "ptyxas"}, **cut)
    return buffer.getvalue()
