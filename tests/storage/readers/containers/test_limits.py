"""What is refused because of what it unpacks to, and what is just allowed."""

import pytest

from storage.readers.containers.limits import SMALL_BYTES, array_faults, expands_too_far


def test_what_is_small_may_compress_as_well_as_it_likes() -> None:
    assert not expands_too_far(SMALL_BYTES, 0)
    assert expands_too_far(SMALL_BYTES + 1, 0)
    assert not expands_too_far(1e9, 1_000_000)
    assert expands_too_far(1e9 + 1, 1_000_000)
    assert expands_too_far(1e9, 1_000_000, most=300)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ((1e6, 1, 1e5, 190_536), ""),
        ((1e6, 1, 1e5, 190_537), "a chunk takes 190537 bytes in the file and holds 100000: it unpacks to more than it declares"),
        ((2.0**30, 1, 0.0, 0), "expands from 1 bytes to 1024 MiB, over 1000 to 1"),
    ],
)
def test_an_array_is_refused_for_what_its_chunks_unpack_to(array: tuple[float, int, float, int], message: str) -> None:
    assert "".join(array_faults(*array)) == message
