"""Values return to the pixels they were taken from, and arrays of unlike length stand side by side."""

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from tasks.arrays import filled, gather, nth_part, pad, robust_sd, scatter


@pytest.mark.parametrize(("n", "n_parts"), [(100, 7), (5, 8), (64, 1)])
def test_parts_are_all_of_it_once(n: int, n_parts: int) -> None:
    parts = [range(n)[nth_part(n, number, n_parts)] for number in range(n_parts)]
    assert [one for part in parts for one in part] == list(range(n))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_scattered_values_return_to_their_pixels() -> None:
    inside = np.array([[True, False], [False, True]])
    assert np.array_equal(scatter(np.array([[1.0, 2.0]]), inside), [[[1.0, np.nan], [np.nan, 2.0]]], equal_nan=True)
    assert np.array_equal(scatter(np.array([1, 2], np.int8), inside.ravel(), fill=0), [1, 0, 0, 2])
    maps = {"edge_energy": np.array([[1.0, 2.0], [3.0, 4.0]])}
    whole = scatter(gather(maps, ["edge_energy"], inside), inside)[0]
    assert np.array_equal(whole[inside], maps["edge_energy"][inside])


def test_maps_that_are_not_there_are_gathered_as_nan() -> None:
    maps = {"edge_energy": np.array([[1.0, 2.0], [3.0, 4.0]])}
    gathered = gather(maps, ["edge_energy", "edge_energy_sigma"], np.array([[True, False], [False, True]]))
    assert np.array_equal(gathered, [[1.0, 4.0], [np.nan, np.nan]], equal_nan=True)


def test_shorter_arrays_are_filled_up() -> None:
    np.testing.assert_array_equal(pad([np.ones(2), np.zeros(0)]), [[1, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(pad([np.ones((1, 2)), np.ones((2, 2))], 0), [[[1, 1], [0, 0]], np.ones((2, 2))])


def test_a_hole_is_filled_with_the_nearest_of_what_was_seen() -> None:
    image = np.arange(20.0).reshape(4, 5)
    inside = np.ones((4, 5), bool)
    inside[1:3, 0] = inside[3, 4] = False
    found = filled(np.where(inside, image, np.nan), inside)
    assert np.array_equal(found[inside], image[inside])
    assert found[1, 0] in (image[0, 0], image[1, 1])
    assert found[2, 0] in (image[3, 0], image[2, 1])
    assert found[3, 4] in (image[2, 4], image[3, 3])
    assert filled(image, np.zeros((4, 5), bool)) is image


def test_the_robust_one_is_the_standard_deviation_of_normal_values_whatever_some_of_them_are() -> None:
    values = np.random.default_rng(0).normal(3.0, 0.2, 30_000)
    assert robust_sd(values) == pytest.approx(0.2, rel=0.02)
    assert robust_sd(values) == pytest.approx(median_abs_deviation(values, scale="normal"), rel=1e-5)
    values[:300] = 1e9
    assert robust_sd(values) == pytest.approx(0.2, rel=0.05)


def test_a_centre_that_is_known_takes_the_place_of_the_median() -> None:
    positive = np.abs(np.random.default_rng(1).normal(0.0, 0.2, 30_000))
    assert robust_sd(positive, centre=0.0) == pytest.approx(0.2, rel=0.02)
    assert robust_sd(positive) < 0.15
    assert robust_sd(np.array([1.0, 2.0, 4.0]), centre=0.0) == pytest.approx(2 * 1.4826)
