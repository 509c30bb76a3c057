from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tasks.figures.panel import (
    add_scale_bar,
    bar_length_m,
    common_views,
    formula_text,
    frame_panel,
    heading,
    length_text,
    plain_text,
    shared_limits,
    show_domains,
    show_image,
    specimen_panels,
    text_width,
    whole_view,
)
from tasks.figures.study import Specimen, Study
from tasks.figures.style import DOMAIN_COLOURS, drawing_style


def drawn_pixels(figure: Figure) -> np.ndarray:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def longest_run(row: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return int(max(edges[1::2] - edges[::2], default=0))


@pytest.mark.parametrize(
    ("width_m", "length_m", "text"),
    [
        (1.0e-6, 200e-9, "200 nm"),
        (2.6e-6, 1e-6, "1 µm"),
        (6e-7, 200e-9, "200 nm"),
        (4.9e-8, 10e-9, "10 nm"),
        (1.25e-6, 500e-9, "500 nm"),
    ],
)
def test_scale_bar_has_the_longest_round_length(width_m: float, length_m: float, text: str) -> None:
    assert bar_length_m(width_m) == pytest.approx(length_m, rel=1e-12)
    assert length_text(bar_length_m(width_m)) == text


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("LiVO₂ 粒子 β²", "LiVO₂ 粒子 β²"),
        ("🧪 batch 3", "batch 3"),
        ("a 🧪 b", "a b"),
        ("5 $ 🔬", r"5 \$"),
        ("ตย 3", "?? 3"),
        ("🧪🔬", "U+1F9EA"),
        ("ตย", "U+0E15"),
        ("tab\there\x1b", "tabhere"),
        ("one\ntwo", "one\ntwo"),
        ("🇯🇵", "U+1F1EF"),
        ("\ue000\U000f0000 private", "private"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_a_users_text_is_what_the_fonts_can_draw(text: str, drawn: str) -> None:
    assert plain_text(text) == drawn


def test_scale_bar_is_as_long_on_paper_as_it_says() -> None:
    figure = Figure(figsize=(4, 4), dpi=200)
    axes = figure.add_axes((0.1, 0.2, 0.8, 0.7))
    image = np.zeros((40, 50))
    pixel_size_m = 20e-9
    view = whole_view(image.shape, pixel_size_m)
    show_image(axes, image, pixel_size_m, view, "gray_r", (0, 1))
    add_scale_bar(axes)
    dark = np.asarray(np.all(drawn_pixels(figure) < 80, axis=2))
    longest = max(longest_run(row) for row in dark)
    # 50 pixels of 20 nm lie on 0.8 x 4 inch at 200 dpi = 640 px, and the bar says 200 nm
    assert [text.get_text().strip() for text in axes.texts] == ["200 nm"]
    assert longest == pytest.approx(0.2 * 640, abs=1.5)
    (bar,) = [line for line in axes.lines if line.get_gid() == "scale-bar"]
    assert np.ptp(bar.get_xdata()) == pytest.approx(0.2, rel=1e-9)


def test_masked_pixels_are_white_and_values_have_their_colour() -> None:
    figure = Figure(figsize=(1, 1), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    image = np.array([[0.0, np.nan], [np.inf, 1.0]])
    show_image(axes, image, 1e-8, whole_view(image.shape, 1e-8), "viridis", (0, 1))
    pixels = drawn_pixels(figure)
    np.testing.assert_array_equal(pixels[25, 75], [255, 255, 255])
    np.testing.assert_array_equal(pixels[75, 25], [255, 255, 255])
    np.testing.assert_allclose(pixels[25, 25] / 255, [0.267004, 0.004874, 0.329415], atol=0.01)
    np.testing.assert_allclose(pixels[75, 75] / 255, [0.993248, 0.906157, 0.143936], atol=0.01)


def test_row_zero_is_at_the_top() -> None:
    figure = Figure(figsize=(1, 1), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    image = np.zeros((10, 10))
    image[0, 9] = 1
    show_image(axes, image, 1e-8, whole_view(image.shape, 1e-8), "gray_r", (0, 1))
    pixels = drawn_pixels(figure)
    assert pixels[5, 94].max() < 10
    assert pixels[94, 5].min() > 245


@pytest.mark.parametrize("k", range(13))
def test_each_domain_has_its_own_colour_and_outside_is_white(k: int) -> None:
    figure = Figure(figsize=(1, 1), dpi=50)
    axes = figure.add_axes((0, 0, 1, 1))
    frame_panel(axes, whole_view((3, 3), 1e-8))
    show_domains(axes, np.full((3, 3), k, dtype=np.int8), 1e-8)
    wanted = (1, 1, 1) if k == 0 else to_rgb(DOMAIN_COLOURS[k - 1])
    np.testing.assert_allclose(drawn_pixels(figure)[25, 25] / 255, wanted, atol=0.005)


def test_domain_colours_differ_in_lightness_or_hue_for_colour_blind_readers() -> None:
    # Machado et al. 2009, severity 1: protanopia and deuteranopia, on linear RGB
    blind = {
        "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
        "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    }
    linear = np.array([to_rgb(colour) for colour in DOMAIN_COLOURS[:8]]) ** 2.2
    for matrix in blind.values():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(8, 1)]
        assert distance.min() > 0.1


def test_limits_are_shared_by_all_images_and_blind_to_nan() -> None:
    a, b = np.full((5, 5), np.nan), np.linspace(10, 20, 25).reshape(5, 5)
    a[0, 0] = 0.0
    assert shared_limits([a, b], 0, 100) == (0.0, 20.0)
    assert shared_limits([np.full((2, 2), np.nan)]) == (0.0, 1.0)
    assert shared_limits([np.full((2, 2), 7.0)]) == (6.5, 7.5)
    assert shared_limits([]) == (0.0, 1.0)


def test_views_have_one_size_and_hold_every_specimen(study: Study) -> None:
    views = common_views(study.specimens)
    assert len({(view.height_m, view.width_m) for view in views}) == 1
    for specimen, view in zip(study.specimens, views, strict=True):
        y, x = np.nonzero(specimen.kept())
        assert np.abs(y * specimen.pixel_size_m - view.centre_m[0]).max() < view.height_m / 2
        assert np.abs(x * specimen.pixel_size_m - view.centre_m[1]).max() < view.width_m / 2


def test_a_view_stays_within_its_array_where_it_can() -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[0:20, 40:60] = True
    image = np.zeros((1, 60, 60), dtype=np.float32)
    corner = Specimen("a", "a", np.array([5500.0]), 1e-8, image, image, sample_mask=mask)
    (view,) = common_views([corner], 0.5)
    assert view.height_m == pytest.approx(40e-8)
    assert view.centre_m[0] - view.height_m / 2 == pytest.approx(-0.5e-8)
    assert view.centre_m[1] + view.width_m / 2 == pytest.approx(59.5e-8)


def test_a_long_title_is_broken_and_cut() -> None:
    image = np.zeros((1, 4, 4), dtype=np.float32)
    specimen = Specimen(
        "a", "cathode particle number four of the second batch, charged", np.array([1.0]), 1e-8, image, image, group="charged"
    )
    lines = heading(specimen, 27).split("\n")
    assert len(lines) == 3
    assert max(len(line) for line in lines) <= 20
    assert lines[1].endswith("…")
    assert lines[2] == "charged"


@pytest.mark.parametrize("name", ["g" * 200, "W" * 200, "i" * 200, "Sehr langer Titel " * 8])
def test_names_of_wide_and_narrow_letters_fill_their_room_and_no_more(name: str) -> None:
    image = np.zeros((1, 40, 40), dtype=np.float32)
    mask = np.ones((40, 40), bool)
    named = [Specimen(str(k), name, np.array([1.0]), 1e-8, image, image, group=name, sample_mask=mask) for k in range(4)]
    with drawing_style():
        figure, panels = specimen_panels(named)
        figure.draw_without_rendering()
        widths = [axes.title.get_window_extent().width / axes.get_window_extent().width for axes in panels]
        top = max(axes.title.get_window_extent().y1 for axes in panels)
    assert 0.7 < max(widths) < 1.1
    assert top <= figure.bbox.y1
    assert text_width("試料") == 2


def test_formulas_are_set_and_a_user_s_dollars_are_not_mathematics() -> None:
    assert formula_text("Li10/7V6/7O2") == "Li$_{10/7}$V$_{6/7}$O$_{2}$"
    assert formula_text("Li1.2O") == "Li$_{1.2}$O"
    assert plain_text("a $b^$") == r"a \$b^\$"


def test_panels_of_specimens_have_one_length_scale_and_the_bar_starts_at_its_frame(study: Study) -> None:
    figure, panels = specimen_panels(study.specimens)
    assert len(panels) == 7
    assert len({round(float(np.ptp(axes.get_xlim())), 9) for axes in panels}) == 1
    bars = [(axes, line) for axes in figure.axes for line in axes.lines if line.get_gid() == "scale-bar"]
    assert len(bars) == 1
    axes, bar = bars[0]
    assert axes is panels[6]
    assert np.asarray(bar.get_xdata())[0] == pytest.approx(axes.get_xlim()[0])
