"""Plain files of named arrays, HDF5 or NPZ: one energy a file.

``counts (P, ny, nx)``, ``positions_m (P, 2)`` (y, x), ``energy_ev``; optionally ``distance_m``,
``detector_pixel_size_m``, ``mask`` (bool, true = good) or ``bad_pixels`` (integers, 0 = good), ``probe``,
``beam_centre_px`` (y, x). HDF5 attributes of the file serve for the numbers as well.
"""

import zipfile
from collections.abc import Callable
from contextlib import ExitStack, closing

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.archive import NpyMember
from storage.readers.containers.hdf5 import find_node
from storage.readers.fields import Fields
from storage.readers.record import Node, ScanSource

COUNTS = ("counts", "frames", "diffraction", "data", "intensities")
POSITIONS = ("positions_m", "positions", "probe_positions")
NAMES = {*COUNTS, *POSITIONS}


def read_plain(find: Callable[[str], Node | None], label: str) -> ScanSource:
    """Read the named arrays that ``find`` finds, leaving the frames in the file."""
    fields = Fields(find)
    return ScanSource(
        label=label,
        frames=fields.frames(*COUNTS),
        positions_m=fields.positions_m(*POSITIONS, order="yx"),
        energy_ev=fields.energy_ev("energy_ev", "energy"),
        distance_m=fields.length_m("distance_m", "distance_m", "distance", required=False),
        detector_pixel_size_m=fields.length_m(
            "detector_pixel_size_m", "detector_pixel_size_m", "detector_pixel_size", "pixel_size_m", required=False
        ),
        mask=_mask(fields),
        probe=fields.probe("probe", "illumination"),
        beam_centre_px=_beam_centre(fields),
        faults=tuple(fields.faults),
    )


def find_in_hdf5(file: h5py.File) -> Callable[[str], Node | None]:
    """Look for a name among a file's datasets, then its attributes."""

    def find(name: str) -> Node | None:
        node = find_node(file, name)
        if node is not None or name not in file.attrs:
            return node
        value = np.asarray(file.attrs[name])
        return value if value.dtype.kind in "iuf" else None

    return find


def find_in_npz(archive: zipfile.ZipFile, stack: ExitStack) -> Callable[[str], Node | None]:
    """Look for a name among an archive's ``.npy`` members, which stay open as long as ``stack``."""
    members: dict[str, Node] = {
        name.removesuffix(".npy"): stack.enter_context(closing(NpyMember(archive, name)))
        for name in archive.namelist()
        if name.endswith(".npy")
    }
    return members.get


def _mask(fields: Fields) -> NDArray[np.bool_] | None:
    mask = fields.values("mask", "mask", required=False)
    if mask is None:
        return fields.bad_pixel_mask("bad_pixels", "pixel_mask")
    if mask.dtype.kind != "b" or mask.ndim != 2:
        fields.fault(
            "mask",
            f"must be (ny, nx) bool, true = good, got {mask.shape} of {mask.dtype}; name it bad_pixels if 0 = good",
        )
        return None
    return np.asarray(mask, bool)


def _beam_centre(fields: Fields) -> tuple[float, float] | None:
    centre = fields.values("beam_centre_px", "beam_centre_px", required=False)
    if centre is None:
        return None
    if centre.shape != (2,) or centre.dtype.kind not in "iuf" or not np.isfinite(centre).all():
        fields.fault("beam_centre_px", f"must be two numbers (y, x), got {centre.shape} of {centre.dtype}")
        return None
    return float(centre[0]), float(centre[1])
