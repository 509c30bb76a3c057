"""Dectris EIGER: a master file and the data files beside it, with the positions in a file of their own.

The master names its data files by external links. They are never followed: each must name a file of the same folder,
which is then opened, and audited, like any other. Positions come as ``positions_m`` in an NPZ or HDF5 file, as a
``.npy`` of (P, 2) (y, x) [m], or as text of two columns under a first line that names them ``y_m`` and ``x_m``.
"""

import re
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from storage.errors import FieldError, HostileFileError, InvalidScanError, UnknownFormatError
from storage.readers.containers.archive import NpyMember, open_archive, read_npy
from storage.readers.containers.hdf5 import find_node, find_object, is_hdf5, open_hdf5
from storage.readers.fields import Fields
from storage.readers.record import DAMAGE, Node, ScanSource
from storage.readers.stack import FrameStack

DATA = re.compile(r"data_\d{6}")
MAX_TEXT_BYTES = 64 * 2**20
DETECTOR = "entry/instrument/detector"
SPECIFIC = f"{DETECTOR}/detectorSpecific"


def data_names(file: h5py.File) -> list[str]:
    """Names of a master's data blocks, in order; none if the file is no master."""
    group = find_object(file, "entry/data")
    return sorted(name for name in group if DATA.fullmatch(name)) if isinstance(group, h5py.Group) else []


def read_folder(folder: Path, stack: ExitStack) -> list[ScanSource]:
    """Read every master in a folder, each with the data files it names.

    Raises
    ------
    UnknownFormatError
        No master in the folder.
    HostileFileError
        A link in the folder, or a file that fails its audit.
    """
    files = sorted(folder.rglob("*"))
    links = [FieldError(file.name, "is a symbolic link; files must be in the folder") for file in files if file.is_symlink()]
    if links:
        raise HostileFileError(links)
    plain = [file for file in files if file.is_file()]
    opened = {file: stack.enter_context(open_hdf5(file, external=True)) for file in plain if is_hdf5(file)}
    masters = {file: handle for file, handle in opened.items() if data_names(handle)}
    if not masters:
        raise UnknownFormatError([FieldError("file", f"holds no EIGER master: {[file.name for file in files][:10]}")])
    others = [file for file in plain if file not in masters and not _is_data(opened.get(file))]
    sources = []
    for path, handle in masters.items():
        siblings = {file.name: other for file, other in opened.items() if file.parent == path.parent}
        sources.append(read_master(handle, path.name, siblings, _positions_for(path, others)))
    return sources


def read_master(master: h5py.File, label: str, siblings: dict[str, h5py.File], positions: Path | None = None) -> ScanSource:
    """Read one master's fields, leaving the frames in the data files."""
    fields = Fields(lambda path: find_node(master, path))
    frames = _frames(master, siblings, fields)
    located = Fields(_find_positions(positions)) if positions else fields
    positions_m = located.positions_m("positions_m", "entry/positions_m", order="yx")
    return ScanSource(
        label=label,
        frames=frames,
        positions_m=positions_m,
        energy_ev=fields.energy_ev(
            f"{SPECIFIC}/photon_energy", f"{DETECTOR}/photon_energy", "entry/instrument/beam/incident_energy"
        ),
        distance_m=fields.length_m("distance_m", f"{DETECTOR}/detector_distance", required=False),
        detector_pixel_size_m=fields.pixel_size_m((f"{DETECTOR}/y_pixel_size",), (f"{DETECTOR}/x_pixel_size",)),
        mask=fields.bad_pixel_mask(f"{SPECIFIC}/pixel_mask", f"{DETECTOR}/pixel_mask"),
        beam_centre_px=_beam_centre(fields),
        faults=(*fields.faults, *(located.faults if positions else ())),
    )


def _frames(master: h5py.File, siblings: dict[str, h5py.File], fields: Fields) -> FrameStack | None:
    parts: list[Node] = []
    group: Any = find_object(master, "entry/data")
    for name in data_names(master):
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            sibling = siblings.get(link.filename)
            if sibling is None:
                fields.fault("counts", f"{name} is in {link.filename!r}, which is not beside the master; send both in one ZIP")
                continue
            node = find_node(sibling, link.path)
        else:
            node = find_node(group, name)
        if node is None or node.dtype.kind not in "iu":
            fields.fault("counts", f"{name} leads to no array of counts")
        else:
            parts.append(node)
    try:
        return None if any(fault.field == "counts" for fault in fields.faults) else FrameStack(parts)
    except ValueError as error:
        fields.fault("counts", str(error))
        return None


def _beam_centre(fields: Fields) -> tuple[float, float] | None:
    y = fields.number("beam_centre_px", f"{DETECTOR}/beam_center_y", required=False)
    x = fields.number("beam_centre_px", f"{DETECTOR}/beam_center_x", required=False)
    # Zero is what the detector writes when nobody has set it.
    return (y, x) if y and x else None


def _is_data(file: h5py.File | None) -> bool:
    return file is not None and find_node(file, "entry/data/data") is not None


def _positions_for(master: Path, others: list[Path]) -> Path | None:
    stem = re.sub(r"_?master$", "", master.stem)
    named = [path for path in others if path.name.startswith(stem)]
    beside = [path for path in others if path.parent == master.parent]
    return next((found[0] for found in (named, beside, others) if len(found) == 1), None)


def _find_positions(path: Path) -> Callable[[str], Node | None]:
    array = read_positions(path)
    return lambda name: array if name == "positions_m" else None


def read_positions(path: Path) -> Any:
    """Read (P, 2) positions (y, x) [m] from a file of their own, in any of the forms above.

    Raises
    ------
    InvalidScanError
        The file holds none.
    """
    try:
        if is_hdf5(path):
            with open_hdf5(path) as file:
                node = find_node(file, "positions_m")
                found = None if node is None else np.asarray(node[()])
        elif zipfile.is_zipfile(path):
            with open_archive(path) as archive:
                found = NpyMember(archive, "positions_m.npy")[()]
        elif path.read_bytes()[:6] == b"\x93NUMPY":
            found = read_npy(path)
        else:
            found = _read_text(path)
    except InvalidScanError:
        raise
    except DAMAGE as error:
        raise InvalidScanError([FieldError("positions_m", f"cannot be read from {path.name}: {error}")]) from error
    if found is None:
        raise InvalidScanError([FieldError("positions_m", f"missing: nothing named positions_m in {path.name}")])
    return found


def _read_text(path: Path) -> Any:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError("too long")
    lines = path.read_text("utf-8").splitlines()
    first = re.split(r"[,;\s]+", lines[0].strip("#; \t").lower()) if lines else []
    if not {"y_m", "x_m"} <= set(first):
        raise ValueError(f"the first line must name the columns y_m and x_m, got {lines[0][:60] if lines else ''!r}")
    rows = [re.split(r"[,;\s]+", line.strip()) for line in lines[1:] if line.strip()]
    return np.array([[float(row[first.index("y_m")]), float(row[first.index("x_m")])] for row in rows if len(row) >= len(first)])
