"""Objects and probes by energy as CXI, ``entry_1`` to ``entry_n``, one energy each (Maia, Nat. Methods 2012, 9, 854)."""

from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.errors import ExportError
from storage.exports.source import Source
from storage.layout import dataset_group
from storage.readers.units import JOULE_EV

MISSING: Final = 0x200
"""CXI_PIXEL_IS_MISSING."""


def write_cxi_images(source: Source, path: Path) -> None:
    """Write the objects O = exp(-A + i phi) of one dataset, with masks of what was not seen, and its probes.

    Raises
    ------
    ExportError
        Several datasets, or images without a phase.
    """
    dataset = source.only_dataset("CXI")
    group = dataset_group(dataset, "spectra")
    if not source.has(group, "phase"):
        raise ExportError("format", f"CXI holds complex objects, and {dataset} is absorption alone; take nxstxm or tiff")
    energies = source.read(group, "energy").tolist()
    pixel_size_m, places = source.pixel_size_m(dataset), [float(source.read(group, axis)[0]) for axis in "xy"]
    images = zip(source.pages(group, "absorption"), source.pages(group, "phase"), strict=True)
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        file["number_of_entries"] = len(energies)
        for index, (energy_ev, (absorption, phase)) in enumerate(zip(energies, images, strict=True)):
            entry = file.create_group(f"entry_{index + 1}")
            entry["title"] = f"{dataset} at {energy_ev:.3f} eV"
            entry["instrument_1/source_1/energy"] = energy_ev * JOULE_EV
            _write_image(entry.create_group("image_1"), absorption, phase, pixel_size_m)
            entry["image_1/image_center"] = _middle(places, absorption.shape, pixel_size_m)
            _write_probe(source, dataset, index, entry)


def _write_image(image: h5py.Group, absorption: NDArray[np.floating], phase: NDArray[np.floating], pixel_size_m: float) -> None:
    seen = np.isfinite(absorption) & np.isfinite(phase)
    image["data"] = np.where(seen, np.exp(-absorption + 1j * phase), 1).astype(np.complex64)
    image["mask"] = np.where(seen, 0, MISSING).astype(np.uint32)
    image["data_space"], image["data_type"] = "real", "density"
    image["image_size"] = [n * pixel_size_m for n in (*absorption.shape[::-1], 0)]
    image["x_pixel_size"] = image["y_pixel_size"] = pixel_size_m


def _middle(first_m: list[float], shape: tuple[int, ...], pixel_size_m: float) -> list[float]:
    """Middle of the image (x, y, z) [m] in the frame of the scan."""
    return [first + 0.5 * (n - 1) * pixel_size_m for first, n in zip(first_m, shape[::-1], strict=True)] + [0.0]


def _write_probe(source: Source, dataset: str, index: int, entry: h5py.Group) -> None:
    group = f"{dataset}/reconstruction"
    if not source.has(group, "probe"):
        return
    probe = source.read(group, "probe", (slice(index, index + 1),))[0]
    entry["instrument_1/source_1/illumination"] = probe
    sizes = source.store.attributes(group)["probe_pixel_size_m"]
    entry["instrument_1/source_1/illumination_pixel_size"] = float(sizes[index])
