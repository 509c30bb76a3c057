"""How functions of this package are compiled to machine code."""

from collections.abc import Callable
from typing import Final, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., object])

FAST: Final = ("contract", "reassoc", "nsz", "arcp")
"""Floating-point freedoms that keep NaN and infinity: order of sums, fused multiply-add, reciprocals."""


def compiled(*fast: str) -> Callable[[Function], Function]:
    """Decorator: numba's ``njit``, kept on disk and run without the interpreter's lock, the function's type unchanged.

    Parameters
    ----------
    *fast : str
        Floating-point freedoms (numba's ``fastmath``), `FAST` as a rule; none where the order of operations matters.
    """
    decorate: Callable[[Function], Function] = numba.njit(cache=True, nogil=True, fastmath=set(fast))
    return decorate
