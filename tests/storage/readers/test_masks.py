from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.readers.masks import ANY_BIT, CXI_BAD_BITS, NEXUS_BAD_BITS, FrameMasks, is_good

CXI_BITS = {
    "invalid": 0x1, "saturated": 0x2, "hot": 0x4, "dead": 0x8, "shadowed": 0x10, "in peak mask": 0x20, "ignore": 0x40,
    "bad": 0x80, "out of resolution": 0x100, "missing": 0x200, "noisy": 0x400,
}  # fmt: skip


@pytest.mark.parametrize("name", CXI_BITS)
@pytest.mark.parametrize("dtype", ["u2", "i4", "u4", "u8", ">u4", "f8"])
def test_bits_that_cxi_calls_bad_mask_a_pixel(name: str, dtype: str) -> None:
    bit = CXI_BITS[name]
    mask = np.array([[0, bit], [bit | 0x1000, 0x1000]], dtype)
    np.testing.assert_array_equal(is_good(mask, CXI_BAD_BITS), [[True, False], [False, True]])


@pytest.mark.parametrize("bit", [0x800, 0x1000, 0x2000, 0x4000, 0x80000000])
def test_bits_that_inform_mask_nothing(bit: int) -> None:
    assert is_good(np.array([[bit]], np.uint32), CXI_BAD_BITS).all()


@pytest.mark.parametrize(
    ("bits", "good"), [(0, True), (1, False), (16, False), (2**15, False), (2**31, True), (2**31 + 1, False)]
)
def test_nexus_masks_by_its_lower_bytes(bits: int, good: bool) -> None:
    assert is_good(np.array([[bits]], np.uint32), NEXUS_BAD_BITS).all() == good


@pytest.mark.parametrize(
    "mask", [np.array([[-1]], np.int8), np.array([[-128]], np.int8), np.array([[255]], np.uint8), np.ones((1, 1), bool)]
)
@pytest.mark.parametrize("bad_bits", [ANY_BIT, CXI_BAD_BITS, NEXUS_BAD_BITS])
def test_small_integers_and_bools_keep_their_bits(mask: Any, bad_bits: int) -> None:
    assert not is_good(mask, bad_bits).any()
    assert is_good(np.zeros_like(mask), bad_bits).all()


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e300])
def test_a_mask_that_has_no_bits_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        is_good(np.array([[value]]), CXI_BAD_BITS)


@given(st.integers(0, 2**32 - 1))
def test_a_pixel_is_good_if_and_only_if_no_bad_bit_is_set(value: int) -> None:
    mask = np.array([[value]], np.uint32)
    assert bool(is_good(mask, CXI_BAD_BITS)[0, 0]) == (value & CXI_BAD_BITS == 0)
    assert bool(is_good(mask, ANY_BIT)[0, 0]) == (value == 0)


def test_masks_of_frames_are_converted_as_they_are_read() -> None:
    masks = np.zeros((5, 2, 2), np.uint32)
    masks[3, 1, 1], masks[4, 0, 0] = 2, 0x1000
    lazy = FrameMasks(masks, CXI_BAD_BITS)
    assert (lazy.shape, lazy.dtype) == ((5, 2, 2), np.dtype(bool))
    np.testing.assert_array_equal(lazy[3:5], [[[True, True], [True, False]], [[True, True], [True, True]]])
