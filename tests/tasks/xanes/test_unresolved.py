"""What a pixel does not resolve: borders drawn anywhere give the factors again, and noise gives the blur again."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import ndtr

from tasks.xanes.unresolved import BLUR_PX, UNRESOLVED, blur_of, error_of_sum, unresolved_variance

Array = NDArray[np.float64]


def borders(rng: np.random.Generator, n: int, blur_px: float = 0.0) -> tuple[Array, Array]:
    """(n, 3, 3) pixels that are means over their area of two states, 0 and 1, and the state (n,) in the middle of each image.

    The border is straight, blurred by a Gaussian, and runs anywhere near the middle, in any direction.
    """
    centres = (np.arange(36) + 0.5) / 12 - 1.5
    reach = 2.2 + 5 * blur_px
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(-reach, reach, n)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    beyond = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y - distance[:, None, None]
    state = ndtr(beyond / blur_px) if blur_px else (beyond > 0).astype(float)
    return state.reshape(n, 3, 12, 3, 12).mean(axis=(2, 4)), (distance < 0).astype(float)


@pytest.mark.parametrize("blur_px", [0.0, 0.3, 0.5, 0.8, 1.2])
def test_errors_of_pixels_at_a_border_are_what_the_slope_says(blur_px: float) -> None:
    pixels, middle = borders(np.random.default_rng(0), 20_000, blur_px)
    squared = (pixels[:, 1, 1] - middle) ** 2
    slopes = (pixels[:, 1, 2] - pixels[:, 1, 0]) ** 2 / 4 + (pixels[:, 2, 1] - pixels[:, 0, 1]) ** 2 / 4
    factor = UNRESOLVED[blur_px == BLUR_PX].item()
    assert squared.sum() / slopes.sum() == pytest.approx(factor, rel=0.03)
    found = [unresolved_variance(image, np.zeros((3, 3)), blur_px)[1, 1] for image in pixels[:50]]
    np.testing.assert_allclose(found, factor * slopes[:50])


def test_noise_alone_leaves_little_unresolved() -> None:
    noise = np.random.default_rng(1).normal(0, 0.3, (80, 80))
    found = unresolved_variance(noise, np.full(noise.shape, 0.3**2))
    assert np.median(found) < 0.01 * 0.3**2
    assert np.mean(found) < 0.1 * 0.3**2


def test_next_to_masked_pixels_and_to_endless_errors_no_slope_is_known() -> None:
    values, variance = np.outer(np.ones(5), np.arange(5.0)), np.zeros((5, 5))
    np.testing.assert_allclose(unresolved_variance(values, variance)[2], UNRESOLVED[0] * np.array([0, 1, 1, 1, 0]))
    values[2, 3], variance[3, 3] = np.nan, np.inf
    found = unresolved_variance(values, variance)
    np.testing.assert_allclose(found[2:4, 2], 0)
    assert np.isfinite(found).all()


def spectra(rng: np.random.Generator, blur_px: float) -> Array:
    """(40, 60, 60) noise of a given blur over a smooth specimen, whose pixels have a step at one of two energies."""
    y, x = np.mgrid[:60, :60]
    thickness = 1.0 - ((y - 30) ** 2 + (x - 30) ** 2) / 2500
    energy, edge = np.arange(40.0)[:, None, None], np.where(x < 30, 18.0, 20.0)
    fine = rng.normal(size=(40, 240, 240))  # a quarter of a pixel each, so that narrow Gaussians are sampled well
    noise = ndimage.gaussian_filter(fine, (0, 4 * blur_px, 4 * blur_px), truncate=6.0)[:, ::4, ::4]
    return np.asarray(0.01 * thickness / (1 + np.exp(edge - energy)) + 1e-3 * noise / noise.std())


@pytest.mark.parametrize("blur_px", [0.4, 0.5, 0.7, 1.0])
def test_noise_tells_how_far_an_image_is_blurred(blur_px: float) -> None:
    rng = np.random.default_rng(2)
    kept = np.hypot(*(np.mgrid[:60, :60] - 30)) < 25
    images = np.where(kept, spectra(rng, blur_px), np.nan)
    assert blur_of(images, kept) == pytest.approx(blur_px, abs=0.05)


def test_white_noise_and_too_little_to_compare_are_no_blur() -> None:
    rng = np.random.default_rng(3)
    everywhere = np.ones((60, 60), bool)
    assert blur_of(spectra(rng, 0.0), everywhere) < 0.25
    assert blur_of(spectra(rng, 1.0)[:2], everywhere) == 0.0
    assert blur_of(spectra(rng, 1.0), ~everywhere) == 0.0
    assert blur_of(np.zeros((9, 60, 60)), everywhere) == 0.0
    scattered = np.zeros((60, 60), bool)
    scattered[::2, ::2] = True
    assert blur_of(spectra(rng, 1.0), scattered) == 0.0


def test_the_variance_is_the_squared_error_where_two_states_meet_in_a_blurred_image_with_noise() -> None:
    rng, noise = np.random.default_rng(4), 0.1
    pixels, middle = borders(rng, 2000, 0.7)
    pixels += rng.normal(0, noise, pixels.shape)
    variance = np.full((3, 3), noise**2)
    squared = np.mean((pixels[:, 1, 1] - middle) ** 2)
    told = [noise**2 + np.mean([unresolved_variance(one, variance, blur)[1, 1] for one in pixels]) for blur in (0.7, 0.0)]
    assert squared / told[0] == pytest.approx(1.0, abs=0.1)
    assert squared / told[1] > 1.5


@pytest.mark.parametrize("blur_px", [0.0, 0.1, 0.6, 2.0])
def test_the_error_of_a_sum_counts_every_pair_of_pixels(blur_px: float) -> None:
    rng = np.random.default_rng(3)
    errors = np.where(rng.random((9, 14)) < 0.7, rng.uniform(0.5, 2.0, (9, 14)), 0.0)
    places = np.argwhere(errors)
    squared = np.sum((places[:, None] - places[None]) ** 2, axis=2)
    correlation = np.exp(-squared / (4 * blur_px**2)) if blur_px else (squared == 0).astype(float)
    one = errors[tuple(places.T)]
    assert error_of_sum(errors, blur_px) == pytest.approx(np.sqrt(one @ correlation @ one), rel=1e-6)
