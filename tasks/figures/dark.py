"""Figures for a dark page: white becomes the page's colour, ink becomes light, and what has a colour keeps it.

Neutral colours change places from dark to light, and colours too dark to be seen on the page become lighter. Colour maps stay as
they are, but for what is white in them: pixels that are masked, or outside.
"""

from typing import Any, Final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection
from matplotlib.colors import ListedColormap, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

PAPER: Final = "#1b2124"
"""Colour of the sheets of the dark page."""
LIGHT: Final = "#e7e9e6"
"""What is black on white becomes this."""
NEUTRAL: Final = 0.06
"""Greatest difference of red, green and blue in a colour that is called neutral."""
GROUND: Final = 0.7
"""Lightness from which on a neutral colour is a ground, or a rule on it, and need not stand out."""
CONTRAST: Final = 3.0
"""Least contrast with the page of whatever else is drawn (WCAG 2.2, 1.4.11)."""
FEW_COLOURS: Final = 32
"""Colour maps of up to so many colours are of categories."""
ON_COLOUR: Final = "on-colour"
"""``gid`` of texts that lie on a coloured surface, and so keep their colour."""


def darken(figure: Figure) -> Figure:
    """Turn the colours of a figure for a dark page, in place."""
    artists = figure.findobj()
    for artist in artists:
        if artist.get_gid() != ON_COLOUR:
            _turn(artist)
    for axis in (artist for artist in artists if isinstance(artist, Axis)):  # most ticks are made when they are drawn
        axis.set_tick_params(which="both", color=LIGHT, labelcolor=LIGHT)
    return figure


def on_dark(colours: ArrayLike) -> NDArray[np.float64]:
    """(N, 4) colours for a dark page, of N colours as matplotlib takes them."""
    found = to_rgba_array(colours)
    return np.array([_turned(colour) for colour in found]).reshape(-1, 4)


def _turned(colour: NDArray[np.float64]) -> NDArray[np.float64]:
    rgb, paper, light = colour[:3], np.array(to_rgba(PAPER)[:3]), np.array(to_rgba(LIGHT)[:3])
    if np.ptp(rgb) <= NEUTRAL:
        is_ground, rgb = rgb.mean() >= GROUND, light + rgb.mean() * (paper - light)
        if is_ground:
            return np.array([*rgb, colour[3]])
    while contrast(rgb, paper) < CONTRAST:
        rgb = rgb + 0.1 * (1 - rgb)
    return np.array([*rgb, colour[3]])


def contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Contrast ratio of two colours (3,), 1 to 21 (WCAG 2.2, "contrast ratio")."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(rgb: NDArray[np.float64]) -> float:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _turn(artist: Artist) -> None:
    if isinstance(artist, Text):
        artist.set_color(_one(artist.get_color()))
    elif isinstance(artist, Line2D):
        artist.set_color(_one(artist.get_color()))
        artist.set_markerfacecolor(_one(artist.get_markerfacecolor()))
        artist.set_markeredgecolor(_one(artist.get_markeredgecolor()))
    elif isinstance(artist, Patch):
        artist.set_edgecolor(_one(artist.get_edgecolor()))
        artist.set_facecolor(_one(artist.get_facecolor()))
    elif isinstance(artist, Collection) and artist.get_array() is None:
        artist.set_edgecolor([*map(tuple, on_dark(artist.get_edgecolor()))])
        artist.set_facecolor([*map(tuple, on_dark(artist.get_facecolor()))])
    if isinstance(artist, ScalarMappable) and artist.get_array() is not None:
        _turn_map(artist)


def _one(colour: Any) -> Any:
    """One colour turned; "none" and the like as they are."""
    return colour if isinstance(colour, str) and colour.lower() in ("none", "auto") else tuple(on_dark([colour])[0])


def _turn_map(shown: ScalarMappable) -> None:
    colours = shown.get_cmap()
    if isinstance(colours, ListedColormap) and colours.N <= FEW_COLOURS:
        colours = ListedColormap(on_dark(colours.colors))
    shown.set_cmap(colours.with_extremes(bad=_one(colours.get_bad())))
