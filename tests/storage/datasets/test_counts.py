from typing import Any

import numpy as np
import pytest

from storage.datasets.counts import CountReport, check_counts, to_counts
from storage.datasets.framing import frame_about
from storage.readers.record import ScanSource

N = 8


def check(frames: Any, mask: Any = None) -> CountReport:
    return check_counts(ScanSource("file", frames=frames, mask=mask), frame_about((N, N), None, 0))


@pytest.mark.parametrize(
    ("dtype", "largest", "stored"),
    [
        (np.uint8, 254, np.uint16),
        (np.int32, 65534, np.uint16),
        (np.int32, 65535, np.uint32),
        (np.uint16, 65534, np.uint16),
        (np.uint64, 2**32 - 2, np.uint32),
        (np.float32, 70000.0, np.uint32),
        (np.float64, 2**32 - 2, np.uint32),
        (np.int64, 3, np.uint16),
    ],
)
def test_the_smallest_dtype_that_holds_every_count_is_chosen(dtype: Any, largest: float, stored: Any) -> None:
    frames = np.ones((3, N, N), dtype)
    frames[2, 1, 1] = largest
    found = check(frames)
    assert found.faults == []
    assert found.dtype == stored
    kept = to_counts(frames, found.good, found.dtype)
    assert (kept.dtype, kept[2, 1, 1]) == (stored, int(largest))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_counts_beyond_32_bits_are_refused(dtype: Any) -> None:
    frames = np.ones((3, N, N), dtype)
    frames[1, 2, 3] = 2**33
    assert [fault.message for fault in check(frames).faults] == ["too large for 32 bits: 1 pixels from frame 1, row 2, column 3"]


def test_whole_floats_are_counts_and_rounded() -> None:
    frames = np.full((2, N, N), 3.0004, np.float32)
    found = check(frames)
    assert found.faults == []
    assert (to_counts(frames, found.good, found.dtype) == 3).all()
    assert "not whole" in check(frames + 0.01).faults[0].message


def test_masked_pixels_may_hold_anything_and_are_stored_as_zero() -> None:
    frames = np.ones((3, N, N))
    frames[:, 0, :4] = [np.nan, -1, 1e30, 0.3]
    mask = np.ones((N, N), bool)
    mask[0, :4] = False
    found = check(frames, mask)
    assert found.faults == []
    kept = to_counts(frames, found.good, found.dtype)
    assert (kept[:, 0, :4] == 0).all()
    assert (kept[:, 1:] == 1).all()
    assert len(check(frames).faults) == 4


def test_one_fault_of_a_kind_names_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.readers.record.BLOCK_BYTES", 1)
    frames = np.ones((5, N, N), np.int16)
    frames[2:, 4, 5] = -7
    assert [fault.message for fault in check(frames).faults] == [
        "negative (mask gaps and dead pixels): 1 pixels from frame 2, row 4, column 5"
    ]


def test_a_file_that_breaks_off_is_a_fault() -> None:
    class Broken:
        shape, dtype = (4, N, N), np.dtype(np.uint16)

        def __getitem__(self, key: Any) -> Any:
            raise OSError("filter returned failure")

    assert [fault.message for fault in check(Broken()).faults] == ["cannot be read to the end: filter returned failure"]
