"""Which format a file of images is in: found by what it holds, never by its name."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import h5py

from storage.errors import FieldError, UnknownFormatError
from storage.readers.containers.archive import Archive, open_archive, starts_with
from storage.readers.containers.hdf5 import SIGNATURE, child_names, is_hdf5, open_hdf5
from storage.readers.containers.npy import npy_names
from storage.readers.containers.zarr_hierarchy import ZarrHierarchy, is_zarr, open_zarr_zip
from storage.readers.format import damage_told, unpacked
from storage.readers.images import ImageSource
from storage.readers.measurements.plain import find_in_hdf5, find_in_npz
from storage.readers.reconstructions import cdtools, cxi, nxstxm, plain, ptychodus, ptychoshelves, ptypy, stxm, tiff, xanespy

ENTRY_POINTS: Final = "ptyxas.readers"
"""Group under which an installed package may name an `ImageReader` of its own."""


@dataclass(frozen=True)
class OpenedFile:
    """A file from outside, opened and audited; only one of the containers is not None.

    Attributes
    ----------
    path : Path
    hdf5 : h5py.File
    archive : Archive
        A ZIP archive, an NPZ among them.
    zarr : ZarrHierarchy
    stack : ExitStack
        What a reader opens is entered here, and stays open as long as the images are read.
    """

    path: Path
    stack: ExitStack
    hdf5: h5py.File | None = None
    archive: Archive | None = None
    zarr: ZarrHierarchy | None = None


@dataclass(frozen=True)
class ImageReader:
    """One format: ``recognises`` says whether a file is in it, and ``read`` returns a source an energy.

    Both take an `OpenedFile`. ``read`` collects every fault that it finds in the sources; whatever else it raises is
    reported as damage of the file.
    """

    name: str
    recognises: Callable[[OpenedFile], bool]
    read: Callable[[OpenedFile], list[ImageSource]]


def of_hdf5(name: str, recognises: Callable[[h5py.File], bool], read: Callable[[h5py.File], list[ImageSource]]) -> ImageReader:
    """A format that is HDF5."""

    def recognises_file(opened: OpenedFile) -> bool:
        return opened.hdf5 is not None and recognises(opened.hdf5)

    def read_file(opened: OpenedFile) -> list[ImageSource]:
        assert opened.hdf5 is not None
        return read(opened.hdf5)

    return ImageReader(name, recognises_file, read_file)


def of_archive(name: str, recognises: Callable[[Archive], bool], read: Callable[[Archive], list[ImageSource]]) -> ImageReader:
    """A format that is a ZIP archive."""

    def recognises_file(opened: OpenedFile) -> bool:
        return opened.archive is not None and recognises(opened.archive)

    def read_file(opened: OpenedFile) -> list[ImageSource]:
        assert opened.archive is not None
        return read(opened.archive)

    return ImageReader(name, recognises_file, read_file)


def _recognise_plain(opened: OpenedFile) -> bool:
    if opened.hdf5 is not None:
        return bool(plain.NAMES.keys() & set(child_names(opened.hdf5)))
    if opened.zarr is not None:
        return any(path.rpartition("/")[2] in plain.NAMES for path in opened.zarr.arrays)
    return opened.archive is not None and bool(plain.NAMES.keys() & npy_names(opened.archive).keys())


def _read_plain(opened: OpenedFile) -> list[ImageSource]:
    if opened.hdf5 is not None:
        return plain.read_plain_images(find_in_hdf5(opened.hdf5))
    if opened.zarr is not None:
        groups = {path.rpartition("/")[0] for path in opened.zarr.arrays if path.rpartition("/")[2] in plain.NAMES}
        return [
            source for group in sorted(groups) for source in plain.read_plain_images(opened.zarr.finder(group), group or "file")
        ]
    assert opened.archive is not None
    return plain.read_plain_images(find_in_npz(opened.archive, opened.stack))


def _is_npz_product(opened: OpenedFile) -> bool:
    return opened.archive is not None and npy_names(opened.archive).keys() >= ptychodus.MARKS


def _read_npz_product(opened: OpenedFile) -> list[ImageSource]:
    assert opened.archive is not None
    return ptychodus.read_fields(find_in_npz(opened.archive, opened.stack))


READERS: Final[tuple[ImageReader, ...]] = (
    of_archive("STXM stack (a ZIP of one .hdr and its .xim)", stxm.is_stxm, stxm.read_stxm),
    of_hdf5("NeXus NXstxm", nxstxm.is_nxstxm, nxstxm.read_nxstxm),
    of_hdf5("ptypy .ptyr", ptypy.is_ptypy, ptypy.read_ptypy),
    of_hdf5("CXI with image_n, or PyNX's result_n", cxi.has_images, cxi.read_cxi_images),
    of_hdf5("ptychodus product (HDF5)", ptychodus.is_product, ptychodus.read_product),
    ImageReader("ptychodus product (NPZ)", _is_npz_product, _read_npz_product),
    of_hdf5("PtychoShelves, or fold_slice .mat 7.3", ptychoshelves.is_ptychoshelves, ptychoshelves.read_ptychoshelves),
    of_hdf5("cdtools results", cdtools.is_cdtools, cdtools.read_cdtools),
    of_hdf5("xanespy frameset", xanespy.is_xanespy, xanespy.read_xanespy),
    of_archive("TIFF stack (a ZIP of TIFF images and the energies as text)", tiff.is_tiff_stack, tiff.read_tiff_stack),
    ImageReader("HDF5, NPZ or zipped Zarr with an array named " + ", ".join(plain.NAMES), _recognise_plain, _read_plain),
)
"""Formats, tried in this order after those of installed packages."""


def known_readers() -> Sequence[ImageReader]:
    """All formats: those of installed packages first, so that they can replace one of ours."""
    found = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return [*found, *READERS]


@contextmanager
def open_images(path: Path) -> Iterator[list[ImageSource]]:
    """Open a file of images; they can be read inside the ``with`` block.

    Raises
    ------
    UnknownFormatError
        None of the formats.
    HostileFileError
        A file that reaches outside itself or is a bomb.
    """
    with ExitStack() as stack:
        with damage_told():
            readers = known_readers()
            sources = _read(_open(path, stack), readers) or _read_members(path, readers, stack)
            if not sources:
                known = "; ".join(one.name for one in readers)
                raise UnknownFormatError([FieldError("file", f"holds no images that are known: {known}; or a ZIP of HDF5 files")])
        yield sources


def _read(opened: OpenedFile, readers: Sequence[ImageReader]) -> list[ImageSource]:
    """The images of one file; none where no reader knows it."""
    reader = next((reader for reader in readers if reader.recognises(opened)), None)
    return [] if reader is None else reader.read(opened)


def _read_members(path: Path, readers: Sequence[ImageReader], stack: ExitStack) -> list[ImageSource]:
    """The images of all HDF5 files of a ZIP archive that a reader knows, such as one product an energy."""
    archive = stack.enter_context(open_archive(path)) if zipfile.is_zipfile(path) else None
    if archive is None or not any(starts_with(archive, name, SIGNATURE) for name in archive.members):
        return []
    folder = unpacked(archive, path, stack)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and is_hdf5(file)]
    return [
        replace(source, label=f"{file.name} {source.label}")
        for file in files
        for source in _read(OpenedFile(file, stack, hdf5=stack.enter_context(open_hdf5(file))), readers)
    ]


def _open(path: Path, stack: ExitStack) -> OpenedFile:
    if is_hdf5(path):
        return OpenedFile(path, stack, hdf5=stack.enter_context(open_hdf5(path)))
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(open_archive(path))
        if is_zarr(list(archive.members)):
            return OpenedFile(path, stack, zarr=stack.enter_context(open_zarr_zip(path)))
        return OpenedFile(path, stack, archive=archive)
    return OpenedFile(path, stack)
