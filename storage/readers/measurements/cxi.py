"""CXI 1.6 and NeXus NXcxi_ptycho files: one energy an entry, ``entry_1`` to ``entry_n``.

Sources: Maia, Nat. Methods 2012, 9, 854 (CXI); the NeXus definition NXcxi_ptycho. Positions are taken as they are, x
the column and y the row of the array, as other readers of the format do; ``orientation`` is for beamlines that differ.
"""

import re

import h5py
import numpy as np

from storage.readers.containers.hdf5 import child_names, find_node, find_object, find_text
from storage.readers.fields import Fields
from storage.readers.masks import CXI_BAD_BITS, NEXUS_BAD_BITS
from storage.readers.record import ScanSource

ENTRY = re.compile(r"entry_(\d+)")
SOURCE, DETECTOR, BEAM = "instrument_1/source_1", "instrument_1/detector_1", "instrument_1/beam_1"


def entries(file: h5py.File) -> list[str]:
    """Names of the file's CXI entries, in the order of their numbers."""
    found = [(int(match[1]), name) for name in child_names(file) if (match := ENTRY.fullmatch(name))]
    return [name for _, name in sorted(found) if isinstance(find_object(file, name), h5py.Group)]


def read_cxi(file: h5py.File) -> list[ScanSource]:
    """Read every entry's fields, leaving the frames in the file."""
    return [_read_entry(file[name], name) for name in entries(file)]


def _read_entry(entry: h5py.Group, label: str) -> ScanSource:
    fields = Fields(lambda path: find_node(entry, path))
    mask, frame_masks = fields.masks(f"{DETECTOR}/mask", "data_1/mask", bad_bits=CXI_BAD_BITS)
    if mask is None and frame_masks is None:
        mask, frame_masks = fields.masks(f"{DETECTOR}/pixel_mask", bad_bits=NEXUS_BAD_BITS)
    return ScanSource(
        label=label,
        frames=fields.frames("data_1/data", f"{DETECTOR}/data"),
        positions_m=fields.positions_m("data_1/translation", "sample_1/geometry_1/translation", f"{DETECTOR}/translation"),
        energy_ev=_energy_ev(fields, is_nexus="NXcxi_ptycho" in find_text(entry, "definition")),
        distance_m=fields.length_m("distance_m", f"{DETECTOR}/distance", required=False),
        detector_pixel_size_m=fields.pixel_size_m((f"{DETECTOR}/y_pixel_size",), (f"{DETECTOR}/x_pixel_size",)),
        mask=mask,
        frame_masks=frame_masks,
        probe=fields.probe(f"{SOURCE}/illumination"),
        beam_centre=fields.beam_centre(f"{DETECTOR}/beam_center_y", f"{DETECTOR}/beam_center_x"),
        saturation_count=fields.saturation_count(f"{DETECTOR}/saturation_value"),
        faults=tuple(fields.faults),
        warnings=tuple(fields.warnings),
    )


def _energy_ev(fields: Fields, is_nexus: bool) -> float | None:
    """Read the photon energy: the beam's own, else what CXI has at ``source_1/energy`` [J].

    NeXus has the storage ring's energy there, so in its files a number without a unit that is not in joules, such as 2999
    (MeV), is not taken for photons.
    """
    source = f"{SOURCE}/energy"
    paths = [f"{BEAM}/incident_beam_energy", f"{BEAM}/energy", f"{BEAM}/incident_energy", source]
    energy = fields.energy_ev(*paths)
    stated = fields.node("energy_ev", *paths[:3], required=False) is not None or bool(fields.unit(source))
    if energy is None or stated or not is_nexus or fields.values("energy_ev", source, required=False) is None:
        return energy
    if float(np.median(np.asarray(fields.values("energy_ev", source)))) < 1e-12:
        return energy
    fields.fault(
        "energy_ev",
        f"{energy:g} at {source} has no unit, and NXcxi_ptycho means the storage ring there: is it in MeV? Give the photons' "
        f"energy at {paths[0]}, or state its unit",
    )
    return None
