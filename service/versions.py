"""Versions of ptyxas and of the libraries its numbers come from."""

from importlib.metadata import PackageNotFoundError, version
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


def library_versions() -> dict[str, str]:
    """Version of each library, by its name; those that are not installed are left out."""
    found = {}
    for library in ("ptyxas", *LIBRARIES):
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # ptyxas itself, where it runs from its source
            continue
    return {"ptyxas": "unknown", **found}
