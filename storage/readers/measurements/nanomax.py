"""Files of NanoMAX (MAX IV), diffraction endstation: one scan a master file, whose detectors are linked files beside it.

``entry/measurement/<detector>/frames`` (P, ny, nx), or ``entry/measurement/Eiger/data`` and ``entry/instrument/Eiger/data``;
``entry/measurement/pseudo/x`` and ``y`` (P,) [um], the probe on the specimen; ``entry/snapshots/pre_scan/energy`` [eV]. Distance
and pixel are the dataset's. Links to files beside the master are followed where these are in the same ZIP or folder. The
monitor is ``alba/channel1``, ``alba2/1`` or ``ni/counter1``; the mask a file of its own, see ``mask_file``, and the pixels that
are negative in the first frame. Spectra of fluorescence detectors, which are called ``frames`` as well, are passed over.
Frames of several detectors are refused, and links to files that are not beside the master are named.

Source: github.com/maxiv-science/nanomax-analysis-utils (names of the master file), and ptychodus, "Available File Readers".
"""

from collections.abc import Mapping
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.axes import positions_of_axes
from storage.readers.containers.hdf5 import NO_SIBLINGS, child_names, find_node, find_object
from storage.readers.corrections import told_of_monitor
from storage.readers.fields import Fields
from storage.readers.record import Node, ScanSource, is_of_spectra, not_beside

MEASUREMENT: Final = "entry/measurement"
PSEUDO: Final = f"{MEASUREMENT}/pseudo"
ELSEWHERE: Final = (f"{MEASUREMENT}/Eiger/data", "entry/instrument/Eiger/data")
ELSEWHERES_DETECTOR: Final = "Eiger"
"""The detector whose frames these are."""
MONITORS: Final = tuple(f"{MEASUREMENT}/{name}" for name in ("alba/channel1", "alba2/1", "ni/counter1"))
UM: Final = 1e-6


def is_nanomax(file: h5py.File) -> bool:
    """Whether a file is the master of a scan."""
    return find_node(file, f"{PSEUDO}/x") is not None


def read_nanomax(file: h5py.File, siblings: Mapping[str, h5py.File] = NO_SIBLINGS) -> list[ScanSource]:
    """Read the one energy of a master, leaving its frames where they are; ``siblings`` are the audited files beside it."""
    fields = Fields(lambda path: find_node(file, path, siblings, must_lead=not path.startswith(f"{MEASUREMENT}/")))
    group = find_object(file, MEASUREMENT)
    names = child_names(group) if isinstance(group, h5py.Group) else []
    frames = {name: path for name in names if _holds_frames(fields, path := f"{MEASUREMENT}/{name}/frames")}
    other = next((path for path in ELSEWHERE if _holds_frames(fields, path)), None)
    if other is not None:
        frames.setdefault(ELSEWHERES_DETECTOR, other)
    linked = [name for name in names if _leads_away(group, name) and find_object(file, f"{MEASUREMENT}/{name}", siblings) is None]
    if len(frames) > 1:
        fields.fault("counts", f"there are frames of several detectors, {', '.join(frames.values())}: leave one in the file")
    elif not frames and linked:
        fields.fault("counts", f"{', '.join(linked)} is in another file, which is not beside the master; send both in one ZIP")
    elif linked:
        fields.warnings.append(not_beside(next(iter(frames)), linked))
    told_of_monitor(fields, *MONITORS)
    counts = None if any(fault.field == "counts" for fault in fields.faults) else fields.frames(*frames.values(), *ELSEWHERE)
    return [
        ScanSource(
            label="file",
            frames=counts,
            positions_m=positions_of_axes(fields, f"{PSEUDO}/y", f"{PSEUDO}/x", counts, unstated=UM),
            energy_ev=fields.energy_ev("entry/snapshots/pre_scan/energy", "entry/snapshots/post_scan/energy"),
            mask=_gaps(counts),
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
    ]


def _leads_away(group: h5py.Group | h5py.Dataset | None, name: str) -> bool:
    """Whether what is called ``name`` is in another file."""
    return isinstance(group, h5py.Group) and isinstance(group.get(name, getlink=True), h5py.ExternalLink)


def _holds_frames(fields: Fields, path: str) -> bool:
    node = fields.find(path)
    return node is not None and len(node.shape) == 3 and not is_of_spectra(node.shape)


def _gaps(frames: Node | None) -> NDArray[np.bool_] | None:
    """(ny, nx) bool, false where the first frame is negative: the detector's gaps and dead pixels."""
    if frames is None or frames.dtype.kind != "i":
        return None
    good = np.asarray(frames[0:1])[0] >= 0
    return None if good.all() else good
