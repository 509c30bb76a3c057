"""How the noise of neighbouring pixels is correlated: a known blur is found again, and errors of sums count every pair."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.xanes.uncertainty.neighbours import (
    INDEPENDENT,
    NoiseCorrelation,
    blurred,
    error_of_sum,
    noise_correlation,
    stated,
)

Array = NDArray[np.float64]


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
    assert noise_correlation(images, kept).blur_px == pytest.approx(blur_px, abs=0.05)


def test_white_noise_and_too_little_to_compare_are_no_blur() -> None:
    rng = np.random.default_rng(3)
    everywhere = np.ones((60, 60), bool)
    assert noise_correlation(spectra(rng, 0.0), everywhere).blur_px < 0.25
    assert noise_correlation(spectra(rng, 1.0)[:2], everywhere).blur_px == 0.0
    assert noise_correlation(spectra(rng, 1.0), ~everywhere).blur_px == 0.0
    assert noise_correlation(np.zeros((9, 60, 60)), everywhere).blur_px == 0.0
    scattered = np.zeros((60, 60), bool)
    scattered[::2, ::2] = True
    assert noise_correlation(spectra(rng, 1.0), scattered).blur_px == 0.0


@pytest.mark.parametrize("blur_px", [0.0, 0.1, 0.6, 2.0])
def test_the_error_of_a_sum_counts_every_pair_of_pixels(blur_px: float) -> None:
    rng = np.random.default_rng(3)
    errors = np.where(rng.random((9, 14)) < 0.7, rng.uniform(0.5, 2.0, (9, 14)), 0.0)
    noise = blurred(blur_px)
    places = np.argwhere(errors)
    distance = np.sqrt(np.sum((places[:, None] - places[None]) ** 2, axis=2))
    correlation = np.interp(distance, np.arange(len(noise.by_distance)), noise.by_distance, right=0.0)
    one = errors[tuple(places.T)]
    assert error_of_sum(errors, noise) == pytest.approx(np.sqrt(one @ correlation @ one), rel=1e-6)


def test_noise_that_is_slow_and_noise_that_rings_are_told_from_a_blur() -> None:
    rng = np.random.default_rng(4)
    slow = ndimage.gaussian_filter(rng.normal(size=(40, 90, 90)), (0, 3, 3), mode="wrap")
    images = rng.normal(size=slow.shape) + 0.5 * slow / slow.std()
    found = noise_correlation(images, np.ones((90, 90), bool))
    expected = 0.2 * np.exp(-(np.arange(1, 16) ** 2) / 36)
    assert found.by_distance[0] == 1.0
    assert found.by_distance[1:] == pytest.approx(expected, abs=0.02)
    ringing = ndimage.convolve1d(rng.normal(size=(40, 90, 90)), [1.0, 0.0, 0.5], axis=1, mode="wrap")
    found = noise_correlation(ringing, np.ones((90, 90), bool))
    assert found.blur_px < 0.25
    assert found.two_apart == pytest.approx(0.2, abs=0.02)  # 0.5 / 1.25 along one axis, nothing along the other


def test_errors_are_never_less_than_those_of_independent_pixels() -> None:
    opposite = NoiseCorrelation(by_distance=(1.0, -0.2))
    assert error_of_sum(np.ones((8, 8)), opposite) == pytest.approx(8.0)


@pytest.mark.parametrize("unknown", [np.inf, np.nan])
def test_an_error_that_is_not_known_makes_that_of_the_sum_unknown(unknown: float) -> None:
    errors = np.ones((8, 8))
    errors[2, 3] = unknown
    for noise in (INDEPENDENT, blurred(0.7)):
        assert error_of_sum(errors, noise) == pytest.approx(unknown, nan_ok=True)


def test_pixels_that_are_not_finite_at_some_energy_are_not_compared() -> None:
    images = spectra(np.random.default_rng(5), 0.7)
    expected = noise_correlation(images, np.ones((60, 60), bool)).by_distance
    images[7, :3] = np.nan
    found = noise_correlation(images, np.ones((60, 60), bool)).by_distance
    assert found == pytest.approx(expected, abs=0.02)


def test_results_state_it_and_older_ones_their_blur_alone() -> None:
    found = noise_correlation(spectra(np.random.default_rng(6), 0.7), np.ones((60, 60), bool))
    assert stated(found.attributes).by_distance == found.by_distance
    assert stated(found.attributes).blur_px == found.blur_px
    assert stated({"blur_px": 0.7}) == blurred(0.7)
    assert stated({}) == INDEPENDENT
    assert blurred(0.7).blur_px == pytest.approx(0.7)
