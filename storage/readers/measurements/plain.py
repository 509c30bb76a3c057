"""Plain files of named arrays, HDF5 or NPZ: one energy a file, or a stack.

``counts (P, ny, nx)``, ``positions_m (P, 2)`` (y, x), ``energy_ev``; optionally ``distance_m``, ``detector_pixel_size_m``,
``mask`` (bool, true = good) or ``bad_pixels`` (integers, 0 = good), ``probe``, ``beam_centre_px`` (y, x),
``saturation_count``, ``dark`` and ``flat`` (ny, nx), ``monitor (P,)``. Several energies are ``counts (E, P, ny, nx)`` and
``energy_ev (E,)``, with positions of each (E, P, 2) or of all, and likewise distances, pixels, probes, masks and dark frames.
HDF5 attributes of the file serve for the numbers as well. What MATLAB saved is (ny, nx, P) there, see ``matlab``.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.archive import Archive
from storage.readers.containers.hdf5 import NO_SIBLINGS, find_node
from storage.readers.containers.npy import NpyMember, npy_names
from storage.readers.corrections import corrected, told_of_monitor
from storage.readers.energy_stack import split_energies, told_of_probes
from storage.readers.fields import PIXEL, Fields
from storage.readers.matlab import turned_back
from storage.readers.record import BeamCentre, Node, ScanSource

COUNTS = ("counts", "frames", "diffraction", "data", "intensities")
POSITIONS = ("positions_m", "positions", "probe_positions")
ENERGIES = ("energy_ev", "energy", "energies_ev")
NAMES = {*COUNTS, *POSITIONS}
DISTANCES = ("distance_m", "distance")
PIXELS = ("detector_pixel_size_m", "detector_pixel_size", "pixel_size_m")
PROBES = ("probe", "illumination")
OF_EACH_ENERGY: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(POSITIONS, (3,)),
    **dict.fromkeys(("mask", "bad_pixels"), (3, 4)),
    "dark": (4,),
    **dict.fromkeys((*DISTANCES, *PIXELS), (1,)),
    **dict.fromkeys(PROBES, (3, 4)),
    **dict.fromkeys(("beam_centre_px", "monitor"), (2,)),
}
"""Arrays that a stack may have one of for each energy, and their dimensions then."""


def read_plain_scans(find: Callable[[str], Node | None], label: str) -> list[ScanSource]:
    """Read the named arrays that ``find`` finds, one source an energy, leaving the frames in the file."""
    parts = split_energies(find, COUNTS, ENERGIES, OF_EACH_ENERGY)
    labels = [label] if len(parts) == 1 else [f"{label} {number}" for number in range(1, len(parts) + 1)]
    return told_of_probes(find, PROBES, [read_plain(part, name) for part, name in zip(parts, labels, strict=True)])


def read_plain(find: Callable[[str], Node | None], label: str) -> ScanSource:
    """Read the named arrays of one energy that ``find`` finds, leaving the frames in the file."""
    fields = Fields(find)
    mask, frame_masks = _masks(fields)
    frames, mask = corrected(fields, fields.frames(*COUNTS), mask, dark=("dark",), flat=("flat",))
    told_of_monitor(fields, "monitor")
    return ScanSource(
        label=label,
        frames=frames,
        positions_m=fields.positions_m(*POSITIONS, order="yx"),
        energy_ev=fields.energy_ev(*ENERGIES),
        distance_m=fields.length_m("distance_m", *DISTANCES, required=False),
        detector_pixel_size_m=fields.length_m("detector_pixel_size_m", *PIXELS, required=False),
        mask=mask,
        frame_masks=frame_masks,
        probe=fields.probe(*PROBES),
        beam_centre=_beam_centre(fields),
        saturation_count=fields.saturation_count("saturation_count", "saturation_value"),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def find_in_hdf5(file: h5py.File, siblings: Mapping[str, h5py.File] = NO_SIBLINGS) -> Callable[[str], Node | None]:
    """Look for a name among a file's datasets, with the axes of those that MATLAB saved turned back, then its attributes.

    Datasets may be links to ``siblings``, the audited files beside it, or virtual ones of them.
    """

    def find(name: str) -> Node | None:
        node = find_node(file, name, siblings, must_lead=True)
        if node is not None or name not in file.attrs:
            return turned_back(node)
        value = np.asarray(file.attrs[name])
        return value if value.dtype.kind in "iuf" else None

    return find


def find_in_npz(archive: Archive, stack: ExitStack) -> Callable[[str], Node | None]:
    """Look for a name among an archive's ``.npy`` members, which stay open as long as ``stack``."""
    members: dict[str, Node] = {
        name: stack.enter_context(closing(NpyMember(archive, member))) for name, member in npy_names(archive).items()
    }
    return members.get


def _masks(fields: Fields) -> tuple[NDArray[np.bool_] | None, Node | None]:
    node = fields.node("mask", "mask", required=False)
    if node is None:
        return fields.masks("bad_pixels", "pixel_mask")
    if node.dtype.kind != "b" or len(node.shape) not in (2, 3) or 0 in node.shape:
        fields.fault(
            "mask",
            f"must be (ny, nx) or (P, ny, nx) bool, true = good, got {node.shape} of {node.dtype}; "
            "name it bad_pixels if 0 = good",
        )
        return None, None
    if len(node.shape) == 3:
        return None, node
    mask = fields.values("mask", "mask")
    return None if mask is None else np.asarray(mask, bool), None


def _beam_centre(fields: Fields) -> BeamCentre | None:
    centre = fields.quantities("beam_centre_px", PIXEL, "beam_centre_px", required=False)
    if centre is None:
        return None
    if centre.shape != (2,) or not np.isfinite(centre).all():
        fields.fault("beam_centre_px", f"must be two finite numbers (y, x), got {centre.shape}: {centre.flat[:4]}")
        return None
    return BeamCentre(float(centre[0]), float(centre[1]))
