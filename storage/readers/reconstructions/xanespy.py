"""Framesets of xanespy (HDF5): ``<sample>/<version>`` with a stack (T, E, Y, X) and its ``energies`` (T, E) [eV].

The stack is ``optical_depths``, -ln(I / I0), else ``absorbances``, which are read as the same, or ``intensities``. The versions
of a sample (imported, aligned) are its sub-groups; the sample's attribute ``latest_data_name`` names the one that is read.
``pixel_sizes`` states its unit as attribute. Of several times the first is read.

Source: xanespy, "TXMStore" (xanespy.readthedocs.io).
"""

from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import attribute_texts, child_names, find_node, find_object
from storage.readers.fields import LENGTH, Fields
from storage.readers.images import ImageQuantity, ImageSource, StackImage, split_stack
from storage.readers.record import Node

STACKS: Final[dict[str, ImageQuantity]] = {
    "optical_depths": "optical_density",
    "absorbances": "optical_density",
    "intensities": "intensity",
}
EVEN: Final = 1e-3
"""Most that pixels of different energies may differ, as a share; larger differences need a file an energy."""


def is_xanespy(file: h5py.File) -> bool:
    """Whether a file holds a frameset of xanespy."""
    return bool(frameset_places(file))


def frameset_places(file: h5py.File) -> list[str]:
    """Path of the version to be read of every sample."""
    places = []
    for sample in child_names(file):
        group = find_object(file, sample)
        if not isinstance(group, h5py.Group):
            continue
        versions = [name for name in child_names(group) if _has_stack(file, f"{sample}/{name}")]
        latest = next(iter(attribute_texts(group, "latest_data_name")), "")
        if versions:
            places.append(f"{sample}/{latest if latest in versions else versions[-1]}")
    return places


def _has_stack(file: h5py.File, place: str) -> bool:
    fits = find_node(file, f"{place}/energies") is not None
    return fits and any(find_node(file, f"{place}/{name}") is not None for name in STACKS)


def read_xanespy(file: h5py.File) -> list[ImageSource]:
    """Read every sample's frameset, leaving the images in the file."""
    return [source for place in frameset_places(file) for source in _read_frameset(file, place)]


def _read_frameset(file: h5py.File, place: str) -> list[ImageSource]:
    fields = Fields(lambda path: find_node(file, path))
    name = next(name for name in STACKS if find_node(file, f"{place}/{name}") is not None)
    if name == "absorbances":
        fields.warnings.append("absorbances are taken as -ln(I / I0); divide decadic ones by 0.4343 and call them optical_depths")
    stack = _first_time(fields, fields.node("image", f"{place}/{name}"))
    energies = fields.find(f"{place}/energies")
    if energies is not None and len(energies.shape) == 2 and energies.shape[0]:
        # Fields of one time are read by a finder that knows nothing else.
        fields.find, found = {"energies": StackImage(energies, 0)}.get, fields.find
        energies_ev = fields.energies_ev("energies")
        fields.find = found
    else:
        energies_ev = fields.energies_ev(f"{place}/energies")
    return split_stack(fields, place, STACKS[name], stack, energies_ev, _pixel_size_m(fields, f"{place}/pixel_sizes"))


def _first_time(fields: Fields, stack: Node | None) -> Node | None:
    if stack is None or len(stack.shape) != 4 or 0 in stack.shape:
        return stack
    if stack.shape[0] > 1:
        fields.warnings.append(f"the frameset has {stack.shape[0]} times; the first is taken")
    return StackImage(stack, 0)


def _pixel_size_m(fields: Fields, path: str) -> float | None:
    sizes = fields.quantities("pixel_size_m", LENGTH, path, required=False)
    if sizes is None:
        return None
    if not sizes.size or not (sizes > 0).all() or np.ptp(sizes) > EVEN * float(sizes.max()):
        fields.fault("pixel_size_m", f"must be positive and the same at every energy, got {_ends(sizes)}")
        return None
    return float(np.median(sizes))


def _ends(values: NDArray[np.float64]) -> str:
    return f"{values.min():g} to {values.max():g} m" if values.size else "none"
