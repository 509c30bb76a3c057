"""The absorption of a dataset as a transmission stack in NeXus NXstxm, which MANTiS opens.

Source: the NeXus definition NXstxm (manual.nexusformat.org, application definitions). The data are I / I0, and the control's I0
is 1, so that -ln(I / I0) is the optical density.
"""

from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np

from storage.exports.source import Source
from storage.layout import dataset_group


def write_nxstxm(source: Source, path: Path) -> None:
    """Write the stack (E, Y, X) of one dataset; pixels that were not seen are empty, I / I0 = 1.

    Raises
    ------
    ExportError
        Several datasets.
    """
    dataset = source.only_dataset("NXstxm")
    group = dataset_group(dataset, "spectra")
    energy_ev = source.read(group, "energy")
    shape = source.store.array(group, "absorption").shape
    with h5py.File(path, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry1"})
        entry = _group(file, "entry1", "NXentry")
        entry.attrs["default"] = "Counter1"
        entry["definition"], entry["title"] = "NXstxm", source.store.attributes(group)["title"]
        entry["start_time"] = entry["end_time"] = datetime.now(UTC).isoformat(timespec="seconds")
        data = _group(entry, "Counter1", "NXdata")
        stack = data.create_dataset("data", shape, np.float32)
        for place, absorption in source.blocks(group, "absorption"):
            stack[place] = np.exp(-2 * np.where(np.isfinite(absorption), absorption, 0))
        data["energy"] = energy_ev
        data["energy"].attrs["units"] = "eV"
        for axis in "yx":
            data[f"sample_{axis}"] = source.read(group, axis)
            data[f"sample_{axis}"].attrs["units"] = "m"
        data["stxm_scan_type"] = "sample image stack"
        data.attrs.update({"signal": "data", "axes": ["energy", "sample_y", "sample_x"]})
        data.attrs.update({f"{name}_indices": axis for axis, name in enumerate(("energy", "sample_y", "sample_x"))})
        _group(entry, "control", "NXmonitor")["data"] = np.ones(len(energy_ev), np.float32)
        _write_instrument(entry, data)


def _write_instrument(entry: h5py.Group, data: h5py.Group) -> None:
    """Groups that the definition requires, linked to the data."""
    instrument = _group(entry, "instrument", "NXinstrument")
    light = _group(instrument, "source", "NXsource")
    light["type"], light["name"], light["probe"] = "Synchrotron X-ray Source", "unknown", "x-ray"
    for name, kind, field in (
        ("monochromator", "NXmonochromator", "energy"),
        ("detector", "NXdetector", "data"),
        ("sample_y", "NXdetector", "data"),
        ("sample_x", "NXdetector", "data"),
    ):
        _group(instrument, name, kind)[field] = data[name if name.startswith("sample") else field]
    _group(entry, "sample", "NXsample")["rotation_angle"] = 0.0


def _group(parent: h5py.Group, name: str, kind: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = kind
    return group
