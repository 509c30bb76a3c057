"""Results of cdtools (``.h5``): the object ``obj`` (Y, X), its pixel in ``obj_basis``, and the ``wavelength`` [m].

The columns of ``obj_basis`` (3, 2) are the steps [m] along the rows and along the columns of the object; older files have one
``basis`` of the probe, which is the object's as well. The probe (modes, N, N) is kept with the object.

Source: cdtools, "FancyPtycho.save_results" (cdtools-developers.github.io/cdtools).
"""

from typing import Final

import h5py
import numpy as np

from storage.readers.containers.hdf5 import find_node
from storage.readers.fields import LENGTH, Fields
from storage.readers.images import ImageSource, split_stack
from storage.readers.reconstructions.ptychodus import whole_object

BASES: Final = ("obj_basis", "basis")


def is_cdtools(file: h5py.File) -> bool:
    """Whether a file holds results of cdtools."""
    return find_node(file, "obj") is not None and any(find_node(file, name) is not None for name in (*BASES, "wavelength"))


def read_cdtools(file: h5py.File) -> list[ImageSource]:
    """Read the object, leaving it in the file."""
    fields = Fields(lambda path: find_node(file, path))
    image = whole_object(fields, fields.node("image", "obj"))
    energy_ev = fields.wavelength_ev("wavelength")
    energies_ev = None if energy_ev is None else np.array([energy_ev])
    return split_stack(fields, "obj", "object", image, energies_ev, _pixel_size_m(fields), probe=fields.probe("probe"))


def _pixel_size_m(fields: Fields) -> float | None:
    basis = fields.quantities("pixel_size_m", LENGTH, *BASES)
    if basis is None:
        return None
    if basis.shape != (3, 2) or not np.isfinite(basis).all():
        fields.fault("pixel_size_m", f"the basis must be (3, 2), finite, got {basis.shape}: is it transposed?")
        return None
    rows, columns = basis.T
    sizes = float(np.linalg.norm(rows)), float(np.linalg.norm(columns))
    if min(sizes) == 0 or abs(sizes[0] - sizes[1]) > 1e-3 * sizes[0] or abs(rows @ columns) > 1e-3 * sizes[0] * sizes[1]:
        fields.fault("pixel_size_m", f"pixels must be square, the basis has steps of {sizes[0]:g} and {sizes[1]:g} m")
        return None
    return sizes[0]
