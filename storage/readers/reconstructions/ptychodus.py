"""Products of ptychodus, HDF5 or NPZ: one complex object (layers, Y, X) at one energy, with the probe that belongs to it.

NPZ has ``object``, ``probe``, ``probe_energy_eV``, ``object_pixel_height_m``, ``object_pixel_width_m``, ``object_center_y_m`` and
``object_center_x_m`` side by side; in HDF5 the energy is an attribute of the file, and the numbers of the object are attributes
of ``object``, without their prefix. Of a thick object the product of all layers is taken.

Source: ptychodus, "Ptychodus Product Files" (github.com/AdvancedPhotonSource/ptychodus).
"""

from collections.abc import Callable
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import find_node
from storage.readers.fields import LENGTH, Fields
from storage.readers.images import DerivedImage, ImageSource, placed, split_stack
from storage.readers.record import Node

ENERGY: Final = "probe_energy_eV"
OBJECT_PREFIX: Final = "object_"
MARKS: Final = frozenset({"object", ENERGY, "object_pixel_width_m"})
"""Arrays that an NPZ product is known by."""


def is_product(file: h5py.File) -> bool:
    """Whether an HDF5 file is a product of ptychodus."""
    return ENERGY in file.attrs and find_node(file, "object") is not None


def read_product(file: h5py.File) -> list[ImageSource]:
    """Read an HDF5 product, leaving the object in the file."""

    def find(name: str) -> Node | None:
        attributes, own = (file.attrs, name)
        node = find_node(file, name)
        if node is None and name.startswith(OBJECT_PREFIX):
            attributes, own = file["object"].attrs, name.removeprefix(OBJECT_PREFIX)
        return node if node is not None or own not in attributes else np.asarray(attributes[own])

    return read_fields(find)


def read_fields(find: Callable[[str], Node | None]) -> list[ImageSource]:
    """Read the fields of a product that ``find`` finds by their names in NPZ."""
    fields = Fields(find)
    image = whole_object(fields, fields.node("image", "object"))
    pixel_size_m = fields.pixel_size_m(("object_pixel_height_m",), ("object_pixel_width_m",), "pixel_size_m")
    centre = [fields.number("origin_m", LENGTH, f"object_center_{axis}_m", required=False) for axis in "yx"]
    sources = split_stack(fields, "product", "object", image, fields.energies_ev(ENERGY), pixel_size_m, probe=_probe(fields))
    y, x = centre
    return [placed(source, None if y is None or x is None else (y, x)) for source in sources]


def whole_object(fields: Fields, layers: Node | None) -> Node | None:
    """The object (Y, X) of (Y, X), or of layers (L, Y, X) one behind the other: the product of them."""
    if layers is None or len(layers.shape) == 2:
        return layers
    if len(layers.shape) != 3 or 0 in layers.shape:
        fields.fault("image", f"must be (Y, X) or (layers, Y, X), got {tuple(layers.shape)}")
        return None
    if layers.shape[0] > 1:
        fields.warnings.append(f"the object has {layers.shape[0]} layers; their product is taken")

    def read() -> NDArray[np.generic]:
        return np.prod(np.asarray(layers[()]), axis=0)  # type: ignore[no-any-return]

    return DerivedImage(tuple(layers.shape[1:]), layers.dtype, read, getattr(layers, "attrs", {}))


def _probe(fields: Fields) -> NDArray[np.complex64] | None:
    """The first of the coherent modes, with all incoherent modes (M, N, N)."""
    node = fields.find("probe")
    if node is None or len(node.shape) != 4:
        return fields.probe("probe")
    return np.asarray(np.asarray(node[()])[0], np.complex64)
