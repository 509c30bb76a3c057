import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tasks.errors import InvalidOptionError
from tasks.figures.picture import COLOUR_MAPS, render_image, render_pixels
from tasks.figures.style import DOMAIN_COLOURS

RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)


def decode(png: bytes) -> np.ndarray:
    return imread(io.BytesIO(png), format="png")[..., :3]


@pytest.mark.parametrize("width", [120, 333, 800, 1600])
def test_the_png_is_as_wide_as_asked(width: int) -> None:
    assert decode(render_image(RAMP, 15e-9, width=width, label="Edge energy (eV)")).shape[1] == width


def test_same_input_same_bytes() -> None:
    assert render_image(RAMP, 15e-9, label="x") == render_image(RAMP.copy(), 15e-9, label="x")
    assert render_image(RAMP, 15e-9) != render_image(RAMP + 1e-3 * RAMP**2, 15e-9, vmin=0, vmax=0.9)


@pytest.mark.parametrize("cmap", COLOUR_MAPS)
def test_every_colour_map_draws(cmap: str) -> None:
    assert decode(render_image(np.round(RAMP * 6), 15e-9, cmap=cmap, width=200)).std() > 0.05


def test_plain_pixels_are_those_of_the_array_and_gaps_are_white() -> None:
    values = np.where(RAMP < 0.5, RAMP, np.nan)
    drawn = decode(render_pixels(values, cmap="gray", vmin=0, vmax=1))
    assert drawn.shape[:2] == RAMP.shape
    np.testing.assert_allclose(drawn[..., 0], np.where(RAMP < 0.5, RAMP, 1), atol=0.01)
    with pytest.raises(InvalidOptionError, match="cmap"):
        render_pixels(values, cmap="no")


def test_limits_set_the_colours() -> None:
    flat = np.full((20, 20), 5.0)
    low = decode(render_image(flat, 1e-8, vmin=5.0, vmax=6.0, cmap="gray"))
    high = decode(render_image(flat, 1e-8, vmin=4.0, vmax=5.0, cmap="gray"))
    y, x = low.shape[0] // 3, low.shape[1] // 3
    np.testing.assert_allclose(low[y, x], 0, atol=0.01)
    np.testing.assert_allclose(high[y, x], 1, atol=0.01)


def test_masked_pixels_are_white_and_the_mask_has_its_shape() -> None:
    image = np.full((30, 30), 1.0)
    image[:, :15] = np.nan
    png = decode(render_image(image, 1e-8, vmin=0, vmax=1, cmap="viridis"))
    row = png[png.shape[0] // 2]
    yellow = np.flatnonzero(np.abs(row - [0.993, 0.906, 0.144]).max(axis=1) < 0.02)
    first_half = row[max(yellow[0] - 200, 5) : yellow[0] - 3]
    assert np.all(first_half > 0.99)


def test_domains_have_their_colours() -> None:
    label = np.repeat(np.array([[0, 1, 2, 3]], dtype=np.int8), 4, axis=0)
    png = decode(render_image(label, 1e-8, cmap="domains", label="Domain"))
    found = {tuple(np.round(colour, 2)) for colour in png[png.shape[0] // 2]}
    for colour in DOMAIN_COLOURS[:3]:
        assert tuple(np.round(np.round(np.array(to_rgb(colour)) * 255) / 255, 2).astype(np.float32)) in found


@pytest.mark.parametrize("image", [np.ones((4, 4), dtype=bool), np.full((3, 3), np.nan), np.zeros((1, 1), np.int8)])
def test_dull_images_draw(image: np.ndarray) -> None:
    assert render_image(image, 1e-8, width=150).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"cmap": "jet"}, "cmap must be one of"),
        ({"vmin": 2.0, "vmax": 1.0}, "vmin must be below vmax"),
        ({"vmin": float("nan")}, "vmin must be below vmax"),
        ({"vmin": -1e308, "vmax": 1e308}, "vmin must be below vmax"),
        ({"vmin": float("-inf")}, "vmin must be below vmax"),
        ({"vmax": float("inf")}, "vmin must be below vmax"),
        ({"vmax": 1e308}, "vmin must be below vmax"),
        ({"width": 10}, "width must be 120 to 4096"),
        ({"width": 100_000}, "width must be 120 to 4096"),
        ({"image": np.zeros((2, 3, 4))}, "real \\(Y, X\\) array"),
        ({"image": np.zeros((2, 3), dtype=complex)}, "real \\(Y, X\\) array"),
        ({"image": np.zeros((0, 3))}, "real \\(Y, X\\) array"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidOptionError, match=rule):
        render_image(**{"image": RAMP, "pixel_size_m": 15e-9, **change})


@pytest.mark.parametrize(
    "limits", [(0.0, 5e-324), (1e30, 1.0000000000000002e30), (0.0, 1e300), (-1e30, 1e30), (1.0, 1.0 + 2**-52)]
)
def test_extreme_limits_draw(limits: tuple[float, float]) -> None:
    assert render_image(RAMP, 15e-9, vmin=limits[0], vmax=limits[1], width=150).startswith(b"\x89PNG")


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.5, 1e30, -4.0])
def test_the_colours_of_domains_take_any_values(value: float) -> None:
    assert render_image(np.array([[value, 1.0], [0.0, 2.0]]), 15e-9, cmap="domains", width=150).startswith(b"\x89PNG")


@pytest.mark.parametrize("shape", [(400, 2), (2, 400), (4000, 1)])
def test_a_narrow_map_makes_no_endless_picture(shape: tuple[int, int]) -> None:
    height, width = decode(render_image(np.ones(shape, np.int8), 1e-8, width=300)).shape[:2]
    assert width == 300
    assert height < 1200
