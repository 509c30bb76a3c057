"""Conditional requests and ranges of one file."""

import pytest

from api.problems import RangeError
from api.responses import range_of


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", (0, 10, True)),
        ("bytes=90-", (90, 100, True)),
        ("bytes=90-500", (90, 100, True)),
        ("bytes=-10", (90, 100, True)),
        ("bytes=-500", (0, 100, True)),
        ("bytes=99-99", (99, 100, True)),
        ("bytes=9-3", (0, 100, False)),
        ("bytes=0-1,5-6", (0, 100, False)),
        ("bytes=-", (0, 100, False)),
        ("lines=1-2", (0, 100, False)),
        ("bytes=a-b", (0, 100, False)),
    ],
)
def test_ranges(header: str, expected: tuple[int, int, bool]) -> None:
    assert range_of(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_ranges_beyond_the_end(header: str) -> None:
    with pytest.raises(RangeError, match="100 bytes"):
        range_of(header, 100)
