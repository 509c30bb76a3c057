"""A dataset of ptyxas, or one scan of it, as a Zarr v3 hierarchy."""

from storage.errors import FieldError, UnknownFormatError
from storage.readers.containers.zarr_hierarchy import ZarrHierarchy
from storage.readers.measurements.plain import read_plain
from storage.readers.record import ScanSource


def read_zarr_dataset(hierarchy: ZarrHierarchy) -> list[ScanSource]:
    """Read the fields of every group that holds an array named ``counts``, leaving the frames in the file.

    Raises
    ------
    UnknownFormatError
        No array is named ``counts``.
    """
    arrays = hierarchy.arrays
    groups = [path.rpartition("/")[0] for path in arrays if path.rpartition("/")[2] == "counts"]
    if not groups:
        raise UnknownFormatError([FieldError("file", f"is Zarr without an array named counts: it holds {arrays[:10]}")])
    return [read_plain(hierarchy.finder(group), group or "file") for group in sorted(groups)]
