from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.datasets.counts import CountReport, check_counts, no_counts, to_counts
from storage.datasets.framing import frame_about
from storage.datasets.ingest import ScanOverrides, examine
from storage.readers.format import open_scan
from storage.readers.record import ScanSource

N = 8


def check(frames: Any, mask: Any = None, frame_masks: Any = None, saturation_count: float | None = None) -> CountReport:
    source = ScanSource("file", frames=frames, mask=mask, frame_masks=frame_masks)
    return check_counts(source, frame_about((N, N), None, 0), saturation_count)


def bad_pixels(report: CountReport) -> list[list[int]]:
    places: list[list[int]] = np.argwhere(~report.good).tolist()
    return places


@pytest.mark.parametrize(
    ("dtype", "largest", "stored"),
    [
        (np.uint8, 254, np.uint16),
        (np.int32, 65534, np.uint16),
        (np.int32, 65536, np.uint32),
        (np.uint16, 65534, np.uint16),
        (np.uint64, 2**32 - 2, np.uint32),
        (np.float16, 2000.0, np.uint16),
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
    assert found.dtype == np.dtype(stored)
    kept = to_counts(frames, found.good, found.dtype)
    assert (kept.dtype, kept[2, 1, 1]) == (np.dtype(stored), int(largest))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_counts_beyond_32_bits_are_refused(dtype: Any) -> None:
    frames = np.ones((3, N, N), dtype)
    frames[1, 2, 3] = 2**33
    assert [fault.message for fault in check(frames).faults] == ["too large for 32 bits: 1 pixels from frame 1, row 2, column 3"]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.uint8, 255),
        (np.int8, 127),
        (np.int16, 2**15 - 1),
        (np.uint16, 2**16 - 1),
        (np.int32, 2**31 - 1),
        (np.uint32, 2**32 - 1),
        (np.uint32, 2**31 - 1),
        (np.int64, 2**32 - 1),
        (np.int64, 2**31 - 1),
        (np.uint64, 2**64 - 1),
        (np.float32, 4294967295.0),
        (np.float32, 2147483647.0),
        (np.float64, 4294967295.0),
        (np.dtype(">u4"), 2**32 - 1),
        (np.int32, 2**16 - 1),
        (np.uint32, 2**20 - 1),
        (np.float32, 65535.0),
    ],
)
@pytest.mark.parametrize("frames_concerned", [slice(None), slice(1, 2)])
def test_the_end_of_a_counters_range_is_no_count(dtype: Any, value: float, frames_concerned: slice) -> None:
    frames = np.ones((4, N, N), dtype)
    frames[frames_concerned, 3, 5] = value
    found = check(frames)
    assert found.faults == []
    assert bad_pixels(found) == [[3, 5]]
    assert (found.largest, found.dtype) == (1, np.dtype(np.uint16))
    np.testing.assert_array_equal(found.totals, N * N - 1 if frames_concerned == slice(None) else [64, 63, 64, 64])


@pytest.mark.parametrize(
    ("stated", "value"), [(11810.0, 11810), (11810.0, 20000), (999.5, 1000), (65535.0, 65535), (1e5, 100001)]
)
def test_the_range_ends_where_the_detector_states(stated: float, value: int) -> None:
    frames = np.full((4, N, N), 7, np.uint32)
    frames[2, 1, 1], frames[2, 4, 4] = value, int(np.ceil(stated)) - 1
    found = check(frames, saturation_count=stated)
    assert bad_pixels(found) == [[1, 1]]
    assert found.largest == int(np.ceil(stated)) - 1


def test_a_stated_range_beyond_the_containers_changes_nothing() -> None:
    frames = np.full((3, N, N), 7, np.uint16)
    frames[1, 2, 2], frames[1, 3, 3] = 65534, 65535
    assert bad_pixels(check(frames, saturation_count=1e6)) == [[3, 3]]


@pytest.mark.parametrize("full_scale", [2**10 - 1, 2**12 - 1, 2**14 - 1])
def test_a_narrow_counter_is_recognised_by_readings_piled_up_at_its_end(full_scale: int) -> None:
    frames = np.full((4, N, N), 7, np.uint16)
    frames[0, 1, 1] = full_scale
    assert bad_pixels(check(frames)) == []
    frames[1:3, 2, 2] = full_scale
    found = check(frames)
    assert bad_pixels(found) == [[1, 1], [2, 2]]
    assert f"the largest reading, {full_scale}, is the end of a counter's range and stands 3 times" in found.warnings[0]


def test_readings_piled_up_anywhere_else_are_told_and_kept() -> None:
    frames = np.random.default_rng(0).poisson(2000, (6, N, N)).astype(np.uint16)
    clipped = np.minimum(frames, 2010)
    found = check(clipped)
    assert bad_pixels(found) == []
    assert "readings equal the largest, 2010," in found.warnings[0]
    assert "saturation_count" in found.warnings[0]
    assert check(frames).warnings == []


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


def test_a_mask_of_each_frame_lets_that_frame_hold_anything() -> None:
    frames = np.ones((3, N, N))
    frames[1, 2, 2], frames[2, 3, 3] = np.nan, -5
    masks = np.ones((3, N, N), bool)
    masks[1, 2, 2] = masks[2, 3, 3] = False
    masks[:, 4, 4] = False
    found = check(frames, frame_masks=masks)
    assert found.faults == []
    assert bad_pixels(found) == [[4, 4]]
    np.testing.assert_array_equal(found.totals, [63, 62, 62])


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


def test_what_is_counted_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(1).poisson(30, (7, N, N)).astype(np.uint16)
    whole = check(frames)
    monkeypatch.setattr("storage.readers.record.BLOCK_BYTES", 2 * frames[0].nbytes)
    split = check(frames)
    for name in ("largest", "n_largest", "next_largest", "n_next"):
        assert getattr(split, name) == getattr(whole, name)
    for name in ("totals", "sum", "lowest", "constant"):
        np.testing.assert_array_equal(getattr(split, name), getattr(whole, name))
    np.testing.assert_array_equal(whole.totals, frames.sum(axis=(1, 2)))
    assert (whole.largest, whole.n_largest) == (frames.max(), (frames == frames.max()).sum())
    below = frames[frames < frames.max()]
    assert (whole.next_largest, whole.n_next) == (below.max(), (below == below.max()).sum())


def test_a_frame_that_reads_the_same_everywhere_is_told_by_its_value() -> None:
    frames = np.random.default_rng(1).poisson(30, (4, N, N)).astype(np.uint16)
    frames[2] = 77
    np.testing.assert_array_equal(check(frames).constant, [np.nan, np.nan, 77, np.nan])


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", ">u4", ">f4"]),
    st.integers(0, 2**64 - 1),
    st.none() | st.floats(1, 2.0**65),
)
def test_no_number_of_any_type_becomes_another_count(dtype: str, value: int, saturation_count: float | None) -> None:
    """Whatever a file holds, a stored count is that very number or the pixel is bad."""
    kind = np.dtype(dtype)
    if kind.kind != "f" and value > np.iinfo(kind).max:
        value = int(np.iinfo(kind).max)
    frames = np.ones((3, N, N), kind)
    frames[1, 2, 3] = value
    found = check(frames, saturation_count=saturation_count)
    if found.faults:
        return
    if found.good[2, 3]:
        assert float(to_counts(frames, found.good, found.dtype)[1, 2, 3]) == float(frames[1, 2, 3])
        assert saturation_count is None or float(frames[1, 2, 3]) < saturation_count


@settings(deadline=None)
@given(st.sampled_from(["u2", "i4", "u4", "i8", "f4", "f8"]), st.floats(1, 1e12))
def test_readings_at_or_above_the_stated_end_are_none(dtype: str, saturation_count: float) -> None:
    kind = np.dtype(dtype)
    largest = float(np.finfo(kind).max if kind.kind == "f" else np.iinfo(kind).max)
    if saturation_count >= min(largest, 2**31 - 1):
        return
    values = np.array([0, np.floor(saturation_count) - 1, np.ceil(saturation_count), np.ceil(saturation_count) + 1])
    frames = np.minimum(values, largest).astype(kind)
    missing = no_counts(frames, saturation_count)
    np.testing.assert_array_equal(missing[1:], frames.astype(float)[1:] >= np.float64(np.ceil(saturation_count)).astype(kind))
    assert not missing[0]


@pytest.mark.parametrize("name", ["data_dark", "data_white"])
@pytest.mark.parametrize(
    ("dtype", "end", "stated"), [("u2", 65535, None), ("u4", 2**32 - 1, None), ("u4", 65535, None), ("u2", 3000, 3000.0)]
)
def test_saturation_is_seen_in_what_the_detector_read(
    files: Any, tmp_path: Path, name: str, dtype: str, end: int, stated: float | None
) -> None:
    """A dark or a flat field moves the end of the range, where no reading can be recognised any more."""
    counts = np.random.default_rng(0).poisson(90, (6, 16, 16)).astype(dtype)
    counts[[1, 2, 4], 7, 9] = end
    field = np.full((16, 16), 40.0) if name == "data_dark" else np.where(np.arange(16) < 8, 0.9, 1.1) * np.ones((16, 16))
    path = files.cxi(tmp_path / "f", counts=counts)
    with h5py.File(path, "r+") as file:
        file[f"entry_1/instrument_1/detector_1/{name}"] = field
    with open_scan(path) as (source,):
        record, faults = examine(source, ScanOverrides(saturation_count=stated))
    assert faults == []
    assert record is not None
    assert np.argwhere(~record.mask).tolist() == [[7, 9]]


@pytest.mark.parametrize("name", ["data_dark", "data_white"])
def test_negative_readings_stay_negative_under_a_dark_field(files: Any, tmp_path: Path, name: str) -> None:
    counts = np.random.default_rng(0).poisson(90, (6, 16, 16)).astype("i4")
    counts[:, 3, 4] = -1
    path = files.cxi(tmp_path / "f", counts=counts)
    with h5py.File(path, "r+") as file:
        file[f"entry_1/instrument_1/detector_1/{name}"] = np.ones((16, 16))
    with open_scan(path) as (source,):
        _, faults = examine(source, ScanOverrides())
    assert [fault.message for fault in faults] == ["negative (mask gaps and dead pixels): 6 pixels from frame 0, row 3, column 4"]
