"""Versions of ptyxas and of the libraries its numbers come from."""

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

LIBRARIES: Final = (
    "dask",
    "dask-ml",
    "distributed",
    "jax",
    "numba",
    "numpy",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "xraydb",
    "zarr",
)
CODE: Final = ("service", "storage", "tasks")
"""Packages that a worker runs."""


def library_versions() -> dict[str, str]:
    """Version of each library, by its name; those that are not installed are left out."""
    found = {}
    for library in ("ptyxas", *LIBRARIES):
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # ptyxas itself, where it runs from its source
            continue
    return {"ptyxas": "unknown", **found}


@cache
def code_digest() -> str:
    """SHA-256 [16 hexadecimal digits] of the source of all modules that a worker may run."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for package in CODE for path in (root / package).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def software_versions() -> dict[str, str]:
    """What has to be the same in the service and its workers: libraries, ptyxas, its source, and Python (major.minor)."""
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", **library_versions(), "source of ptyxas": code_digest()}


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """One sentence that names each package whose version differs; None where all agree."""
    other = [
        f"{name} {found.get(name, 'missing')} instead of the service's {version}"
        for name, version in expected.items()
        if found.get(name) != version
    ]
    return f"it has {', '.join(other)}; install the same ptyxas and constraints.txt everywhere" if other else None
