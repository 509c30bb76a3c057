"""Tiles are all rows once, and values return to the places they were taken from."""

import numpy as np

from service.stages.pixels import pick, spread, tile_rows


def test_tiles_are_all_rows_once():
    for n_rows, n_tiles in ((100, 7), (5, 8), (64, 1)):
        rows = [row for tile in range(n_tiles) for row in range(n_rows)[tile_rows(n_rows, tile, n_tiles)]]
        assert rows == list(range(n_rows))


def test_values_return_to_their_places():
    inside = np.array([True, False, True])
    assert np.array_equal(spread(np.array([[1.0, 2.0]]), inside), [[1.0, np.nan, 2.0]], equal_nan=True)
    assert np.array_equal(spread(np.array([1, 2], np.int8), inside, fill=0), [1, 0, 2])


def test_maps_that_are_not_there_are_picked_as_unknown():
    maps = {"edge_energy": np.array([[1.0, 2.0], [3.0, 4.0]])}
    picked = pick(maps, ["edge_energy", "edge_energy_sigma"], np.array([[True, False], [False, True]]))
    assert np.array_equal(picked, [[1.0, 4.0], [np.nan, np.nan]], equal_nan=True)
