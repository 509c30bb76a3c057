"""Which format a file is in: found by what it holds, never by its name."""

import errno
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py

from storage.errors import FieldError, InvalidScanError, UnknownFormatError
from storage.readers.containers.archive import open_archive, unpack
from storage.readers.containers.hdf5 import is_hdf5, open_hdf5
from storage.readers.containers.zarr_hierarchy import is_zarr, open_zarr_folder, open_zarr_zip
from storage.readers.measurements.cxi import entries, read_cxi
from storage.readers.measurements.eiger import data_names, read_folder, read_master
from storage.readers.measurements.plain import NAMES, find_in_hdf5, find_in_npz, read_plain
from storage.readers.measurements.zarr_dataset import read_zarr_dataset
from storage.readers.record import DAMAGE, ScanSource

KNOWN = (
    "CXI, NXcxi_ptycho, HDF5 or NPZ with arrays named counts, positions_m and energy_ev, a zipped Zarr dataset, "
    "or a ZIP of an EIGER master, its data files and the positions"
)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that are the disk's, not the file's."""


@contextmanager
def open_scan(path: Path) -> Iterator[list[ScanSource]]:
    """Open a file, or a folder of files that belong together; the frames can be read while the block lasts.

    Raises
    ------
    UnknownFormatError
        None of the formats.
    HostileFileError
        A file that reaches outside itself or is a bomb.
    """
    with ExitStack() as stack:
        try:
            sources = _read(path, stack)
        except InvalidScanError:
            raise
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno in NO_ROOM:
                raise
            raise UnknownFormatError([FieldError("file", f"is damaged: {error}")]) from error
        yield sources


def _read(path: Path, stack: ExitStack) -> list[ScanSource]:
    if path.is_dir():
        return _read_folder(path, stack)
    if is_hdf5(path):
        return _read_hdf5(stack.enter_context(open_hdf5(path)))
    if zipfile.is_zipfile(path):
        return _read_zip(path, stack)
    with path.open("rb") as head:
        start = head.read(8)
    raise UnknownFormatError([FieldError("file", f"is none of {KNOWN}: it starts with {start!r}")])


def _read_folder(path: Path, stack: ExitStack) -> list[ScanSource]:
    if (path / "zarr.json").is_file():
        return read_zarr_dataset(stack.enter_context(open_zarr_folder(path)))
    return read_folder(path, stack)


def _read_hdf5(file: h5py.File) -> list[ScanSource]:
    if entries(file):
        return read_cxi(file)
    if data_names(file):
        return [read_master(file, "file", {})]
    if NAMES & set(file):
        return [read_plain(find_in_hdf5(file), "file")]
    raise UnknownFormatError([FieldError("file", f"is HDF5, but none of {KNOWN}: it holds {sorted(file)[:10]}")])


def _read_zip(path: Path, stack: ExitStack) -> list[ScanSource]:
    archive = stack.enter_context(open_archive(path))
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if is_zarr(names):
        return read_zarr_dataset(stack.enter_context(open_zarr_zip(path)))
    if NAMES & {name.removesuffix(".npy") for name in names}:
        return [read_plain(find_in_npz(archive, stack), "file")]
    if not any(_starts_like_hdf5(archive, name) for name in names):
        raise UnknownFormatError([FieldError("file", f"is a ZIP archive, but none of {KNOWN}: it holds {names[:10]}")])
    # HDF5 cannot be read inside an archive; beside it there is room, for that is where the upload went.
    folder = Path(
        stack.enter_context(
            tempfile.TemporaryDirectory(dir=path.parent if os.access(path.parent, os.W_OK) else None, prefix=".staging-")
        )
    )
    unpack(archive, folder)
    return read_folder(folder, stack)


def _starts_like_hdf5(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as file:
        return file.read(4) == b"\x89HDF"
