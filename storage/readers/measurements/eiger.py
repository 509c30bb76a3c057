"""Dectris EIGER: a master file and the data files beside it, with the positions in a file of their own.

The master names its data files by external links, or by a virtual dataset of all frames at ``/entry/data/data``. Neither is
ever followed by HDF5: each must name a file of the same folder, which is then opened, and audited, like any other. Forms of the
positions: see ``positions``.

A counting detector has no dark field. Its flat field is applied by the detector; where the master says that it was not
(``flatfield_correction_applied``), a warning does too. ``pixel_mask`` counts whether it was applied or not.

Source: Dectris, SIMPLON API reference, "filewriter" (``saturation_value``, ``countrate_correction_count_cutoff`` and
``bit_depth_image`` bound what a pixel can count).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.errors import InvalidScanError
from storage.readers.containers.hdf5 import child_names, find_node, find_object, is_virtual
from storage.readers.fields import Fields
from storage.readers.masks import NEXUS_BAD_BITS
from storage.readers.measurements.positions import holds_positions, read_positions
from storage.readers.record import Node, ScanSource
from storage.readers.stack import FrameStack

DATA = re.compile(r"data_\d{6}")
FRAMES: Final = "entry/data/data"
DETECTOR: Final = "entry/instrument/detector"
SPECIFIC: Final = f"{DETECTOR}/detectorSpecific"
BEAM: Final = "entry/instrument/beam"
ENERGIES: Final = (
    f"{SPECIFIC}/photon_energy", f"{DETECTOR}/photon_energy", f"{BEAM}/incident_energy", f"{BEAM}/photon_energy",
)  # fmt: skip
WAVELENGTH: Final = f"{BEAM}/incident_wavelength"
ANGSTROM_M: Final = 1e-10
SAME_ENERGY: Final = 1e-4
"""Largest relative difference of two statements of one energy, of which a wavelength may be rounded."""


def data_names(file: h5py.File) -> list[str]:
    """Names of a master's data blocks, in order; none if the file is no master."""
    group = find_object(file, "entry/data")
    return [name for name in child_names(group) if DATA.fullmatch(name)] if isinstance(group, h5py.Group) else []


def is_master(file: h5py.File) -> bool:
    """Whether a file is a master: with blocks of data, or with a detector and a virtual dataset of its frames."""
    if data_names(file):
        return True
    frames = find_object(file, FRAMES)
    return isinstance(frames, h5py.Dataset) and is_virtual(frames) and isinstance(find_object(file, DETECTOR), h5py.Group)


def read_masters(opened: Mapping[Path, h5py.File], others: list[Path]) -> list[ScanSource]:
    """Read every master among the HDF5 files of a folder, each with the data files it names.

    Parameters
    ----------
    opened : mapping
        HDF5 files of the folder, opened and audited.
    others : list of Path
        Further files of the folder, in which positions are looked for.
    """
    masters = [path for path, file in opened.items() if is_master(file)]
    candidates = others + [path for path, file in opened.items() if path not in masters and not _is_data(file)]
    # Where no file holds positions, a single other file is read all the same, for the reason why it does not.
    candidates = [path for path in candidates if holds_positions(path)] or candidates
    sources = []
    for path in masters:
        siblings = {file.name: other for file, other in opened.items() if file.parent == path.parent}
        sources.append(read_master(opened[path], path.name, siblings, _positions_for(path, candidates)))
    return sources


def read_master(master: h5py.File, label: str, siblings: Mapping[str, h5py.File], positions: Path | None = None) -> ScanSource:
    """Read one master's fields, leaving the frames in the data files."""
    fields = Fields(lambda path: find_node(master, path, siblings, must_lead=True))
    frames = _frames(master, siblings, fields)
    mask, frame_masks = fields.masks(f"{SPECIFIC}/pixel_mask", f"{DETECTOR}/pixel_mask", bad_bits=NEXUS_BAD_BITS)
    told_of_flat_field(fields)
    return ScanSource(
        label=label,
        frames=frames,
        positions_m=_positions_m(fields, positions),
        energy_ev=_energy_ev(fields),
        distance_m=fields.length_m("distance_m", f"{DETECTOR}/detector_distance", f"{DETECTOR}/distance", required=False),
        detector_pixel_size_m=fields.pixel_size_m((f"{DETECTOR}/y_pixel_size",), (f"{DETECTOR}/x_pixel_size",)),
        mask=mask,
        frame_masks=frame_masks,
        beam_centre=fields.beam_centre(f"{DETECTOR}/beam_center_y", f"{DETECTOR}/beam_center_x"),
        saturation_count=_saturation_count(fields),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def _positions_m(fields: Fields, path: Path | None) -> NDArray[np.float64] | None:
    if path is not None:
        return read_positions(path, fields)
    if fields.node("positions_m", "positions_m", "entry/positions_m", required=False) is not None:
        return fields.positions_m("positions_m", "entry/positions_m", order="yx")
    fields.fault(
        "positions_m",
        "missing: an EIGER master holds none, and exactly one file beside it must: positions_m in HDF5, NPZ or .npy, or text "
        "whose first line names y_m and x_m",
    )
    return None


def told_of_flat_field(fields: Fields) -> None:
    """Warn where the detector did not apply its flat field, which is not applied here either."""
    for group in (DETECTOR, SPECIFIC):
        applied = fields.values("flat", f"{group}/flatfield_correction_applied", required=False)
        if applied is not None and applied.size and not applied.flat[0]:
            fields.warnings.append(
                "the master says that the detector did not apply its flat field (flatfield_correction_applied = 0); the frames "
                "are taken as they are"
            )
            return


def _energy_ev(fields: Fields) -> float | None:
    """The photon energy [eV] that the detector was set to, else the beam's; a warning names several that differ."""
    stated = {path: Fields(fields.find).energy_ev(path, required=False) for path in ENERGIES}
    if fields.find(WAVELENGTH) is not None:
        stated[WAVELENGTH] = Fields(fields.find).wavelength_ev(WAVELENGTH, unstated=ANGSTROM_M)
    found = {path: energy for path, energy in stated.items() if energy is not None}
    if set(found) == {WAVELENGTH}:
        return found[WAVELENGTH]
    energy = fields.energy_ev(*ENERGIES)
    if energy is not None and any(abs(other - energy) > SAME_ENERGY * energy for other in found.values()):
        others = ", ".join(f"{other:.2f} eV at {path.rpartition('/')[2]}" for path, other in found.items())
        fields.warnings.append(f"the master states different photon energies, {others}: the first is taken; is it the beam's?")
    return energy


def _saturation_count(fields: Fields) -> float | None:
    names = ("saturation_value", "countrate_correction_count_cutoff")
    limits = [fields.saturation_count(*(f"{group}/{name}" for name in names for group in (DETECTOR, SPECIFIC)))]
    for group in (DETECTOR, SPECIFIC):
        bits = fields.saturation_count(f"{group}/bit_depth_image")
        limits.append(2**bits - 1 if bits is not None and bits <= 64 else None)
    return min((limit for limit in limits if limit is not None), default=None)


def _frames(master: h5py.File, siblings: Mapping[str, h5py.File], fields: Fields) -> FrameStack | None:
    parts: list[Node] = []
    group: Any = find_object(master, "entry/data")
    names = data_names(master)
    for name in names or ("data",):
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink) and link.filename not in siblings:
            fields.fault("counts", f"{name} is in {link.filename!r}, which is not beside the master; send both in one ZIP")
            continue
        try:
            node = find_node(group, name, siblings, must_lead=True)
        except InvalidScanError as error:
            fields.fault("counts", f"{name}: {error}")
            continue
        if node is None or node.dtype.kind not in "iu":
            fields.fault("counts", f"{name} leads to no array of counts")
        else:
            parts.append(node)
    try:
        return None if any(fault.field == "counts" for fault in fields.faults) else FrameStack(parts)
    except ValueError as error:
        fields.fault("counts", str(error))
        return None


def _is_data(file: h5py.File) -> bool:
    return find_node(file, FRAMES) is not None


def _positions_for(master: Path, candidates: list[Path]) -> Path | None:
    """The one file of positions that belongs to a master: of its name, else beside it, else in the whole folder."""
    stem = re.sub(r"_?master$", "", master.stem)
    named = [path for path in candidates if path.name.startswith(stem)]
    beside = [path for path in candidates if path.parent == master.parent]
    return next((found[0] for found in (named, beside, candidates) if len(found) == 1), None)
