"""Rows of a raster as one stack of frames."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.readers.fields import stacked
from storage.readers.record import unwritten_frames

VALUES = np.arange(4 * 3 * 2 * 2).reshape(4, 3, 2, 2)


class Raster:
    """A raster (4, 3, 2, 2) whose last row was never written, and how often it was asked."""

    shape, dtype = VALUES.shape, VALUES.dtype
    n_asked = 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(VALUES[key])

    def unwritten_frames(self) -> NDArray[np.bool_]:
        self.n_asked += 1
        return np.array([False, False, False, True])


def test_frames_of_a_raster_come_row_by_row() -> None:
    frames = stacked(Raster())
    np.testing.assert_array_equal(frames[2:10], VALUES.reshape(12, 2, 2)[2:10])


def test_what_was_never_written_is_asked_once_for_all_rows() -> None:
    """Each question goes through every chunk of the file: asked by each row, a raster of a thousand rows takes minutes."""
    raster = Raster()
    np.testing.assert_array_equal(unwritten_frames(stacked(raster)), np.arange(12) >= 9)
    assert raster.n_asked == 1
