"""Files of cSAXS (SLS X12SA): frames of an EIGER with the monochromator's numbers, and positions in a file beside them.

``entry/data/data`` (P, ny, nx); ``entry/instrument/eiger_4`` or another detector with ``x_pixel_size`` and ``y_pixel_size`` [um];
``entry/instrument/monochromator`` with ``energy`` [keV] and ``distance`` [mm]. Where an array states its unit, that counts.
Positions: a file in one of the forms of ``positions``, among them the orchestra's, in the same ZIP or folder.

Source: ptychodus, "Available File Readers" (SLS X12SA), and PtychoShelves' documentation of orchestra positions.
"""

from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import child_names, find_node, find_object
from storage.readers.fields import LENGTH, Fields
from storage.readers.masks import NEXUS_BAD_BITS
from storage.readers.measurements.positions import holds_positions, read_positions
from storage.readers.record import ScanSource

INSTRUMENT: Final = "entry/instrument"
MONOCHROMATOR: Final = f"{INSTRUMENT}/monochromator"
OF_A_DETECTOR: Final = ("x_pixel_size", "y_pixel_size", "pixel_mask")
"""A group of the instrument that has one of these is a detector."""
UM: Final = 1e-6
MM: Final = 1e-3


def is_csaxs(file: h5py.File) -> bool:
    """Whether a file holds frames and the monochromator's energy, as cSAXS writes them."""
    return find_node(file, "entry/data/data") is not None and find_node(file, f"{MONOCHROMATOR}/energy") is not None


def read_csaxs(file: h5py.File, others: list[Path]) -> list[ScanSource]:
    """Read the one energy of a file, leaving its frames there; positions are looked for in ``others``."""
    fields = Fields(lambda path: find_node(file, path))
    group = find_object(file, INSTRUMENT)
    detectors = [f"{INSTRUMENT}/{name}" for name in (child_names(group) if isinstance(group, h5py.Group) else [])]
    detectors = [one for one in detectors if any(fields.find(f"{one}/{name}") is not None for name in OF_A_DETECTOR)]
    if len(detectors) > 1:
        names = ", ".join(detectors)
        fields.fault("detector_pixel_size_m", f"of which detector are the frames, {names}? Leave one in the file")
        detectors = detectors[:1]
    sizes = [
        fields.length_m("detector_pixel_size_m", *(f"{one}/{axis}_pixel_size" for one in detectors), required=False, unstated=UM)
        for axis in "yx"
    ]
    y, x = sizes
    if y is not None and x is not None and abs(x - y) > 1e-3 * x:
        fields.fault("detector_pixel_size_m", f"pixels must be square, got {y:g} by {x:g} m")
    mask, frame_masks = fields.masks(*(f"{one}/pixel_mask" for one in detectors), bad_bits=NEXUS_BAD_BITS)
    return [
        ScanSource(
            label="file",
            frames=fields.frames("entry/data/data"),
            positions_m=_positions_m(fields, others),
            energy_ev=fields.energy_ev(f"{MONOCHROMATOR}/energy", kev=True),
            distance_m=_distance_m(fields),
            detector_pixel_size_m=x if y is None else y,
            mask=mask,
            frame_masks=frame_masks,
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
    ]


def _distance_m(fields: Fields) -> float | None:
    """Distance of the detector [m], which some files state as a negative number."""
    value = fields.quantities("distance_m", LENGTH, f"{MONOCHROMATOR}/distance", required=False, unstated=MM)
    if value is None or not value.size:
        return None
    distance = abs(float(value.flat[0]))
    if not 0 < distance < np.inf:
        fields.fault("distance_m", f"must be a length, got {value.flat[0]:g} m")
        return None
    return distance


def _positions_m(fields: Fields, others: list[Path]) -> NDArray[np.float64] | None:
    found = [path for path in others if holds_positions(path)]
    if len(found) == 1:
        return read_positions(found[0], fields)
    fields.fault(
        "positions_m",
        f"missing: frames of cSAXS need exactly one file of positions beside them, in one ZIP, found {len(found)}",
    )
    return None
