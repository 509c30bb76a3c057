"""Results as NeXus: one NXentry a dataset and one, ``run``, for what datasets share; every group of arrays is an NXdata.

The attributes ``default``, ``signal``, ``axes`` and ``auxiliary_signals`` say what a viewer shows first (NeXus manual,
"Associating plottable data using attributes applied to the NXdata group").
"""

from pathlib import Path
from typing import Final

import h5py

from storage.exports.hdf5 import as_they_are, attribute, copy_group
from storage.exports.source import Source

SHARED: Final = "run"
FIRST_SHOWN: Final = (
    "edge_energy", "edge_energy_half", "absorption", "label", "mean_absorption", "eigenspectrum", "score", "fraction", "error",
    "inertia",
)  # fmt: skip
"""The first of these that a group holds is its signal."""
DEFAULT_GROUPS: Final = ("maps", "spectra", "domains")
"""The first of these that an entry holds is shown first."""


def write_nexus(source: Source, path: Path) -> None:
    """Write all groups."""
    about = source.store.attributes("")
    titles = {one["id"]: one["title"] for one in about.get("datasets", ()) if isinstance(one, dict)}
    with h5py.File(path, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "default": source.datasets[0], "creator": "ptyxas"})
        for name in source.groups():
            dataset, _, own = name.rpartition("/")
            entry = _entry(file, dataset or SHARED, titles.get(dataset, source.run_id))
            group = entry.create_group(own)
            copy_group(source, name, group, as_they_are)
            _mark_data(source, name, group)
        for entry in file.values():
            entry.attrs["default"] = next((name for name in DEFAULT_GROUPS if name in entry), next(iter(entry)))
        parameters = _entry(file, SHARED, source.run_id).create_group("parameters")
        parameters.attrs["NX_class"] = "NXcollection"
        parameters.attrs.update({name: attribute(value) for name, value in about.items()})


def _entry(file: h5py.File, name: str, title: str) -> h5py.Group:
    if name not in file:
        entry = file.create_group(name)
        entry.attrs["NX_class"] = "NXentry"
        entry["title"], entry["program_name"] = title, "ptyxas"
    return file[name]


def _mark_data(source: Source, name: str, group: h5py.Group) -> None:
    """Make a group an NXdata whose signals are the arrays that have the dimensions of the first shown."""
    names = source.variables(name)
    first = next((one for one in FIRST_SHOWN if one in names), names[0])
    dims = source.store.dims(name, first)
    others = [one for one in names if one != first and source.store.dims(name, one) == dims]
    group.attrs.update({"NX_class": "NXdata", "signal": first, "axes": list(dims)})
    if others:
        group.attrs["auxiliary_signals"] = others
