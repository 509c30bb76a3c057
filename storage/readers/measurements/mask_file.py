"""A detector mask in a file of its own, beside the measurements of a folder.

An HDF5 file with an array at its root, (ny, nx) as the frames: ``mask``, 1 where a pixel is good, as NanoMAX, I13 and cSAXS
keep it, or ``bad_pixels``, 0 where it is good. MATLAB 7.3 stores its arrays transposed, and says so by an attribute.

Sources: ptypy's loaders NanomaxContrast, I13_ffp and cSAXS, option ``mask_file`` (github.com/ptycho/ptypy).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError
from storage.readers.containers.hdf5 import child_names, find_node
from storage.readers.fields import Fields
from storage.readers.matlab import is_of_matlab
from storage.readers.measurements.plain import COUNTS
from storage.readers.record import ScanSource

GOOD: Final = "mask"
BAD: Final = "bad_pixels"


def holds_mask(file: h5py.File) -> bool:
    """Whether a file holds a mask and no frames."""
    names = set(child_names(file))
    nodes = [find_node(file, name) for name in (GOOD, BAD)]
    return not names & set(COUNTS) and any(node is not None and len(node.shape) == 2 for node in nodes)


def masked(sources: Sequence[ScanSource], files: Iterable[h5py.File]) -> list[ScanSource]:
    """Sources whose pixels are also bad where the one mask among ``files`` says so; faults where it cannot be theirs."""
    found = [file for file in files if holds_mask(file)]
    if not found:
        return list(sources)
    if len(found) > 1:
        fault = FieldError("mask", f"is in {len(found)} files beside the frames: send the one that is meant")
        return [replace(source, faults=(*source.faults, fault)) for source in sources]
    fields = Fields(lambda path: find_node(found[0], path))
    good = _read(fields)
    return [_masked(source, good, tuple(fields.faults)) for source in sources]


def _read(fields: Fields) -> NDArray[np.bool_] | None:
    """(ny, nx) bool, true where good."""
    name = GOOD if fields.find(GOOD) is not None else BAD
    values, node = fields.values("mask", name), fields.find(name)
    if values is None:
        return None
    if values.ndim != 2 or values.dtype.kind not in "biuf":
        fields.fault("mask", f"must be (ny, nx) numbers, got {values.shape} of {values.dtype}")
        return None
    good = values == 0 if name == BAD else values > 0
    return np.asarray(good.T if is_of_matlab(node) else good)


def _masked(source: ScanSource, good: NDArray[np.bool_] | None, faults: tuple[FieldError, ...]) -> ScanSource:
    frame = None if source.frames is None else tuple(source.frames.shape[1:])
    if good is not None and frame is not None and good.shape != frame:
        faults = (FieldError("mask", f"the mask beside the frames is {good.shape}, and they are {frame}"),)
    if good is None or faults:
        return replace(source, faults=(*source.faults, *faults))
    own = source.mask
    return replace(source, mask=good if own is None or own.shape != good.shape else own & good)
