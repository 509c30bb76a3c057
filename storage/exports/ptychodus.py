"""Objects and probes as products of ptychodus, one an energy, in a ZIP.

Source: ptychodus, "Ptychodus Product Files" (github.com/AdvancedPhotonSource/ptychodus).
"""

from pathlib import Path

import h5py
import numpy as np

from storage.exports.archive import new_archive
from storage.exports.objects import ObjectImage, objects
from storage.exports.source import Source


def write_ptychodus(source: Source, path: Path) -> None:
    """Write a product for each energy; objects are 0 where they were not seen.

    Raises
    ------
    ExportError
        Several datasets, or images without a phase.
    """
    dataset = source.only_dataset("a ptychodus product")
    with new_archive(path) as archive:
        for image in objects(source, dataset):
            name = f"{dataset}-{image.energy_ev:.3f}eV"
            with archive.member(f"{name}.h5") as member, h5py.File(member, "w") as file:
                _write_product(file, image, name)


def _write_product(file: h5py.File, image: ObjectImage, name: str) -> None:
    y_m, x_m = image.centre_m
    file.attrs.update({"name": name, "comments": "", "probe_energy_eV": image.energy_ev})
    file["object"] = image.object[None]
    file["object"].attrs.update({"center_x_m": x_m, "center_y_m": y_m, **image.errors})
    file["object_layer_spacing_m"] = np.zeros(0)
    sizes = {"object": image.pixel_size_m}
    if image.probe is not None and image.probe_pixel_size_m is not None:
        file["probe"] = image.probe[None]
        sizes["probe"] = image.probe_pixel_size_m
    for array, size_m in sizes.items():
        file[array].attrs.update({"pixel_height_m": size_m, "pixel_width_m": size_m})
