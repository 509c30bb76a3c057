"""Which format a file is in: found by what it holds, never by its name."""

import errno
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import h5py

from storage.errors import FieldError, HostileFileError, InvalidScanError, UnknownFormatError
from storage.readers.containers.archive import Archive, is_clutter, open_archive, starts_with, unpack
from storage.readers.containers.hdf5 import SIGNATURE, child_names, find_node, is_hdf5, names_of_others, open_hdf5
from storage.readers.containers.npy import npy_names
from storage.readers.containers.zarr_hierarchy import is_zarr, open_zarr_folder, open_zarr_zip
from storage.readers.measurements.csaxs import is_csaxs, read_csaxs
from storage.readers.measurements.cxi import entries, read_cxi
from storage.readers.measurements.diamond import is_diamond, is_diamond_scan, read_diamond
from storage.readers.measurements.eiger import is_master, read_master, read_masters
from storage.readers.measurements.hxn import is_hxn, read_hxn
from storage.readers.measurements.mask_file import masked
from storage.readers.measurements.nanomax import is_nanomax, read_nanomax
from storage.readers.measurements.plain import COUNTS, NAMES, find_in_hdf5, find_in_npz, read_plain_scans
from storage.readers.measurements.ptyd import is_ptyd, read_ptyd
from storage.readers.measurements.ptylab import is_ptylab, read_ptylab
from storage.readers.measurements.zarr_dataset import read_zarr_dataset
from storage.readers.record import DAMAGE, ScanSource
from storage.readers.units import quoted


@dataclass(frozen=True)
class Beside:
    """What lies beside an HDF5 file in the same ZIP or folder: audited HDF5 files by their names, and other files."""

    siblings: Mapping[str, h5py.File] = field(default_factory=dict)
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ScanReader:
    """One format of measurements in HDF5.

    Attributes
    ----------
    name : str
        For people.
    recognises : callable
        Whether a file is in the format.
    read : callable
        Returns one source an energy.
    is_linked : bool
        Whether files of the format may name others beside them by external links and virtual datasets.
    holds_frames : callable, optional
        Whether a file of a folder is a measurement by itself; by default one that is recognised.
    """

    name: str
    recognises: Callable[[h5py.File], bool]
    read: Callable[[h5py.File, Beside], list[ScanSource]]
    is_linked: bool = False
    holds_frames: Callable[[h5py.File], bool] | None = None

    def finds(self, file: h5py.File) -> bool:
        """Whether a file of a folder is a measurement of the format."""
        return (self.holds_frames or self.recognises)(file)


READERS: Final[tuple[ScanReader, ...]] = (
    ScanReader("CXI, NXcxi_ptycho (COSMIC, Diamond)", lambda file: bool(entries(file)), lambda file, _: read_cxi(file)),
    ScanReader(
        "Dectris EIGER master with its data files and the positions (ZIP; APS, and others)",
        is_master,
        lambda file, _: [read_master(file, "file", {})],
        holds_frames=lambda _: False,
    ),
    ScanReader("ptypy .ptyd", is_ptyd, lambda file, _: read_ptyd(file)),
    ScanReader("PtyLab HDF5", is_ptylab, lambda file, _: read_ptylab(file)),
    ScanReader("NSLS-II HXN", is_hxn, lambda file, _: read_hxn(file)),
    ScanReader(
        "MAX IV NanoMAX master with its detectors' files (ZIP)",
        is_nanomax,
        lambda file, beside: read_nanomax(file, beside.siblings),
        is_linked=True,
    ),
    ScanReader(
        "Diamond I13, and I08 with its STXM file and dark frames (ZIP)",
        is_diamond,
        lambda file, beside: read_diamond(file, beside.siblings),
        is_linked=True,
        holds_frames=is_diamond_scan,
    ),
    ScanReader("SLS cSAXS with the positions (ZIP)", is_csaxs, lambda file, beside: read_csaxs(file, [*beside.others])),
    ScanReader(
        "HDF5, NPZ or zipped Zarr with arrays named counts, positions_m and energy_ev",
        lambda file: bool(NAMES & set(child_names(file))),
        lambda file, beside: read_plain_scans(find_in_hdf5(file, beside.siblings), "file"),
        is_linked=True,
        holds_frames=lambda file: bool(set(COUNTS) & set(child_names(file))),
    ),
)
"""Formats of measurements, tried in this order."""
KNOWN: Final = "; ".join(reader.name for reader in READERS)

DESCRIPTORS: Final = Path("/dev/fd")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that are the disk's, not the file's."""


@contextmanager
def open_scan(path: Path) -> Iterator[list[ScanSource]]:
    """Open a file, or a folder of files that belong together; the frames can be read inside the ``with`` block.

    Raises
    ------
    UnknownFormatError
        None of the formats.
    HostileFileError
        A file that reaches outside itself or is a bomb.
    """
    with ExitStack() as stack:
        with damage_told():
            sources = _read(path, stack)
        yield sources


@contextmanager
def damage_told() -> Iterator[None]:
    """Raise what a library raises at a damaged file as UnknownFormatError; a full disk is the disk's fault, not the file's."""
    try:
        yield
    except InvalidScanError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise UnknownFormatError([FieldError("file", f"is damaged: {error}")]) from error


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
    """Read a folder: a Zarr hierarchy, EIGER masters with their data files, or self-contained HDF5 files."""
    if (path / "zarr.json").is_file():
        return read_zarr_dataset(stack.enter_context(open_zarr_folder(path)))
    files = [file for file in sorted(path.rglob("*")) if not is_clutter(file.relative_to(path).as_posix())]
    links = [FieldError(file.name, "is a symbolic link; files must be in the folder") for file in files if is_outside(file)]
    if links:
        raise HostileFileError(links)
    plain = [file for file in files if file.is_file()]
    opened = {file: stack.enter_context(open_hdf5(file, external=True)) for file in plain if is_hdf5(file)}
    if any(is_master(file) for file in opened.values()):
        return masked(read_masters(opened, [file for file in plain if file not in opened]), opened.values())
    parts = set().union(*(names_of_others(handle) for handle in opened.values()))
    measurements = [(file, reader) for file, handle in opened.items() if (reader := _reader_of_member(handle))]
    measurements = [one for one in measurements if one[0].name not in parts] or measurements
    if not measurements:
        names = [file.name for file in files][:10]
        raise UnknownFormatError([FieldError("file", f"holds no EIGER master and no other measurement: {names}")])
    siblings = {file.name: handle for file, handle in opened.items()}
    found = []
    for file, reader in measurements:
        handle = opened[file] if reader.is_linked else stack.enter_context(open_hdf5(file))
        beside = Beside(siblings, tuple(other for other in plain if other != file))
        sources = reader.read(handle, beside)
        found += [
            source if len(measurements) == 1 else replace(source, label=f"{file.name} {source.label}") for source in sources
        ]
    return masked(found, opened.values())


def is_outside(file: Path) -> bool:
    """Whether a file of a folder is a symbolic link to anything but a descriptor of this process, which was handed to it open."""
    return file.is_symlink() and file.readlink().parent != DESCRIPTORS


def needs_others(path: Path) -> bool:
    """Whether a file is part of a measurement that is in several: it refers to others, or its format has positions beside it.

    Raises
    ------
    InvalidScanError
        It is a damaged or hostile file.
    """
    if not is_hdf5(path):
        return False
    with open_hdf5(path, external=True) as file:
        has_positions = find_node(file, "positions_m") is not None or find_node(file, "entry/positions_m") is not None
        return bool(names_of_others(file)) or is_csaxs(file) or (is_master(file) and not has_positions)


def _reader_of_member(file: h5py.File) -> ScanReader | None:
    """The format of a file of a folder that is a measurement by itself."""
    return next((reader for reader in READERS if reader.finds(file)), None)


def _read_hdf5(file: h5py.File) -> list[ScanSource]:
    reader = next((reader for reader in READERS if reader.recognises(file)), None)
    if reader is not None:
        return reader.read(file, Beside())
    names = [quoted(name) for name in child_names(file)[:10]]
    raise UnknownFormatError([FieldError("file", f"is HDF5, but none of {KNOWN}: it holds {', '.join(names) or 'nothing'}")])


def _read_zip(path: Path, stack: ExitStack) -> list[ScanSource]:
    archive = stack.enter_context(open_archive(path))
    if is_zarr(list(archive.members)):
        if any("\\" in member.filename for member in archive.members.values()):
            return read_zarr_dataset(stack.enter_context(open_zarr_folder(unpacked(archive, path, stack))))
        return read_zarr_dataset(stack.enter_context(open_zarr_zip(path)))
    holds_hdf5 = any(starts_with(archive, name, SIGNATURE) for name in archive.members)
    if NAMES & set(npy_names(archive)) and not holds_hdf5:
        return read_plain_scans(find_in_npz(archive, stack), "file")
    if not holds_hdf5:
        names = list(archive.members)[:10]
        raise UnknownFormatError([FieldError("file", f"is a ZIP archive, but none of {KNOWN}: it holds {names}")])
    return _read_folder(unpacked(archive, path, stack), stack)


def unpacked(archive: Archive, path: Path, stack: ExitStack) -> Path:
    """Unpack into a folder that lasts as long as ``stack``; beside the archive there is room for what it holds."""
    beside = path.parent if os.access(path.parent, os.W_OK) and not path.is_symlink() else None
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=beside, prefix=".staging-")))
    unpack(archive, folder)
    return folder
