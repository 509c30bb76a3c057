"""Reconstructions of ptypy (``.ptyr``): ``content/obj/<storage>`` with ``data`` (layers, Y, X), ``_psize`` and ``_energy``.

Lengths are metres and energies keV; ``_origin`` (y, x) is the centre of the first pixel. Each storage is one energy; of several
layers, the object's modes, the first is read. The probe of the same name is kept with it.

Source: ptypy.readthedocs.io, "Containers" and "io.h5rw" (the file is HDF5, every group a dictionary).
"""

from dataclasses import replace
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import child_names, find_node, find_object
from storage.readers.fields import ENERGY, LENGTH, MAX_POSITION_M, Fields
from storage.readers.images import ImageSource, StackImage, split_stack
from storage.readers.photon_energy import is_photon_energy
from storage.readers.record import Node

OBJECTS: Final = "content/obj"
PROBES: Final = "content/probe"
EV_PER_KEV: Final = 1e3


def is_ptypy(file: h5py.File) -> bool:
    """Whether a file holds objects as ptypy stores them."""
    return isinstance(find_object(file, OBJECTS), h5py.Group)


def read_ptypy(file: h5py.File) -> list[ImageSource]:
    """Read every object storage, leaving its data in the file."""
    names = child_names(file[OBJECTS])
    return [source for name in names for source in _read_storage(file, name)]


def _read_storage(file: h5py.File, name: str) -> list[ImageSource]:
    fields = Fields(lambda path: find_node(file, path))
    place = f"{OBJECTS}/{name}"
    layers = fields.node("image", f"{place}/data")
    image = _first_layer(fields, layers)
    energies_ev = _energies_ev(fields, f"{place}/_energy", f"{PROBES}/{name}/_energy")
    origin_m = _origin_m(fields, f"{place}/_origin")
    sources = split_stack(
        fields,
        name,
        "object",
        image,
        energies_ev,
        _pixel_size_m(fields, f"{place}/_psize"),
        probe=fields.probe(f"{PROBES}/{name}/data"),
    )
    return [replace(source, origin_m=origin_m) for source in sources]


def _first_layer(fields: Fields, layers: Node | None) -> Node | None:
    if layers is None or len(layers.shape) == 2:
        return layers
    if len(layers.shape) != 3 or 0 in layers.shape:
        fields.fault("image", f"must be (layers, Y, X), got {tuple(layers.shape)}")
        return None
    if layers.shape[0] > 1:
        fields.warnings.append(f"the object has {layers.shape[0]} modes; the first is taken")
    return StackImage(layers, 0)


def _energies_ev(fields: Fields, *paths: str) -> NDArray[np.float64] | None:
    energy = fields.quantities("energy_ev", ENERGY, *paths, unstated=EV_PER_KEV)
    if energy is None:
        return None
    value = energy.ravel()[:1]
    if not value.size or not is_photon_energy(float(value[0])):
        fields.fault("energy_ev", f"must be 0.03 to 200 keV, got {(value / EV_PER_KEV).tolist()}")
        return None
    return value


def _origin_m(fields: Fields, path: str) -> tuple[float, float] | None:
    """Centre of the first pixel (y, x) [m]; None where the file does not state it."""
    origin = fields.quantities("origin_m", LENGTH, path, required=False)
    if origin is None:
        return None
    if origin.shape != (2,) or not (np.abs(origin) < MAX_POSITION_M).all():
        fields.fault("origin_m", f"_origin must be two lengths (y, x) [m], got {origin.ravel()[:4].tolist()}")
        return None
    return float(origin[0]), float(origin[1])


def _pixel_size_m(fields: Fields, path: str) -> float | None:
    sizes = fields.quantities("pixel_size_m", LENGTH, path)
    if sizes is None:
        return None
    values = sizes.ravel()
    if not values.size or not (values > 0).all() or np.ptp(values) > 1e-3 * values[0]:
        fields.fault("pixel_size_m", f"pixels must be square and positive, got {values.tolist()[:4]} m")
        return None
    return float(values[0])
