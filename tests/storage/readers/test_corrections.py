"""Dark and flat field, squared amplitudes, and a monitor that varies."""

from typing import Any

import numpy as np
import pytest

from storage.readers.corrections import corrected, squared, told_of_monitor
from storage.readers.fields import Fields

COUNTS = np.random.default_rng(0).poisson(100, (3, 8, 8))


def fields(**arrays: Any) -> Fields:
    return Fields({name: np.asarray(values) for name, values in arrays.items()}.get)


def correct(mask: Any = None, **arrays: Any) -> tuple[Any, Any, Fields]:
    found = fields(**arrays)
    return *corrected(found, arrays["counts"], mask, dark=("dark",), flat=("flat",)), found


def test_frames_alone_are_left_as_they_are() -> None:
    frames, mask, found = correct(counts=COUNTS)
    assert frames is COUNTS
    assert mask is None
    assert found.warnings == []


def test_dark_is_subtracted_and_what_is_left_divided_by_the_flat() -> None:
    gain = np.where(np.arange(8) < 4, 0.5, 1.5) * np.ones((8, 8))
    dark = np.stack([np.full((8, 8), 9.0), np.full((8, 8), 11.0)])
    frames, mask, _ = correct(counts=COUNTS * 2 * gain + 10, dark=dark, flat=gain * 7)
    np.testing.assert_array_equal(frames[1:3], COUNTS[1:3] * 2)
    assert mask is None
    frames, _, _ = correct(counts=np.zeros((1, 8, 8)), dark=dark)
    assert frames[0:1].min() == 0


def test_pixels_without_a_flat_field_are_bad() -> None:
    gain = np.ones((8, 8))
    gain[2, 3], gain[4, 5] = 0, np.nan
    mask = np.ones((8, 8), bool)
    mask[0, 0] = False
    _, found, _ = correct(mask, counts=COUNTS, flat=gain)
    assert np.argwhere(~found).tolist() == [[0, 0], [2, 3], [4, 5]]


@pytest.mark.parametrize("name", ["dark", "flat"])
@pytest.mark.parametrize("values", [np.zeros(3), np.zeros((4, 4)), np.ones((8, 8), complex), np.full((8, 8), np.nan)])
def test_a_field_that_fits_no_frame_is_named(name: str, values: Any) -> None:
    _, _, found = correct(counts=COUNTS, **{name: values})
    assert [fault.field for fault in found.faults] == [name]


def test_amplitudes_are_squared_to_whole_counts() -> None:
    frames = squared(np.sqrt(COUNTS).astype(np.float32))
    assert frames is not None
    np.testing.assert_array_equal(frames[0:3], COUNTS)
    assert squared(None) is None


@pytest.mark.parametrize(
    ("monitor", "n_warnings"), [([1.0, 1.1, 0.9], 1), ([1.0, 1.001, 1.0], 0), ([0.0, 0.0], 0), ([np.nan, 1], 0)]
)
def test_a_monitor_that_varies_is_told(monitor: Any, n_warnings: int) -> None:
    found = fields(monitor=monitor)
    told_of_monitor(found, "monitor")
    assert len(found.warnings) == n_warnings
    assert found.faults == []


def test_one_bright_pixel_of_the_flat_field_changes_no_other() -> None:
    gain = np.ones((8, 8))
    gain[3, 3] = 1e6
    frames, _, _ = correct(counts=COUNTS, flat=gain)
    np.testing.assert_array_equal(
        np.delete(frames[0:3].reshape(3, -1), 3 * 8 + 3, axis=1), np.delete(COUNTS.reshape(3, -1), 27, axis=1)
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.float64])
def test_a_dark_frame_that_was_not_read_leaves_the_pixel_bad(dtype: Any) -> None:
    dark = np.full((3, 8, 8), 5, dtype)
    dark[1, 2, 6] = 2**32 - 1 if dtype is np.float64 else np.iinfo(dtype).max
    _, good, _ = correct(counts=COUNTS, dark=dark)
    assert np.argwhere(~good).tolist() == [[2, 6]]
