"""Which format a file is in: found by what it holds, never by its name."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from storage.errors import Fault, UnknownFormatError
from storage.readers.archive import open_archive
from storage.readers.cxi import entries, read_cxi
from storage.readers.hdf5 import is_hdf5, open_hdf5
from storage.readers.plain import NAMES, find_in_hdf5, find_in_npz, read_plain
from storage.readers.record import ScanSource

KNOWN = "a CXI or NXcxi_ptycho file, or HDF5 or NPZ with arrays named counts, positions_m and energy_ev"


@contextmanager
def open_scan(path: Path) -> Iterator[list[ScanSource]]:
    """Open a file of any known format; its scans' frames can be read while the block lasts.

    Raises
    ------
    UnknownFormatError
        None of the formats.
    HostileFileError
        A file that reaches outside itself or is a bomb.
    """
    if is_hdf5(path):
        with open_hdf5(path) as file:
            yield _read_hdf5(file)
    elif zipfile.is_zipfile(path):
        with open_archive(path) as archive:
            yield _read_archive(archive)
    else:
        with path.open("rb") as head:
            start = head.read(8)
        raise UnknownFormatError([Fault("file", f"is not {KNOWN}: it starts with {start!r}")])


def _read_hdf5(file: h5py.File) -> list[ScanSource]:
    if entries(file):
        return read_cxi(file)
    if NAMES & set(file):
        return [read_plain(find_in_hdf5(file), "file")]
    raise UnknownFormatError([Fault("file", f"is HDF5, but not {KNOWN}: it holds {sorted(file)[:10]}")])


def _read_archive(archive: zipfile.ZipFile) -> list[ScanSource]:
    names = archive.namelist()
    if NAMES & {name.removesuffix(".npy") for name in names}:
        return [read_plain(find_in_npz(archive), "file")]
    raise UnknownFormatError([Fault("file", f"is a ZIP archive, but not {KNOWN}: it holds {sorted(names)[:10]}")])
