"""Colours of figures on a dark page."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from tasks.figures.dark import CONTRAST, LIGHT, PAPER, contrast, darken, on_dark
from tasks.figures.gallery import figure_list
from tasks.figures.panel import colour_map
from tasks.figures.study import Study
from tasks.figures.style import AREA_COLOURS, DOMAIN_COLOURS, GROUP_COLOURS, REFERENCE_COLOURS, draw_dark_png, new_figure

PAGE = np.array(to_rgba(PAPER)[:3])


def test_white_becomes_the_page_and_black_light() -> None:
    np.testing.assert_allclose(on_dark(["white", "black"]), [to_rgba(PAPER), to_rgba(LIGHT)], atol=1e-9)
    assert on_dark([(1, 1, 1, 0.3)])[0, 3] == 0.3


@pytest.mark.parametrize("colour", sorted({*DOMAIN_COLOURS, *AREA_COLOURS, *GROUP_COLOURS, *REFERENCE_COLOURS}))
def test_every_colour_of_a_line_can_be_seen_on_the_page(colour: str) -> None:
    turned = on_dark([colour])[0, :3]
    assert contrast(turned, PAGE) >= CONTRAST - 1e-9
    if contrast(np.array(to_rgba(colour)[:3]), PAGE) >= CONTRAST and np.ptp(to_rgba(colour)[:3]) > 0.1:
        np.testing.assert_array_equal(turned, to_rgba(colour)[:3])


def test_domains_stay_apart() -> None:
    colours = on_dark(DOMAIN_COLOURS)[:, :3]
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 9 * np.eye(len(colours))
    assert apart.min() > 0.15


def plain() -> Figure:
    figure = new_figure(60, 40)
    axes = figure.add_subplot(title="title", xlabel="x")
    axes.plot([0, 1], [0, 1], color="black")
    axes.imshow([[0.0, np.nan]], cmap=colour_map("viridis"), extent=(0, 1, 0, 1))
    return figure


def test_axes_text_and_masked_pixels_follow_the_page_and_maps_keep_their_colours() -> None:
    figure = darken(plain())
    (axes,) = figure.axes
    assert axes.get_facecolor() == pytest.approx(to_rgba(PAPER))
    for text in (axes.title, axes.xaxis.label):
        assert to_rgba(text.get_color()) == pytest.approx(to_rgba(LIGHT))
    (image,) = axes.images
    assert tuple(image.get_cmap().get_bad()) == pytest.approx(to_rgba(PAPER))
    assert image.get_cmap()(0.5) == pytest.approx((0.127568, 0.566949, 0.550556, 1.0), abs=1e-6)


def test_nothing_white_is_left_in_a_drawn_figure(study: Study) -> None:
    picture = np.asarray(Image.open(io.BytesIO(draw_dark_png("t", plain))))
    assert (picture[0] == np.rint(255 * PAGE)).all()
    assert not (picture == 255).all(axis=-1).any()
    drawn = np.asarray(Image.open(io.BytesIO(figure_list(study)["domain-fractions"].draw_dark())))
    share = (drawn == 255).all(axis=-1).mean()
    assert share < 0.01, "white is left for numbers on coloured bars alone"
