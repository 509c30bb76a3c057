"""Reconstructions of PtychoShelves, which ProSPyX reads as well, and of fold_slice (``.mat`` 7.3): one object at one energy.

MATLAB writes the first axis of an array last, so that images are transposed here, and complex numbers as pairs. PtychoShelves has
``reconstruction/p/objects/object_n``, one of each scan, or ``reconstruction/object``; ``p/dx_spec``, the pixel [m], and
``p/energy`` [keV]. fold_slice has ``object``, ``p/dx_spec`` and ``p/lambda`` [m]. Of a thick object the product of all layers is
taken.

Sources: Wakonig et al., J. Appl. Cryst. 2020, 53, 574 (PtychoShelves); Boudjehem et al., J. Synchrotron Rad. 2024, 31, 399
(ProSPyX); ptychodus, "fold_slice Files".
"""

from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import child_names, find_node, find_object
from storage.readers.fields import ENERGY, LENGTH, Fields, from_pairs
from storage.readers.images import DerivedImage, ImageSource, split_stack
from storage.readers.photon_energy import HC_EV_M, is_photon_energy
from storage.readers.record import Node

OBJECTS: Final = "reconstruction/p/objects"
EV_PER_KEV: Final = 1e3


def is_ptychoshelves(file: h5py.File) -> bool:
    """Whether a file is a reconstruction of PtychoShelves or of fold_slice."""
    return bool(object_places(file)) and any(find_node(file, f"{p}/dx_spec") is not None for p in ("reconstruction/p", "p"))


def object_places(file: h5py.File) -> list[str]:
    """Paths of the objects in a file."""
    group = find_object(file, OBJECTS)
    if isinstance(group, h5py.Group):
        return [f"{OBJECTS}/{name}" for name in child_names(group) if find_node(file, f"{OBJECTS}/{name}") is not None]
    return [place for place in (OBJECTS, "reconstruction/object", "object") if find_node(file, place) is not None][:1]


def read_ptychoshelves(file: h5py.File) -> list[ImageSource]:
    """Read every object, leaving it in the file."""
    return [source for place in object_places(file) for source in _read_object(file, place)]


def _read_object(file: h5py.File, place: str) -> list[ImageSource]:
    fields = Fields(lambda path: find_node(file, path))
    parameters = "p" if place == "object" else "reconstruction/p"
    image = _from_matlab(fields, fields.node("image", place))
    sizes = fields.quantities("pixel_size_m", LENGTH, f"{parameters}/dx_spec")
    pixel_size_m = None if sizes is None else _square(fields, sizes.ravel())
    label = place.rpartition("/")[2]
    return split_stack(fields, label, "object", image, _energies_ev(fields, parameters), pixel_size_m)


def _from_matlab(fields: Fields, stored: Node | None) -> Node | None:
    """An object (Y, X) of one that MATLAB wrote, (X, Y) or (layers, X, Y); the product of several layers."""
    if stored is None:
        return None
    shape = tuple(n for axis, n in enumerate(stored.shape) if n > 1 or axis >= len(stored.shape) - 2)
    if len(shape) not in (2, 3) or 0 in shape:
        fields.fault("image", f"must be (X, Y) or (layers, X, Y) as MATLAB writes it, got {tuple(stored.shape)}")
        return None
    if len(shape) == 3:
        fields.warnings.append(f"the object has {shape[0]} layers; their product is taken")

    def read() -> NDArray[Any]:
        layers = from_pairs(np.asarray(stored[()])).reshape(-1, *shape[-2:])
        return np.asarray(np.prod(layers, axis=0).T)

    return DerivedImage(shape[:-3:-1], from_pairs(np.empty(0, stored.dtype)).dtype, read)


def _square(fields: Fields, sizes: NDArray[np.float64]) -> float | None:
    if not sizes.size or not (sizes > 0).all() or np.ptp(sizes) > 1e-3 * sizes[0]:
        fields.fault("pixel_size_m", f"dx_spec must be square and positive, got {sizes.tolist()[:4]} m")
        return None
    return float(sizes[0])


def _energies_ev(fields: Fields, parameters: str) -> NDArray[np.float64] | None:
    """(1,) energy [eV] of ``energy`` [keV] or ``lambda`` [m]."""
    for name, kind, unstated in (("energy", ENERGY, EV_PER_KEV), ("lambda", LENGTH, 1.0)):
        values = fields.quantities("energy_ev", kind, f"{parameters}/{name}", required=False, unstated=unstated)
        if values is None:
            continue
        number = _first(values)
        energy = 0.0 if number is None or number <= 0 else number if kind is ENERGY else HC_EV_M / number
        if is_photon_energy(energy):
            return np.array([energy])
        shown = "no number" if number is None else f"{number / unstated:g}"
        fields.fault("energy_ev", f"{parameters}/{name} is {shown}: energies are keV, 0.03 to 200, and wavelengths metres")
        return None
    if not fields.faults:
        fields.fault("energy_ev", f"missing: neither {parameters}/energy [keV] nor {parameters}/lambda [m]")
    return None


def _first(values: NDArray[Any]) -> float | None:
    return next((float(value) for value in values.ravel()[:1] if np.isfinite(value)), None)
