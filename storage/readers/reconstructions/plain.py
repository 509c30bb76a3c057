"""Images in plain files of named arrays: HDF5, NPZ or Zarr.

One of ``object`` (complex), ``absorption``, ``optical_density``, ``transmission`` or ``intensity``, (E, Y, X) or (Y, X);
``energy_ev`` (E,), ``pixel_size_m``; optionally ``i0`` (E,) with ``intensity``, ``seen`` (Y, X) bool, true where the specimen
was seen, and ``probe``. HDF5 attributes of the file serve for the numbers as well.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from storage.readers.fields import COUNT, Fields
from storage.readers.images import ImageQuantity, ImageSource, split_stack
from storage.readers.record import Node

NAMES: Final[Mapping[str, ImageQuantity]] = {
    "object": "object",
    "absorption": "absorption",
    "optical_density": "optical_density",
    "od": "optical_density",
    "transmission": "transmission",
    "intensity": "intensity",
}
"""Name of an array -> what it holds."""


def read_plain_images(find: Callable[[str], Node | None], label: str = "file") -> list[ImageSource]:
    """Read the named arrays that ``find`` finds, leaving the images in the file."""
    fields = Fields(find)
    name = next((name for name in NAMES if find(name) is not None), "object")
    quantity = NAMES[name]
    stack = fields.node("image", name)
    return split_stack(
        fields,
        label,
        quantity,
        stack,
        fields.energies_ev("energy_ev", "energies_ev", "energy", "energies"),
        fields.length_m("pixel_size_m", "pixel_size_m", "pixel_size", required=False),
        i0=fields.quantities("i0", COUNT, "i0", "I0", required=False) if quantity == "intensity" else None,
        seen=_seen(fields, stack),
    )


def _seen(fields: Fields, stack: Node | None) -> NDArray[np.bool_] | None:
    node = fields.node("seen", "seen", required=False)
    if node is None or stack is None:
        return None
    if node.dtype.kind != "b" or tuple(node.shape) != tuple(stack.shape[-2:]):
        fields.fault("seen", f"must be {tuple(stack.shape[-2:])} bool, true = seen, got {tuple(node.shape)} of {node.dtype}")
        return None
    return np.asarray(node[()], bool)
