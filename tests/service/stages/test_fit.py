"""Tiles of rows cover the map."""

from service.stages.fit import tile_rows


def test_tiles_are_all_rows_once() -> None:
    for n_rows, n_tiles in ((100, 7), (5, 8), (64, 1)):
        rows = [row for tile in range(n_tiles) for row in range(n_rows)[tile_rows(n_rows, tile, n_tiles)]]
        assert rows == list(range(n_rows))
