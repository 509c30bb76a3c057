"""What a pixel does not resolve: borders drawn anywhere give the factors again."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from tasks.xanes.uncertainty.neighbours import NoiseCorrelation, blurred
from tasks.xanes.uncertainty.unresolved import BLUR_PX, UNRESOLVED, unresolved_variance

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
    found = [unresolved_variance(image, np.zeros((3, 3)), blurred(blur_px))[1, 1] for image in pixels[:50]]
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


def test_the_variance_is_the_squared_error_where_two_states_meet_in_a_blurred_image_with_noise() -> None:
    rng, noise = np.random.default_rng(4), 0.1
    pixels, middle = borders(rng, 2000, 0.8)
    places = np.argwhere(np.ones((3, 3)))
    squares = np.sum((places[:, None] - places) ** 2, axis=-1)
    root = np.linalg.cholesky(np.exp(-squares / (4 * 0.8**2)))
    pixels += noise * (rng.normal(size=(2000, 9)) @ root.T).reshape(-1, 3, 3)
    squared = np.mean((pixels[:, 1, 1] - middle) ** 2)
    variance = np.full((3, 3), noise**2)
    told = [
        noise**2 + np.mean([unresolved_variance(one, variance, assumed)[1, 1] for one in pixels])
        for assumed in (blurred(0.8), blurred(0.0))
    ]
    assert squared / told[0] == pytest.approx(1.0, abs=0.1)
    assert squared / told[1] > 1.5


def test_noise_that_pixels_two_apart_share_is_not_taken_off_their_slope() -> None:
    rng = np.random.default_rng(5)
    shared = 0.3 * rng.normal(size=(4000, 1, 1))  # the same in every pixel of an image, so that its slopes are free of it
    pixels, _ = borders(rng, 4000)
    expected = [unresolved_variance(one, np.zeros((3, 3)))[1, 1] for one in pixels]
    alike = NoiseCorrelation(two_apart=1.0)
    found = [unresolved_variance(one, np.full((3, 3), 0.09), alike)[1, 1] for one in pixels + shared]
    np.testing.assert_allclose(found, expected, atol=1e-12)
