"""The results of a run as exports read them: group by group, and large arrays block by block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import ExportError
from storage.layout import COORDINATES, dataset_group
from storage.results import ResultsStore

BLOCK_BYTES: Final = 16 * 2**20

Index = tuple[slice, ...]
Node = tuple[str, str]
"""Group and name of an array of the results."""


@dataclass(frozen=True)
class MeanSpectrum:
    """Mean over the pixels of one area of a dataset, at each energy (E,).

    Attributes
    ----------
    name : str
        ``specimen``, or ``domain-1`` and so on.
    n_pixels : int
    energy_ev, absorption, sigma : (E,) float64 array
        Amplitude absorption and its standard error, NaN where not known.
    phase : (E,) float64 array or None
        [rad]; None of images without a phase.
    """

    name: str
    n_pixels: int
    energy_ev: NDArray[np.float64]
    absorption: NDArray[np.float64]
    sigma: NDArray[np.float64]
    phase: NDArray[np.float64] | None


@dataclass(frozen=True)
class Source:
    """Sealed results, and what of them is exported.

    Attributes
    ----------
    store : ResultsStore
    run_id : str
    datasets : sequence of str
        Those that are exported.
    spectra : mapping
        Of each exported dataset, mean spectra of its areas, for the formats that state them.
    """

    store: ResultsStore
    run_id: str
    datasets: Sequence[str]
    spectra: Mapping[str, Sequence[MeanSpectrum]] = field(default_factory=dict)

    def groups(self) -> list[str]:
        """Groups that several datasets share, then those of each exported dataset."""
        found = self.store.groups()
        return [group for group in found if "/" not in group or group.partition("/")[0] in self.datasets]

    def has(self, group: str, name: str) -> bool:
        """Whether the results hold an array."""
        return name in self.store.arrays(group)

    def read(self, group: str, name: str, index: Index = ()) -> NDArray[Any]:
        """An array, or the part of it at ``index``."""
        return self.store.read(group, name, index)[0]

    def blocks(self, group: str, name: str) -> Iterator[tuple[Index, NDArray[Any]]]:
        """An array in parts of about 16 MiB, with the place of each; one of two dimensions or less whole."""
        array = self.store.array(group, name)
        n_rows, *row = array.shape or (1,)
        n = max(1, BLOCK_BYTES // max(1, prod(row) * array.dtype.itemsize))
        parts: list[Index] = [(slice(i, min(i + n, n_rows)),) for i in range(0, n_rows, n)] if len(row) > 1 else [()]
        yield from ((part, self.read(group, name, part)) for part in parts)

    def pages(self, group: str, name: str) -> Iterator[NDArray[Any]]:
        """The images (Y, X) of an array, one after the other."""
        for _, values in self.blocks(group, name):
            yield from values.reshape(-1, *values.shape[-2:])

    def variables(self, group: str) -> list[str]:
        """Names of a group's arrays that are no coordinates."""
        return [name for name in self.store.arrays(group) if name not in COORDINATES]

    def images(self) -> Iterator[Node]:
        """Every real array over y and x, and possibly one more dimension before them."""
        for group in self.groups():
            for name in self.variables(group):
                dims = self.store.dims(group, name)
                if dims[-2:] == ("y", "x") and len(dims) <= 3 and self.store.array(group, name).dtype.kind != "c":
                    yield group, name

    def pixel_size_m(self, dataset: str) -> float:
        """Side of a pixel of a dataset's images [m]."""
        y = self.read(dataset_group(dataset, "spectra"), "y")
        return float(y[1] - y[0])

    def only_dataset(self, what: str) -> str:
        """The dataset of a file that holds one.

        Raises
        ------
        ExportError
            Several are exported.
        """
        if len(self.datasets) > 1:
            raise ExportError("dataset", f"{what} holds one dataset, and the run has {len(self.datasets)}: name one of them")
        return self.datasets[0]
