"""Files of the Hard X-ray Nanoprobe (NSLS-II 3-ID), in the two forms in which its programs hand them over.

=========  ============================================================================================================
prepared   ``diffamp`` (P, ny, nx), the square roots of the counts, with the beam in the corners; ``points`` (2, P), x and y
           [um]; ``lambda_nm``, ``ccd_pixel_um``, ``z_m``; ``ic`` (P,), the ion chamber that the counts are divided by already
raw        ``diff_data/<detector>/det_images`` or ``entry/data/data`` (P, ny, nx); ``scan/scan_positions`` (2, P), x and y
           [um]; ``scan/energy`` [eV or keV]; distance and pixel are the dataset's
=========  ============================================================================================================

The program that prepares a file subtracts no dark field (the detector counts), replaces bad pixels by their neighbours, and
turns the frames by a quarter against the stage's axes, for which the dataset has ``orientation``. Where the beam is, is seen in
the frames, because other programs write the same names with the beam in the middle.

Source: github.com/NSLS-II/ptycho_gui, "HXN data" (what is in the prepared file), and ptychodus, "Available File Readers" (both).
"""

from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import child_names, find_node, find_object
from storage.readers.corrections import STEADY, is_beam_in_corners, monitor_spread, squared
from storage.readers.fields import Fields
from storage.readers.record import Node, ScanSource, is_of_spectra

PREPARED: Final = "diffamp"
RAW: Final = "scan/scan_positions"
UM: Final = 1e-6
NM: Final = 1e-9


def is_hxn(file: h5py.File) -> bool:
    """Whether a file is in one of the forms."""
    return any(find_node(file, name) is not None for name in (PREPARED, RAW))


def read_hxn(file: h5py.File) -> list[ScanSource]:
    """Read the one energy of a file, leaving its frames there."""
    fields = Fields(lambda path: find_node(file, path))
    source = _prepared(fields) if find_node(file, PREPARED) is not None else _raw(fields, file)
    return [source]


def _prepared(fields: Fields) -> ScanSource:
    amplitudes = fields.frames(PREPARED)
    spread = monitor_spread(fields, "ic")
    if spread > STEADY:
        fields.warnings.append(
            f"the ion chamber ic varies by {spread:.1%} over the frames, which were divided by it when the file was prepared: "
            "their numbers are no longer those that were counted"
        )
    return ScanSource(
        label="file",
        frames=squared(amplitudes, amplitudes is not None and is_beam_in_corners(amplitudes)),
        positions_m=_positions_m(fields, "points"),
        energy_ev=fields.wavelength_ev("lambda_nm", unstated=NM),
        distance_m=fields.length_m("distance_m", "z_m", required=False),
        detector_pixel_size_m=fields.length_m("detector_pixel_size_m", "ccd_pixel_um", required=False, unstated=UM),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def _raw(fields: Fields, file: h5py.File) -> ScanSource:
    group = find_object(file, "diff_data")
    detectors = child_names(group) if isinstance(group, h5py.Group) else []
    places = ["entry/data/data", *(f"diff_data/{name}/det_images" for name in detectors)]
    found = [path for path in places if (node := fields.find(path)) is not None and not _is_spectrum(node)]
    if len(found) > 1:
        fields.fault("counts", f"there are frames of several detectors, {', '.join(found)}: leave one in the file")
    return ScanSource(
        label="file",
        frames=fields.frames(*(found or places)),
        positions_m=_positions_m(fields, RAW),
        energy_ev=fields.energy_ev("scan/energy", kev=True),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def _is_spectrum(node: Node) -> bool:
    return len(node.shape) == 3 and is_of_spectra(node.shape)


def _positions_m(fields: Fields, path: str) -> NDArray[np.float64] | None:
    """(P, 2) positions (y, x) [m] of x and y in two rows (2, P)."""
    node = fields.find(path)
    if node is not None and (len(node.shape) != 2 or node.shape[0] != 2):
        fields.fault("positions_m", f"{path} must be x and y in two rows (2, P), got {tuple(node.shape)}")
        return None
    return fields.positions_m(path, unstated=UM)
