"""THE table of what results are exported as."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from storage.exports.cxi import write_cxi_images
from storage.exports.netcdf import write_netcdf
from storage.exports.nexus import write_nexus
from storage.exports.nxstxm import write_nxstxm
from storage.exports.ptychodus import write_ptychodus
from storage.exports.ptypy import write_ptypy
from storage.exports.source import Source
from storage.exports.tables import write_csv
from storage.exports.tiff import write_tiff
from storage.exports.xdi import write_xdi


@dataclass(frozen=True)
class ExportFormat:
    """One format.

    Attributes
    ----------
    suffix, media_type : str
        Of the file.
    title : str
        What the file holds, for people.
    write : callable
        Writes results to a path in a folder of its own. It raises ExportError where they do not fit into the format.
    has_spectra : bool
        Whether it writes the mean spectra of a `Source`.
    """

    suffix: str
    media_type: str
    title: str
    write: Callable[[Source, Path], None]
    has_spectra: bool = False


HDF5: Final = "application/x-hdf5"
ZIP: Final = "application/zip"

FORMATS: Final[Mapping[str, ExportFormat]] = {
    "nexus": ExportFormat(".nxs", HDF5, "NeXus (HDF5): everything", write_nexus),
    "netcdf": ExportFormat(".nc", "application/x-netcdf", "netCDF-4: everything", write_netcdf),
    "tiff": ExportFormat(".zip", ZIP, "TIFF (ZIP): maps and image stacks", write_tiff),
    "csv": ExportFormat(".zip", ZIP, "CSV (ZIP): domains, fractions, spectra", write_csv, has_spectra=True),
    "xdi": ExportFormat(".zip", ZIP, "XDI (ZIP): spectra of specimens and domains", write_xdi, has_spectra=True),
    "cxi": ExportFormat(".cxi", HDF5, "CXI: objects and probes of one dataset", write_cxi_images),
    "ptychodus": ExportFormat(".zip", ZIP, "ptychodus (ZIP): products of one dataset, one an energy", write_ptychodus),
    "ptyr": ExportFormat(".ptyr", HDF5, "ptypy: objects and probes of one dataset", write_ptypy),
    "nxstxm": ExportFormat(".nxs", HDF5, "NXstxm: absorption stack of one dataset", write_nxstxm),
}
"""Name of a format -> how it is written."""
