"""Objects and probes by energy as CXI, ``entry_1`` to ``entry_n``, one energy each (Maia, Nat. Methods 2012, 9, 854)."""

from pathlib import Path
from typing import Final

import h5py
import numpy as np

from storage.exports.objects import ObjectImage, objects
from storage.exports.source import Source
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
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        n = 0
        for n, image in enumerate(objects(source, dataset), 1):
            _write_entry(file.create_group(f"entry_{n}"), image, f"{dataset} at {image.energy_ev:.3f} eV")
        file["number_of_entries"] = n


def _write_entry(entry: h5py.Group, image: ObjectImage, title: str) -> None:
    entry["title"] = title
    entry["instrument_1/source_1/energy"] = image.energy_ev * JOULE_EV
    place = entry.create_group("image_1")
    place["data"] = image.object
    place["data"].attrs.update(image.errors)
    place["mask"] = np.where(image.seen, 0, MISSING).astype(np.uint32)
    place["data_space"], place["data_type"] = "real", "density"
    place["image_size"] = [n * image.pixel_size_m for n in (*image.seen.shape[::-1], 0)]
    place["image_center"] = [*image.centre_m[::-1], 0.0]
    place["x_pixel_size"] = place["y_pixel_size"] = image.pixel_size_m
    if image.probe is not None:
        entry["instrument_1/source_1/illumination"] = image.probe
        entry["instrument_1/source_1/illumination_pixel_size"] = image.probe_pixel_size_m
