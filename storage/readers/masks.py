"""Detector masks of integers: which of their bits say that a pixel is bad.

Sources: CXI specification, "pixel mask" (Maia, Nat. Methods 2012, 9, 854, and cxidb.org/cxi.html); the NeXus definition
NXdetector, field ``pixel_mask``, which Dectris' files follow.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.readers.record import Node

CXI_BAD_BITS: Final = 0x7FF
"""Invalid, saturated, hot, dead, shadowed, in a peak mask, to be ignored, bad, out of the resolution limits, missing and
noisy; all higher bits (0x800 to 0x4000: corrected, signal, background) inform about a pixel that can be used."""

NEXUS_BAD_BITS: Final = 0x0000FFFF
"""The lower two bytes (gap, dead, under- and over-responding, noisy, in a cluster of these, masked by the user, ...); the
upper two tag properties such as a virtual pixel, "normally not a sole reason to reject the value"."""

ANY_BIT: Final = -1
"""Every number other than 0 is a bad pixel."""


def is_good(mask: NDArray[Any], bad_bits: int) -> NDArray[np.bool_]:
    """Return bool, shape of ``mask``: True where none of the bits that mean bad is set.

    Raises
    ------
    ValueError
        The mask holds numbers that are not whole, so it has no bits.
    """
    if bad_bits == ANY_BIT or mask.dtype.kind == "b":
        return np.asarray(mask == 0)
    if mask.dtype.kind == "f":
        if not np.isfinite(mask).all() or (mask != np.rint(mask)).any() or np.abs(mask).max(initial=0) > 2**53:
            raise ValueError("must be whole numbers, 0 = good")
        mask = mask.astype(np.int64)
    # As unsigned, a negative number has the bits of its two's complement: -1 has all of them.
    bits = mask.astype(np.dtype(f"u{mask.dtype.itemsize}"))
    return np.asarray((bits & bits.dtype.type(bad_bits & np.iinfo(bits.dtype).max)) == 0)


class FrameMasks:
    """Masks of all frames (P, ny, nx) as bool, True where good; only the slices asked for are read."""

    def __init__(self, masks: Node, bad_bits: int) -> None:
        self._masks, self._bad_bits = masks, bad_bits
        self.shape, self.dtype = tuple(masks.shape), np.dtype(bool)
        self.chunks = getattr(masks, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:
        """Read a slice of frames."""
        return is_good(np.asarray(self._masks[key]), self._bad_bits)
