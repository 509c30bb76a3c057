"""Input of PtyLab (HDF5): ``ptychogram`` (P, ny, nx), ``encoder`` (P, 2), ``wavelength``, ``dxd`` and ``zo``.

All lengths are metres: ``encoder`` the positions (y, x) of the probe, ``dxd`` the pixel of the detector, ``zo`` its distance.
``ptychogramDark`` and ``ptychogramFlat`` are taken for dark and flat field where a file has them.

Source: Loetgering et al., Opt. Express 2023, 31, 13763, and ptylab.github.io, "Data" (the fields of an input file).
"""

import h5py

from storage.readers.containers.hdf5 import find_node
from storage.readers.corrections import corrected
from storage.readers.fields import Fields
from storage.readers.record import ScanSource


def is_ptylab(file: h5py.File) -> bool:
    """Whether a file is an input of PtyLab."""
    return find_node(file, "ptychogram") is not None


def read_ptylab(file: h5py.File) -> list[ScanSource]:
    """Read the one energy of a file, leaving its frames there."""
    fields = Fields(lambda path: find_node(file, path))
    frames, mask = corrected(fields, fields.frames("ptychogram"), None, dark=("ptychogramDark",), flat=("ptychogramFlat",))
    orientation = fields.values("orientation", "orientation", required=False)
    if orientation is not None and orientation.size and orientation.flat[0] != 0:
        fields.warnings.append(
            f"the file says orientation {orientation.flat[0]} of PtyLab, which is not applied; the dataset's orientation is"
        )
    return [
        ScanSource(
            label="file",
            frames=frames,
            positions_m=fields.positions_m("encoder", order="yx"),
            energy_ev=fields.wavelength_ev("wavelength"),
            distance_m=fields.length_m("distance_m", "zo", required=False),
            detector_pixel_size_m=fields.length_m("detector_pixel_size_m", "dxd", required=False),
            mask=mask,
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
    ]
