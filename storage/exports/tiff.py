"""Maps and image stacks as TIFF in a ZIP archive: one file an array, float32, or uint8 for labels and masks.

Pixel size: ``XResolution`` and ``YResolution`` in pixels a centimetre, ``ResolutionUnit`` centimetre; the description that ImageJ
reads names the same unit, the number of images and a label of each, such as its energy.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from storage.exports.archive import new_archive
from storage.exports.source import Source

CM_PER_M: Final = 100.0
LARGEST: Final = 2**32 - 1
"""Of a numerator or denominator."""


def write_tiff(source: Source, path: Path) -> None:
    """Write every real array over y and x."""
    with new_archive(path) as archive:
        for group, name in source.images():
            with archive.member(f"{group}/{name}.tif") as file:
                _write_array(source, group, name, file)


def _write_array(source: Source, group: str, name: str, path: Path) -> None:
    array = source.store.array(group, name)
    dtype = np.dtype(np.uint8 if np.dtype(array.dtype).kind in "bi" else np.float32)
    per_cm = 1 / (source.pixel_size_m(group.partition("/")[0]) * CM_PER_M)
    metadata: dict[str, Any] = {"unit": "cm", "axes": "YX"}
    if len(array.shape) == 3:
        metadata = {"unit": "cm", "axes": "ZYX", "Labels": _labels(source, group, name), "spacing": 1.0}
    with tifffile.TiffWriter(path, imagej=True) as file:
        file.write(
            (page.astype(dtype) for page in source.pages(group, name)),
            shape=array.shape,
            dtype=dtype,
            resolution=(as_rational(per_cm), as_rational(per_cm)),
            resolutionunit="CENTIMETER",
            metadata=metadata,
            contiguous=True,
        )


def as_rational(value: float) -> tuple[int, int]:
    """Numerator and denominator of a positive number in TIFF's 32 bits, as near as they come: tifffile looks for small ones."""
    denominator = max(min(int(LARGEST / value), LARGEST), 1)
    return round(value * denominator), denominator


def _labels(source: Source, group: str, name: str) -> list[str]:
    """What each image of a stack is: the value of its coordinate, with the unit."""
    along = source.store.dims(group, name)[0]
    values, attributes = source.store.read(group, along)
    unit = "" if attributes["units"] == "1" else f" {attributes['units']}"
    return [f"{along} {value}{unit}" for value in values.tolist()]
