"""CXI 1.6 and NeXus NXcxi_ptycho files: one energy an entry, ``entry_1`` to ``entry_n``.

Sources: Maia, Nat. Methods 2012, 9, 854 (CXI); the NeXus definition NXcxi_ptycho. Positions are taken as they are, x
the column and y the row of the array, as other readers of the format do; ``orientation`` is for beamlines that differ.
"""

import re

import h5py

from storage.readers.containers.hdf5 import find_node, find_object
from storage.readers.fields import Fields
from storage.readers.record import ScanSource

ENTRY = re.compile(r"entry_(\d+)")


def entries(file: h5py.File) -> list[str]:
    """Names of the file's CXI entries, in the order of their numbers."""
    found = [(int(match[1]), name) for name in file if (match := ENTRY.fullmatch(name))]
    return [name for _, name in sorted(found) if isinstance(find_object(file, name), h5py.Group)]


def read_cxi(file: h5py.File) -> list[ScanSource]:
    """Read every entry's fields, leaving the frames in the file."""
    return [_read_entry(file[name], name) for name in entries(file)]


def _read_entry(entry: h5py.Group, label: str) -> ScanSource:
    fields = Fields(lambda path: find_node(entry, path))
    source, detector = "instrument_1/source_1", "instrument_1/detector_1"
    beam = "instrument_1/beam_1"
    # NeXus means the storage ring's energy by source_1/energy, so a beam that states its own goes first.
    energies = [f"{beam}/incident_beam_energy", f"{beam}/energy", f"{beam}/incident_energy", f"{source}/energy"]
    return ScanSource(
        label=label,
        frames=fields.frames("data_1/data", f"{detector}/data"),
        positions_m=fields.positions_m("data_1/translation", "sample_1/geometry_1/translation", f"{detector}/translation"),
        energy_ev=fields.energy_ev(*energies),
        distance_m=fields.length_m("distance_m", f"{detector}/distance", required=False),
        detector_pixel_size_m=fields.pixel_size_m((f"{detector}/y_pixel_size",), (f"{detector}/x_pixel_size",)),
        mask=fields.bad_pixel_mask(f"{detector}/mask", f"{detector}/pixel_mask"),
        probe=fields.probe(f"{source}/illumination"),
        beam_centre_px=_beam_centre(fields, detector),
        faults=tuple(fields.faults),
    )


def _beam_centre(fields: Fields, detector: str) -> tuple[float, float] | None:
    y = fields.number("beam_centre_px", f"{detector}/beam_center_y", required=False)
    x = fields.number("beam_centre_px", f"{detector}/beam_center_x", required=False)
    return None if y is None or x is None else (y, x)
