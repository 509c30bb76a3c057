"""The objects of one dataset's results as files of reconstructions hold them, one energy after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.errors import ExportError
from storage.exports.source import Source
from storage.layout import dataset_group
from storage.readers.images import ERRORS


@dataclass(frozen=True)
class ObjectImage:
    """One energy, on the grid that all energies share.

    Attributes
    ----------
    energy_ev : float
    object : (Y, X) complex64
        ``exp(-A + i phi)``, 0 where it was not seen.
    seen : (Y, X) bool
    pixel_size_m : float
    origin_m : (y, x)
        Centre of the first pixel, in the frame of the scan.
    errors : mapping
        Those of `ERRORS` that the results have.
    probe : (M, N, N) complex64 or None
    probe_pixel_size_m : float or None
    """

    energy_ev: float
    object: NDArray[np.complex64]
    seen: NDArray[np.bool_]
    pixel_size_m: float
    origin_m: tuple[float, float]
    errors: Mapping[str, float]
    probe: NDArray[np.complex64] | None
    probe_pixel_size_m: float | None

    @property
    def centre_m(self) -> tuple[float, float]:
        """Middle of the image (y, x)."""
        y, x = (start + 0.5 * (n - 1) * self.pixel_size_m for start, n in zip(self.origin_m, self.seen.shape, strict=True))
        return y, x


def objects(source: Source, dataset: str) -> Iterator[ObjectImage]:
    """Yield every energy of a dataset, ascending.

    Raises
    ------
    ExportError
        Images without a phase.
    """
    group, reconstruction = dataset_group(dataset, "spectra"), dataset_group(dataset, "reconstruction")
    if not source.has(group, "phase"):
        raise ExportError("format", f"needs complex objects, and {dataset} is absorption alone; take nxstxm or tiff")
    energies_ev, pixel_size_m = source.read(group, "energy").tolist(), source.pixel_size_m(dataset)
    y, x = (float(source.read(group, axis)[0]) for axis in "yx")
    errors = {name: source.read(group, name).tolist() for name in ERRORS if source.has(group, name)}
    has_probe = source.has(reconstruction, "probe")
    sizes = source.store.attributes(reconstruction)["probe_pixel_size_m"] if has_probe else []
    images = zip(source.pages(group, "absorption"), source.pages(group, "phase"), strict=True)
    for index, (energy_ev, (absorption, phase)) in enumerate(zip(energies_ev, images, strict=True)):
        seen = np.isfinite(absorption) & np.isfinite(phase)
        yield ObjectImage(
            energy_ev,
            np.where(seen, np.exp(-np.nan_to_num(absorption) + 1j * np.nan_to_num(phase)), 0).astype(np.complex64),
            seen,
            pixel_size_m,
            (y, x),
            {name: values[index] for name, values in errors.items() if values[index] > 0},
            source.read(reconstruction, "probe", (slice(index, index + 1),))[0] if has_probe else None,
            float(sizes[index]) if has_probe else None,
        )
