"""Results as netCDF-4: the groups, dimensions, coordinates and units of the results store.

A netCDF-4 file is HDF5 with dimension scales whose objects remember the order in which they were made (Unidata, NetCDF file
format specifications, "NetCDF-4 Format").
"""

from pathlib import Path

import h5py

from storage.exports.hdf5 import attribute, copy_group, without_compounds
from storage.exports.source import Source


def write_netcdf(source: Source, path: Path) -> None:
    """Write all groups; a complex array is two, ``<name>_real`` and ``<name>_imag``, and truth values are 0 and 1."""
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs.update({name: attribute(value) for name, value in source.store.attributes("").items()})
        for name in source.groups():
            above, _, own = name.rpartition("/")
            parent = file[above] if above in file else file.create_group(above, track_order=True) if above else file
            copy_group(source, name, parent.create_group(own, track_order=True), without_compounds)
