from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.chunks import plan_tiles
from storage.layout import DATASET, RESULTS

axes = st.lists(st.tuples(st.integers(0, 17), st.integers(1, 9), st.integers(1, 20)), min_size=0, max_size=3)


def chunks_of(tile: tuple[slice, ...], chunks: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Indices of the stored chunks a tile touches."""
    return list(product(*(range(s.start // c, -(-s.stop // c)) for s, c in zip(tile, chunks, strict=True))))


@settings(max_examples=150, deadline=None, database=None)
@given(axes)
def test_every_chunk_has_one_writer_and_every_pixel_is_written_once(axes: list[tuple[int, int, int]]) -> None:
    shape, chunks, tile = (tuple(column) for column in zip(*axes, strict=True)) if axes else ((), (), ())
    tiles = plan_tiles(shape, chunks, tile)
    writers = Counter(chunk for t in tiles for chunk in chunks_of(t, chunks))
    expected = set(product(*(range(-(-n // c)) for n, c in zip(shape, chunks, strict=True)))) if 0 not in shape else set()
    assert set(writers) == expected
    assert set(writers.values()) <= {1}
    pixels = Counter(pixel for t in tiles for pixel in product(*(range(s.start, s.stop) for s in t)))
    assert set(pixels) == set(product(*map(range, shape)))
    assert set(pixels.values()) <= {1}


@settings(max_examples=60, deadline=None, database=None)
@given(st.data())
def test_tiles_of_one_energy_own_whole_chunks_of_every_array_of_the_layout(data: st.DataObject) -> None:
    specs = [spec for group in (*RESULTS.values(), *DATASET.values()) for spec in group.values()]
    spec = data.draw(st.sampled_from(specs))
    shape = tuple(data.draw(st.integers(1, 5)) for _ in spec.dims)
    chunks = spec.chunk_shape(shape)
    wished = tuple(1 if dim == spec.single else n for dim, n in zip(spec.dims, shape, strict=True))
    tiles = plan_tiles(shape, chunks, wished)
    if spec.single:
        assert len(tiles) == shape[spec.dims.index(spec.single)]
    assert max(Counter(chunk for t in tiles for chunk in chunks_of(t, chunks)).values()) == 1


def test_a_wished_tile_is_rounded_up_to_whole_chunks() -> None:
    assert plan_tiles((10,), (4,), (5,)) == [(slice(0, 8),), (slice(8, 10),)]


@pytest.mark.parametrize("arguments", [((3,), (0,), (1,)), ((3,), (1,), (0,)), ((-1,), (1,), (1,)), ((3, 3), (1,), (1,))])
def test_extents_that_mean_nothing_are_refused(arguments: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="must"):
        plan_tiles(*arguments)
