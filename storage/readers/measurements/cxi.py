"""CXI 1.6 and NeXus NXcxi_ptycho files: one energy an entry, ``entry_1`` to ``entry_n``, or a stack of them in one.

A stack holds frames (E, P, ny, nx) and as many energies. Frames without light, ``detector_1/data_dark``, are subtracted, and
the flat field, ``data_white`` or cdtools' ``qe_mask``, is divided by. Without pixel sizes the ``basis_vectors`` (3, 2) of the
detector give them, and without a distance the z of ``corner_position``, as in files of COSMIC. Diamond's variant has its
frames at ``data/data``, as a raster (rows, columns, ny, nx) or one after another, positions at ``data/y`` and ``data/x``, and
``detector_1/darkfield`` and ``flatfield``. Frames of ``detector_2`` and more are not read, which a warning says.

Sources: Maia, Nat. Methods 2012, 9, 854 (CXI); the NeXus definition NXcxi_ptycho. Positions are taken as they are, x
the column and y the row of the array, as other readers of the format do; ``orientation`` is for beamlines that differ.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.axes import positions_of_axes
from storage.readers.containers.hdf5 import child_names, find_node, find_object, find_text
from storage.readers.corrections import corrected, told_of_monitor
from storage.readers.energy_stack import split_energies, told_of_probes
from storage.readers.fields import LENGTH, Fields
from storage.readers.masks import CXI_BAD_BITS, NEXUS_BAD_BITS
from storage.readers.record import Node, ScanSource, is_of_spectra

ENTRY = re.compile(r"entry_(\d+)")
FURTHER_DATA: Final = re.compile(r"data_(?!1$)\d+")
FURTHER_DETECTOR: Final = re.compile(r"detector_(?!1$)\d+")
SOURCE, DETECTOR, BEAM = "instrument_1/source_1", "instrument_1/detector_1", "instrument_1/beam_1"
SOURCE_ENERGY: Final = f"{SOURCE}/energy"
BEAM_ENERGIES: Final = (f"{BEAM}/incident_beam_energy", f"{BEAM}/energy", f"{BEAM}/incident_energy")
FRAMES = ("data_1/data", f"{DETECTOR}/data", "data/data")
TRANSLATIONS = ("data_1/translation", "sample_1/geometry_1/translation", f"{DETECTOR}/translation")
AXES = "data/y", "data/x"
ILLUMINATION: Final = f"{SOURCE}/illumination"
MASKS: Final = (f"{DETECTOR}/mask", "data_1/mask")
NEXUS_MASK: Final = f"{DETECTOR}/pixel_mask"
CENTRE_YX: Final = (f"{DETECTOR}/beam_center_y", f"{DETECTOR}/beam_center_x")
MONITORS: Final = ("control_1/data", "monitor_1/data", "control/data", "instrument_1/monitor/data")
OF_EACH_ENERGY: Final[Mapping[str, tuple[int, ...]]] = {
    **dict.fromkeys(TRANSLATIONS, (3,)),
    f"{DETECTOR}/distance": (1,),
    **{f"{DETECTOR}/{axis}_pixel_size": (1,) for axis in "xy"},
    f"{DETECTOR}/corner_position": (2,),
    **dict.fromkeys((*MASKS, NEXUS_MASK), (3, 4)),
    **dict.fromkeys(CENTRE_YX, (1,)),
    **dict.fromkeys((*AXES, *MONITORS), (2,)),
    f"{DETECTOR}/data_dark": (4,),
    ILLUMINATION: (3, 4),
}
"""Arrays that a stack may have one of for each energy, and their dimensions then."""
DARKS = (f"{DETECTOR}/data_dark", f"{DETECTOR}/darkfield")
FLATS = (f"{DETECTOR}/data_white", f"{DETECTOR}/flatfield", f"{DETECTOR}/qe_mask")

Energy = TypeVar("Energy", float, NDArray[np.float64])


def entries(file: h5py.File) -> list[str]:
    """Names of the file's CXI entries, in the order of their numbers."""
    found = [(int(match[1]), name) for name in child_names(file) if (match := ENTRY.fullmatch(name))]
    return [name for _, name in sorted(found) if isinstance(find_object(file, name), h5py.Group)]


def read_cxi(file: h5py.File) -> list[ScanSource]:
    """Read every entry's fields, leaving the frames in the file."""
    return [source for name in entries(file) for source in _read_energies(file[name], name)]


def _read_energies(entry: h5py.Group, label: str) -> list[ScanSource]:
    find = partial(find_node, entry)
    parts = split_energies(find, FRAMES, (*BEAM_ENERGIES, SOURCE_ENERGY), OF_EACH_ENERGY)
    labels = [label] if len(parts) == 1 else [f"{label} {number}" for number in range(1, len(parts) + 1)]
    sources = [_read_entry(entry, part, name) for part, name in zip(parts, labels, strict=True)]
    return told_of_probes(find, (ILLUMINATION,), sources)


def _read_entry(entry: h5py.Group, find: Callable[[str], Node | None], label: str) -> ScanSource:
    fields = Fields(find)
    mask, frame_masks = fields.masks(*MASKS, bad_bits=CXI_BAD_BITS)
    if mask is None and frame_masks is None:
        mask, frame_masks = fields.masks(NEXUS_MASK, bad_bits=NEXUS_BAD_BITS)
    frames, mask = corrected(fields, fields.frames(*FRAMES), mask, dark=DARKS, flat=FLATS)
    told_of_monitor(fields, *MONITORS)
    fields.warnings += _other_frames(entry)
    return ScanSource(
        label=label,
        frames=frames,
        positions_m=_positions_m(fields, frames),
        energy_ev=photon_energy(entry, fields, fields.energy_ev),
        distance_m=fields.length_m("distance_m", f"{DETECTOR}/distance", required=False) or _corner_distance_m(fields),
        detector_pixel_size_m=fields.pixel_size_m((f"{DETECTOR}/y_pixel_size",), (f"{DETECTOR}/x_pixel_size",))
        or _basis_pixel_size_m(fields),
        mask=mask,
        frame_masks=frame_masks,
        probe=fields.probe(ILLUMINATION),
        beam_centre=fields.beam_centre(*CENTRE_YX),
        saturation_count=fields.saturation_count(f"{DETECTOR}/saturation_value"),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def _other_frames(entry: h5py.Group) -> list[str]:
    """A warning that names the frames of further detectors, which are not read; none where they are those of `FRAMES`."""
    instrument = find_object(entry, "instrument_1")
    further = [f"{name}/data" for name in child_names(entry) if FURTHER_DATA.fullmatch(name)]
    if isinstance(instrument, h5py.Group):
        further += [f"instrument_1/{name}/data" for name in child_names(instrument) if FURTHER_DETECTOR.fullmatch(name)]
    read = next((path for path in FRAMES if find_node(entry, path) is not None), None)
    nodes = {path: find_node(entry, path) for path in further}
    others = [
        path
        for path, node in nodes.items()
        if node is not None and len(node.shape) in (3, 4) and not is_of_spectra(node.shape)
        if read is not None and find_object(entry, path) != find_object(entry, read)
    ]
    if not others:
        return []
    return [f"the frames are those of {read}; those of {', '.join(others)} are not read: leave in the file what is meant"]


def _positions_m(fields: Fields, frames: Node | None) -> NDArray[np.float64] | None:
    """(P, 2) positions (y, x) [m]: the translations, else the axes of Diamond's variant."""
    if fields.node("positions_m", *TRANSLATIONS, required=False) is None and all(fields.find(path) is not None for path in AXES):
        return positions_of_axes(fields, *AXES, frames)
    return fields.positions_m(*TRANSLATIONS)


def _corner_distance_m(fields: Fields) -> float | None:
    """The z of the detector's corner (x, y, z) [m]; None where the file states none."""
    corner = fields.quantities("distance_m", LENGTH, f"{DETECTOR}/corner_position", required=False)
    if corner is None or corner.size != 3:
        return None
    z = abs(float(corner.flat[2]))
    return z if 0 < z < np.inf else None


def _basis_pixel_size_m(fields: Fields) -> float | None:
    """Length of the steps [m] from pixel to pixel, the columns of the detector's basis (3, 2), which must be alike."""
    basis = fields.quantities("detector_pixel_size_m", LENGTH, f"{DETECTOR}/basis_vectors", required=False)
    if basis is None or basis.shape not in ((3, 2), (2, 3)) or not np.isfinite(basis).all():
        return None
    slow, fast = np.linalg.norm(basis, axis=basis.shape.index(3)).tolist()
    if not slow > 0 or abs(slow - fast) > 1e-3 * slow:
        fields.fault("detector_pixel_size_m", f"pixels must be square, the basis has steps of {slow:g} and {fast:g} m")
        return None
    return float(slow)


def photon_energy(entry: h5py.Group, fields: Fields, read: Callable[..., Energy | None]) -> Energy | None:
    """Read the photon energy of an entry: the beam's own, else what CXI has at ``source_1/energy`` [J].

    NeXus has the storage ring's energy there. A number in neither joules nor a stated unit, such as 2999 (MeV), is therefore
    not taken for photons in its files, and told of in others.

    Parameters
    ----------
    entry : h5py.Group
    fields : Fields
        Of the entry.
    read : callable
        ``fields.energy_ev`` or ``fields.energies_ev``.
    """
    energy = read(*BEAM_ENERGIES, SOURCE_ENERGY)
    if energy is None or fields.node("energy_ev", *BEAM_ENERGIES, required=False) is not None or fields.unit(SOURCE_ENERGY):
        return energy
    values = np.asarray(fields.values("energy_ev", SOURCE_ENERGY))
    bare = f"{np.median(values):g} at {SOURCE_ENERGY} has no unit"
    if np.median(values) < 1e-12:
        return energy
    if _is_nexus(entry):
        fields.fault(
            "energy_ev",
            f"{bare}, and NeXus means the storage ring there: is it in MeV? Give the photons' energy at {BEAM_ENERGIES[0]}, or "
            "state its unit",
        )
        return None
    fields.warnings.append(f"{bare}: taken for the photons' energy in eV; it must not be the storage ring's in MeV")
    return energy


def _is_nexus(entry: h5py.Group) -> bool:
    """Whether an entry follows NXcxi_ptycho, or its source is declared to be NeXus's."""
    source = find_object(entry, SOURCE)
    declared = source.attrs.get("NX_class", "") if isinstance(source, h5py.Group) else ""
    text = declared.decode("latin-1") if isinstance(declared, bytes) else str(declared)
    return text == "NXsource" or "NXcxi_ptycho" in find_text(entry, "definition")
