"""Limits on what files from outside unpack to, the same in every container."""

from collections.abc import Iterator
from typing import Final

MAX_CHUNK_BYTES: Final = 256 * 2**20
"""One chunk is decompressed whole, so it bounds the memory that reading one frame takes."""
MAX_EXPANSION: Final = 1000
"""Largest ratio of what is unpacked to its bytes in the file."""
SMALL_BYTES: Final = 64 * 2**20
"""What unpacks to no more than this may compress as well as it likes [bytes]."""
MAX_OVERHEAD: Final = 1.25
"""A compressed chunk is at most this many times as large as its content: more is no chunk but an attack on the decoder."""
SMALL_CHUNK_BYTES: Final = 2**16
"""By so many bytes a chunk may always be larger."""


def expands_too_far(n_bytes: float, stored: int, most: float = MAX_EXPANSION) -> bool:
    """Whether ``stored`` bytes that unpack to ``n_bytes`` are a bomb: above `SMALL_BYTES`, and over ``most`` to 1."""
    return n_bytes > max(SMALL_BYTES, most * stored)


def array_faults(n_bytes: float, stored: int, chunk_bytes: float, largest: int) -> Iterator[str]:
    """Why an array of ``n_bytes``, of which ``stored`` are in the file, must not be read.

    Its chunks hold ``chunk_bytes`` each, and the largest of them takes ``largest`` bytes in the file.
    """
    if largest > MAX_OVERHEAD * chunk_bytes + SMALL_CHUNK_BYTES:
        yield f"a chunk takes {largest} bytes in the file and holds {chunk_bytes:.0f}: it unpacks to more than it declares"
    if expands_too_far(n_bytes, stored):
        yield f"expands from {stored} bytes to {n_bytes / 2**20:.0f} MiB, over {MAX_EXPANSION} to 1"
