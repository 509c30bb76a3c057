"""What is known of a stored scan without reading its counts, and how scans and datasets are named."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.atomic import size_of, write_file
from storage.errors import DatasetDamagedError, InvalidNameError
from storage.location import Location, ObjectPath, zarr_store
from storage.manifest import digest_of_file

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
"""Names that are safe as file names and in addresses."""

DESCRIPTIONS = ("zarr.json", "counts/zarr.json")
"""Files of a scan from which its `ScanInfo` is read."""
IMAGE_DESCRIPTIONS = ("zarr.json", "seen/zarr.json")
"""The same of an image."""

Corners: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""Least and greatest (y, x) of the scan positions [m]: all that planning an object array needs to know of them."""


@dataclass(frozen=True)
class ImageInfo:
    """What is known of a stored image without reading it.

    ``shape`` is (Y, X), ``origin_m`` the centre of its first pixel (y, x); ``has_phase`` tells an object from an absorption,
    ``is_normalised`` whether I0 is taken out of it.
    """

    shape: tuple[int, int]
    pixel_size_m: float
    origin_m: tuple[float, float]
    has_phase: bool
    is_normalised: bool

    @property
    def corners_m(self) -> Corners:
        """Centres of the first and the last pixel (y, x) [m]."""
        last = tuple(start + (n - 1) * self.pixel_size_m for start, n in zip(self.origin_m, self.shape, strict=True))
        return self.origin_m, (last[0], last[1])

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return {**asdict(self), "shape": list(self.shape), "origin_m": list(self.origin_m)}


def image_info(stored: Mapping[str, Any]) -> ImageInfo:
    """An `ImageInfo` from the fields that JSON holds.

    Raises
    ------
    KeyError, TypeError, ValueError
        They are not those of an image.
    """
    (n_y, n_x), (y, x) = stored["shape"], stored["origin_m"]
    flags = {name: bool(stored[name]) for name in ("has_phase", "is_normalised")}
    return ImageInfo((int(n_y), int(n_x)), float(stored["pixel_size_m"]), (float(y), float(x)), **flags)


@dataclass(frozen=True)
class ScanInfo:
    """What is known of a stored scan without reading its counts.

    ``sha256`` is that of the file it came from, ``upload`` the name that file was given,
    ``n_entries`` the number of scans it brought, ``digest`` that of what is
    stored, ``n_bytes`` what it takes on disk, ``warnings`` what was decided about it when it was read. Of an image, which has
    no detector and no positions, ``image`` holds what there is to know, and distance, detector pixel and numbers are 0.
    """

    name: str
    upload: str
    energy_ev: float
    distance_m: float
    detector_pixel_size_m: float
    n_positions: int
    n_pixels: int
    n_bytes: int
    sha256: str
    n_entries: int
    digest: str
    corners_m: Corners
    warnings: tuple[str, ...] = ()
    image: ImageInfo | None = None


def check_name(name: str) -> str:
    """Return ``name`` if it is safe as a file name.

    Raises
    ------
    InvalidNameError
    """
    if not NAME.fullmatch(name) or name == "zarr.json":
        raise InvalidNameError(f"a name is 1 to 128 letters, digits and ._+- and starts with a letter or digit: {name!r}")
    return name


def digest_of_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files, as hexadecimal digits."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path)}\0{digest_of_path(file)}\n".encode())
        return digest.hexdigest()
    return digest_of_file(path).sha256


def attributes_of(path: Location) -> dict[str, Any]:
    """Attributes of the Zarr group at ``path``.

    Raises
    ------
    DatasetDamagedError
        Its description is missing or cannot be read.
    """
    attributes: dict[str, Any] = described(path / "zarr.json", "attributes")["attributes"]
    return attributes


def write_attributes(path: Location, attributes: Mapping[str, Any]) -> None:
    """Replace the attributes of the Zarr group at ``path``, whole."""
    content = described(path / "zarr.json", "attributes")
    write_file(path / "zarr.json", json.dumps({**content, "attributes": dict(attributes)}, indent=2).encode())


def described(file: Location, field: str) -> dict[str, Any]:
    """What a ``zarr.json`` says, which must be an object with the given ``field``.

    Raises
    ------
    DatasetDamagedError
        The file is missing or cannot be read.
    """
    where = "/".join(file.parts[-3:])
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise DatasetDamagedError(f"{where} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetDamagedError(f"{where} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get(field), dict | list):
        raise DatasetDamagedError(f"{where} is not the description it was: it has no {field}")
    return content


def info_of(path: Location) -> ScanInfo:
    """What is known of the scan stored at ``path``.

    Raises
    ------
    DatasetDamagedError
        A description is missing or cannot be read.
    """
    attributes = attributes_of(path)
    if "image" in attributes:
        return _info_of_image(path, attributes)
    shape = described(path / "counts" / "zarr.json", "shape")["shape"]
    try:
        corners = attributes.get("corners_m")
        if not corners:
            corners = corners_of(np.asarray(zarr.open_array(zarr_store(path / "positions_m"), mode="r")[...]))
        return ScanInfo(
            name=path.name,
            n_positions=int(shape[0]),
            n_pixels=int(shape[1]),
            n_bytes=size_of(path),
            corners_m=((float(corners[0][0]), float(corners[0][1])), (float(corners[1][0]), float(corners[1][1]))),
            **fields_of(attributes),
        )
    except (LookupError, TypeError, ValueError, OSError, ArithmeticError) as error:
        raise DatasetDamagedError(f"scan {path.name} is not described as it was: {type(error).__name__}: {error}") from error


def _info_of_image(path: Location, attributes: Mapping[str, Any]) -> ScanInfo:
    try:
        image = image_info(attributes["image"])
        return ScanInfo(
            name=path.name,
            n_positions=0,
            n_pixels=0,
            n_bytes=size_of(path),
            corners_m=image.corners_m,
            image=image,
            **fields_of(attributes),
        )
    except (LookupError, TypeError, ValueError, OSError, ArithmeticError) as error:
        raise DatasetDamagedError(f"image {path.name} is not described as it was: {type(error).__name__}: {error}") from error


def fields_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `ScanInfo` that a scan's attributes hold, in their types."""
    texts = {name: str(attributes[name]) for name in ("upload", "sha256", "digest")}
    numbers = {name: float(attributes[name]) for name in ("energy_ev", "distance_m", "detector_pixel_size_m")}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
    warnings = tuple(str(text) for text in attributes.get("warnings", ()))
    return {**texts, **numbers, "n_entries": int(attributes["n_entries"]), "warnings": warnings}


def corners_of(positions_m: NDArray[np.float64]) -> list[list[float]]:
    """Least and greatest (y, x) of the scan positions (P, 2) [m], as JSON holds them."""
    return [positions_m.min(axis=0).tolist(), positions_m.max(axis=0).tolist()]


def stamp_of(path: str | Location, names: tuple[str, ...] = DESCRIPTIONS) -> str:
    """Sizes and times of files below ``path``, which change whenever they are written; "" where one is missing."""
    try:
        if isinstance(path, ObjectPath):
            return "-".join((path / name).stat().etag for name in names)
        found = [os.stat(f"{path}/{name}") for name in names]
    except OSError:
        return ""
    return "-".join(f"{status.st_size:x}.{status.st_mtime_ns:x}" for status in found)


def scan_stamp_of(path: str | Location) -> str:
    """`stamp_of` the scan or the image at ``path``."""
    return stamp_of(path) or stamp_of(path, IMAGE_DESCRIPTIONS)


def folders_in(path: Location) -> list[str]:
    """Names of the folders at ``path`` that may be datasets or scans.

    Raises
    ------
    DatasetDamagedError
        There is no folder at ``path``.
    """
    if isinstance(path, ObjectPath):
        return sorted(found.name for found in path.iterdir() if NAME.fullmatch(found.name))
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError as error:
        raise DatasetDamagedError(f"the folder {path.name} is missing") from error
