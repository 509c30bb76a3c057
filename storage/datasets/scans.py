"""What is known of a stored scan without reading its counts, and how scans and datasets are named."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.atomic import size_of
from storage.errors import InvalidNameError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
"""Names that are safe as file names and in addresses."""


@dataclass(frozen=True)
class ScanInfo:
    """What is known of a stored scan without reading its counts.

    ``sha256`` is that of the file it came from, ``upload`` the name that file was given,
    ``n_entries`` the number of scans it brought, ``digest`` that of what is
    stored, ``n_bytes`` what it takes on disk.
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


def check_name(name: str) -> str:
    """Return ``name`` if it is safe as a file name.

    Raises
    ------
    InvalidNameError
    """
    if not NAME.fullmatch(name) or name == "zarr.json":
        raise InvalidNameError(f"a name is 1 to 128 letters, digits and ._+- and starts with a letter or digit: {name!r}")
    return name


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files, as hexadecimal digits."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path)}\0{digest_of(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_group(path: Path) -> bool:
    """Whether there is a Zarr group at ``path``."""
    return (path / "zarr.json").is_file()


def attributes_of(path: Path) -> dict[str, Any]:
    """Attributes of the Zarr group at ``path``."""
    content: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]
    return content


def info_of(path: Path) -> ScanInfo:
    """Read what is known of the scan stored at ``path``; it never changes, so it is read once."""
    return _read_info(path, (path / "zarr.json").stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _read_info(path: Path, written_ns: int) -> ScanInfo:
    attributes = attributes_of(path)
    counts = json.loads((path / "counts" / "zarr.json").read_text())
    n_positions, n_pixels, _ = counts["shape"]
    return ScanInfo(
        name=path.name,
        n_positions=n_positions,
        n_pixels=n_pixels,
        n_bytes=size_of(path),
        **{key: attributes[key] for key in ScanInfo.__annotations__ if key in attributes},
    )
