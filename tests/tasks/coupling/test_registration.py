"""One grid: interpolation is band-limited, scale and drift are undone to hundredths of a pixel, corrections go back."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from tasks.coupling.registration import (
    FixedImage,
    Grid,
    Interpolation,
    Resampling,
    coarse_shift,
    common_grid,
    to_canvas,
    to_grid,
)
from tasks.errors import RegistrationError
from tasks.ptycho.scan import Canvas

Array = NDArray[np.float64]


def pattern(y_m: Array, x_m: Array) -> Array:
    """A smooth image known everywhere: features of 60 nm and more."""
    y, x = y_m[:, None] / 1e-6, x_m[None, :] / 1e-6
    return np.asarray(np.exp(-(y**2 + 1.3 * x**2) * 3) * (1 + 0.3 * np.cos(17 * y + 5 * x) + 0.2 * np.sin(23 * x - 4 * y)))


def sampled(canvas: Canvas, moved_m: Sequence[float]) -> Array:
    y, x = (canvas.origin_m[k] + np.arange(float(canvas.shape[k])) * canvas.pixel_size_m - moved_m[k] for k in (0, 1))
    return pattern(y, x)


CANVAS = Canvas((160, 160), 15e-9, (-1.2e-6, -1.21e-6))
GRID = Grid(-0.9e-6 + np.arange(120.0) * 14.7e-9, -0.88e-6 + np.arange(118.0) * 14.7e-9, 14.7e-9)


def test_waves_are_interpolated_almost_to_nyquist() -> None:
    points = np.random.default_rng(0).uniform(20, 80, 200)
    matrix = Interpolation.at(points, 100).matrix()
    for frequency, tolerance in ((0.05, 1e-4), (0.2, 1e-3), (0.4, 2e-2)):
        wave = np.exp(2j * np.pi * frequency * np.arange(100))
        np.testing.assert_allclose(matrix @ wave, np.exp(2j * np.pi * frequency * points), atol=tolerance)
    np.testing.assert_allclose(matrix @ np.ones(100), 1)


def test_points_off_the_array_are_zero() -> None:
    assert not Interpolation.at(np.array([-3.0, 104.0]), 100).matrix().any()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.37, -1.81)])
def test_scale_and_drift_are_undone_in_one_interpolation(shift: tuple[float, float]) -> None:
    moved = tuple(s * GRID.pixel_size_m for s in shift)
    image = to_grid(sampled(CANVAS, moved), CANVAS, GRID, np.array(shift))
    np.testing.assert_allclose(image, pattern(GRID.y_m, GRID.x_m), atol=2e-3)


def test_a_correction_goes_back_to_where_it_came_from() -> None:
    shift = np.array([1.4, -2.6])
    moved = tuple(shift * GRID.pixel_size_m)
    back = to_canvas(pattern(GRID.y_m, GRID.x_m), GRID, CANVAS, shift)
    inside = (slice(40, 120), slice(40, 120))
    np.testing.assert_allclose(back[inside], sampled(CANVAS, moved)[inside], atol=2e-3)
    assert back[0, 0] == 0


@pytest.mark.parametrize("shift", [(0.31, -0.18), (-0.44, 0.4)])
@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_drift_is_found_to_hundredths_of_a_pixel_whatever_the_contrast(shift: tuple[float, float], gain: float) -> None:
    fixed = pattern(GRID.y_m, GRID.x_m)
    moving = gain * pattern(GRID.y_m - shift[0] * GRID.pixel_size_m, GRID.x_m - shift[1] * GRID.pixel_size_m) + 0.05
    moving += np.random.default_rng(1).normal(0, 0.003, moving.shape)
    found = FixedImage(fixed, np.ones(GRID.shape)).shift_of(moving)
    np.testing.assert_allclose(found, shift, atol=0.02)


@pytest.mark.parametrize("wave", [(1.0, 0.0), (0.4, -0.9)])
def test_slow_waves_of_the_phase_are_no_drift(wave: tuple[float, float]) -> None:
    """A wave of 1 mrad and 100 px across a dome of 0.7 rad with details; by the whole image it would be a drift of 0.04 px."""
    y, x = (axis - 60.0 for axis in np.indices(GRID.shape))
    dome = -0.7 * np.maximum(1 - (y**2 + x**2) / 50**2, 0)
    details = 0.05 * ndimage.gaussian_filter(np.random.default_rng(5).normal(size=GRID.shape), 2.0) / 0.14
    reference = dome * (1 + details)
    slow = 1e-3 * np.sin(2 * np.pi * (wave[0] * y + wave[1] * x) / 100)
    found = FixedImage(reference, np.ones(GRID.shape)).shift_of(reference + slow)
    np.testing.assert_allclose(found, 0, atol=0.01)


def test_an_image_without_details_shows_its_drift_all_the_same() -> None:
    y, x = (axis - 60.0 for axis in np.indices(GRID.shape))
    wide = [np.exp(-((y - shift) ** 2 + (x + shift) ** 2) / (2 * 25**2)) for shift in (0.0, 0.3)]
    noisy = wide[1] + np.random.default_rng(2).normal(0, 1e-3, GRID.shape)
    np.testing.assert_allclose(FixedImage(wide[0], np.ones(GRID.shape)).shift_of(noisy), (0.3, -0.3), atol=0.02)


def test_whole_pixels_are_found_by_correlation() -> None:
    fixed = pattern(GRID.y_m, GRID.x_m)
    moving = pattern(GRID.y_m - 7 * GRID.pixel_size_m, GRID.x_m + 4 * GRID.pixel_size_m)
    np.testing.assert_array_equal(coarse_shift(fixed, moving, np.ones(GRID.shape)), (7, -4))


@pytest.mark.parametrize("shape", [(64, 64), (61, 53), (96, 31)])
def test_whole_pixels_are_those_of_an_independent_program(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[1])
    fixed = ndimage.gaussian_filter(rng.normal(size=shape), 2.0)
    for shift in ((0, 0), (3, -5), (-shape[0] // 3, shape[1] // 3), (5, 1)):
        moving = np.roll(fixed, shift, (0, 1)) + rng.normal(0, 0.02, shape)
        weight = ndimage.gaussian_filter(rng.uniform(0.5, 1, shape), 4.0)
        found = coarse_shift(fixed, moving, weight)
        expected, _, _ = phase_cross_correlation(moving * weight, fixed * weight, normalization=None)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(found, shift)


def test_drift_of_many_is_found_against_one_whatever_their_mean() -> None:
    fixed, weight = pattern(GRID.y_m, GRID.x_m), np.random.default_rng(3).uniform(size=GRID.shape)
    prepared = FixedImage(fixed, weight)
    for shift in (0.1, -0.3):
        moving = pattern(GRID.y_m - shift * GRID.pixel_size_m, GRID.x_m)
        np.testing.assert_allclose(prepared.shift_of(moving), (shift, 0), atol=0.01)
        np.testing.assert_allclose(prepared.shift_of(moving), prepared.shift_of(moving + 2 * np.pi), atol=1e-9)


def test_a_resampling_serves_any_number_of_images() -> None:
    place, shift = Resampling.of(CANVAS, GRID, np.array([0.4, -1.7])), np.array([0.4, -1.7])
    image = sampled(CANVAS, (0.0, 0.0)).astype(np.complex64) * np.complex64(1j)
    np.testing.assert_array_equal(place(image, 1.0), to_grid(image, CANVAS, GRID, shift, 1.0))
    assert place(image).dtype == np.complex64
    off = Resampling.of(CANVAS, GRID, np.array([400.0, 0.0]))
    assert np.all(off(image, 1.0) == 1)


def test_images_that_do_not_resemble_each_other_are_an_error() -> None:
    fixed = pattern(GRID.y_m, GRID.x_m)
    with pytest.raises(RegistrationError, match="resemble"):
        FixedImage(fixed, np.ones(GRID.shape)).shift_of(-fixed)


def test_common_grid_has_the_finest_pixel_and_the_shared_area() -> None:
    coarse, fine = Canvas((100, 100), 15e-9, (0.0, 0.0)), Canvas((100, 100), 14.7e-9, (0.1e-6, 0.0))
    grid = common_grid([coarse, fine], [(10, 89, 10, 89)] * 2)
    assert grid.pixel_size_m == 14.7e-9
    assert grid.y_m[0] == pytest.approx(0.1e-6 + 10 * 14.7e-9)
    assert grid.x_m[-1] <= 89 * 14.7e-9


def test_fields_that_do_not_meet_are_an_error() -> None:
    with pytest.raises(RegistrationError, match="share an area"):
        common_grid([Canvas((20, 20), 15e-9, (0.0, 0.0)), Canvas((20, 20), 15e-9, (1e-3, 0.0))], [(0, 19, 0, 19)] * 2)
