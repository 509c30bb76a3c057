"""Objects and probes as ptypy stores them (``.ptyr``), a storage of each an energy.

Source: ptypy.readthedocs.io, "Containers" and "io.h5rw".
"""

from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.exports.objects import objects
from storage.exports.source import Source

EV_PER_KEV: Final = 1e3


def write_ptypy(source: Source, path: Path) -> None:
    """Write the objects and probes of one dataset; objects are 0 where they were not seen.

    Raises
    ------
    ExportError
        Several datasets, or images without a phase.
    """
    dataset = source.only_dataset("a .ptyr file")
    with h5py.File(path, "w") as file:
        file["header/kind"], file["header/description"] = "minimal", "Ptypy .h5 compatible storage format"
        for index, image in enumerate(objects(source, dataset)):
            name = f"S{index:04d}G00"
            place = file.create_group(f"content/obj/{name}")
            _write_storage(place, name, image.object[None], image.energy_ev, image.pixel_size_m, image.origin_m)
            place["data"].attrs.update(image.errors)
            if image.probe is not None and image.probe_pixel_size_m is not None:
                place = file.create_group(f"content/probe/{name}")
                first_m = -(image.probe.shape[-1] // 2) * image.probe_pixel_size_m
                _write_storage(place, name, image.probe, image.energy_ev, image.probe_pixel_size_m, (first_m, first_m))


def _write_storage(
    place: h5py.Group,
    name: str,
    layers: NDArray[np.complex64],
    energy_ev: float,
    pixel_size_m: float,
    origin_m: tuple[float, float],
) -> None:
    place["ID"], place["data"], place["fill_value"] = name, layers, np.complex64(0)
    place["shape"], place["nlayers"], place["layermap"] = layers.shape, len(layers), np.arange(len(layers))
    place["_energy"] = energy_ev / EV_PER_KEV
    place["_psize"] = np.full(2, pixel_size_m)
    place["_origin"], place["_center"] = np.array(origin_m), -np.array(origin_m) / pixel_size_m
