"""STXM stacks in NeXus files of the definition NXstxm: counts (E, Y, X), and I0 (E,) in the entry's ``control`` or not known.

An NXdata group of the entry holds ``data`` along ``energy``, ``sample_y`` and ``sample_x``, whose ``units`` are followed; the
energies are eV and the samples' places metres where none are stated. Its attribute ``axes`` gives the order of the axes.

Source: the NeXus definition NXstxm (manual.nexusformat.org, application definitions).
"""

import re
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import attribute_texts, child_names, find_node, find_object, find_text
from storage.readers.fields import COUNT, LENGTH, Fields
from storage.readers.images import ImageSource, split_stack

AXES: Final = ("energy", "sample_y", "sample_x")
EVEN_STEPS: Final = 0.01
"""Most that the steps of an axis may differ from each other, as a share."""


def is_nxstxm(file: h5py.File) -> bool:
    """Whether an entry is defined as NXstxm and holds data."""
    return stack_place(file) is not None


def stack_place(file: h5py.File) -> str | None:
    """Path of the first NXdata group of an NXstxm entry that holds a stack; None where there is none."""
    for entry in child_names(file):
        if find_text(file, f"{entry}/definition") != "NXstxm":
            continue
        group = find_object(file, entry)
        for name in child_names(group) if isinstance(group, h5py.Group) else []:
            if all(find_node(file, f"{entry}/{name}/{one}") is not None for one in ("data", "energy")):
                return f"{entry}/{name}"
    return None


def read_nxstxm(file: h5py.File) -> list[ImageSource]:
    """Read the first stack of a file, leaving it there."""
    place = stack_place(file)
    fields = Fields(lambda path: find_node(file, path))
    stack = fields.node("image", f"{place}/data")
    axes = _axes(file, place)
    if axes != AXES:
        fields.fault("image", f"axes must be {', '.join(AXES)}, got {', '.join(axes)[:100]}: transpose the data")
    y, x = (_axis_m(fields, f"{place}/{name}") for name in AXES[1:])
    if (
        not fields.faults
        and stack is not None
        and y is not None
        and x is not None
        and tuple(stack.shape[-2:]) != (len(y), len(x))
    ):
        fields.fault(
            "image", f"is {tuple(stack.shape)} for {len(y)} sample_y and {len(x)} sample_x: are rows and columns swapped?"
        )
    energies_ev = fields.energies_ev(f"{place}/energy")
    return split_stack(
        fields, str(place), "intensity", stack, energies_ev, _pixel_size_m(fields, y, x), i0=_incident(fields, place, energies_ev)
    )


def _axes(file: h5py.File, place: str | None) -> tuple[str, ...]:
    """Names of the axes in order, of the attribute ``axes`` of the group or of its data; as defined where neither has it."""
    for node in (find_object(file, str(place)), find_object(file, f"{place}/data")):
        texts = attribute_texts(node, "axes") if node is not None else []
        names = [name for text in texts for name in re.split(r"[:,;\s\[\]]+", text) if name]
        if names and (not isinstance(node, h5py.Dataset) or set(names) == set(AXES)):
            return tuple(names)
    return AXES


def _incident(fields: Fields, place: str | None, energies_ev: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """I0 (E,) of the entry's monitor; None, with a warning, where it has another number of readings, such as one a pixel."""
    monitor = f"{str(place).partition('/')[0]}/control/data"
    node = fields.node("i0", monitor, required=False)
    if node is None or energies_ev is None:
        return None
    shape = tuple(int(n) for n in node.shape)
    if max(shape, default=1) != len(energies_ev) or np.prod(shape) != len(energies_ev):
        fields.warnings.append(
            f"{monitor} holds {shape} readings, not one for each of {len(energies_ev)} energies: it is not used, and I0 is that "
            "of the empty area"
        )
        return None
    return fields.quantities("i0", COUNT, monitor, required=False)


def _axis_m(fields: Fields, path: str) -> NDArray[np.float64] | None:
    points = fields.quantities("pixel_size_m", LENGTH, path)
    if points is None:
        return None
    steps = np.abs(np.diff(points.ravel()))
    if len(steps) < 1 or not steps.min() > 0 or np.ptp(steps) > EVEN_STEPS * steps.mean():
        fields.fault("pixel_size_m", f"{path} must be two points or more in even steps")
        return None
    return points.ravel()


def _pixel_size_m(fields: Fields, y: NDArray[np.float64] | None, x: NDArray[np.float64] | None) -> float | None:
    if y is None or x is None:
        return None
    sizes = [float(np.abs(axis[-1] - axis[0]) / (len(axis) - 1)) for axis in (y, x)]
    if abs(sizes[0] - sizes[1]) > EVEN_STEPS * sizes[0]:
        fields.fault("pixel_size_m", f"pixels must be square, got {sizes[0]:g} by {sizes[1]:g} m")
        return None
    return sizes[0]
