"""Reconstructions in CXI files: ``image_n`` of every entry, or PyNX's ``result_n``; one energy an entry.

The pixel is ``image_1/image_size`` over the shape, or ``x_pixel_size`` and ``y_pixel_size`` beside the image, else it follows
from the detector: COSMIC and SHARP state the detector's corner ``(x, y, z)`` from the beam instead of distance and pixel, and
the pixel of the object is ``lambda z / (2 x)`` whatever the number of detector pixels.

Sources: Maia, Nat. Methods 2012, 9, 854, and cxidb.org/cxi.html (CXI, ``image_n``: ``data``, ``image_size`` [m], ``mask``);
Favre-Nicolin et al., J. Appl. Cryst. 2020, 53, 1404 (PyNX, ``result_n``).
"""

from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import find_node, find_text
from storage.readers.fields import LENGTH, MAX_POSITION_M, Fields
from storage.readers.images import DerivedImage, ImageSource, StackImage, placed, split_stack
from storage.readers.measurements.cxi import SOURCE, entries, photon_energy
from storage.readers.record import Node
from storage.readers.units import JOULE_EV

PLACES: Final = ("image_1", "result_1", "object_1")
DETECTOR: Final = "instrument_1/detector_1"
SQUARE: Final = 0.01
"""Most that the sides of a pixel may differ, as a share: some sizes are from the first pixel to the last."""
HC_JM: Final = 1.239841984e-6 * JOULE_EV
"""Planck's constant times the speed of light [J m]."""


def has_images(file: h5py.File) -> bool:
    """Whether an entry holds a reconstructed image."""
    return any(image_place(file[name]) for name in entries(file))


def image_place(entry: h5py.Group) -> str | None:
    """Path of the group of an entry's image; None where it has none."""
    return next((place for place in PLACES if find_node(entry, f"{place}/data") is not None), None)


def read_cxi_images(file: h5py.File) -> list[ImageSource]:
    """Read the image of every entry that has one, leaving it in the file."""
    return [
        source for name in entries(file) if (place := image_place(file[name])) for source in _read_entry(file[name], name, place)
    ]


def _read_entry(entry: h5py.Group, label: str, place: str) -> list[ImageSource]:
    fields = Fields(lambda path: find_node(entry, path))
    image = fields.node("image", f"{place}/data")
    if image is not None and len(image.shape) == 3 and image.shape[0] == 1:
        image = StackImage(image, 0)
    if find_text(entry, f"{place}/data_space").strip().lower() == "diffraction":
        fields.fault("image", f"{place}/data_space says that it is a diffraction pattern, not an image of the specimen")
    is_shifted = _is_shifted(fields, place)
    seen = _seen(fields, place, image)
    if is_shifted and image is not None and len(image.shape) == 2:
        image, seen = _unshifted(image), None if seen is None else np.fft.ifftshift(seen)
    energies_ev = photon_energy(entry, fields, fields.energies_ev)
    pixel_size_m = _pixel_size_m(fields, place, image, energies_ev)
    centre_m = _centre_m(fields, place)
    sources = split_stack(fields, label, "object", image, energies_ev, pixel_size_m, seen=seen, probe=_probe(fields))
    return [placed(source, centre_m) for source in sources]


def _pixel_size_m(fields: Fields, place: str, image: Node | None, energies_ev: NDArray[np.float64] | None) -> float | None:
    found = fields.pixel_size_m((f"{place}/y_pixel_size",), (f"{place}/x_pixel_size",), "pixel_size_m")
    if found is not None or image is None:
        return found
    size = fields.quantities("pixel_size_m", LENGTH, f"{place}/image_size", required=False)
    if size is not None and size.size >= 2 and len(image.shape) >= 2:
        x, y = (float(size.flat[axis]) / image.shape[-1 - axis] for axis in (0, 1))
        if not abs(x - y) <= SQUARE * x:
            fields.fault(
                "pixel_size_m",
                f"pixels must be square; image_size (x, y) = ({size.flat[0]:g}, {size.flat[1]:g}) m of {image.shape[-1]} columns "
                f"and {image.shape[-2]} rows gives {x:g} by {y:g} m",
            )
            return None
        return x
    corner = fields.quantities("pixel_size_m", LENGTH, f"{DETECTOR}/corner_position", required=False)
    if corner is None or corner.size != 3 or energies_ev is None or not (corner.ravel() > 0).all():
        return None
    x, _, z = (float(value) for value in corner.ravel())
    return HC_JM / (float(energies_ev[0]) * JOULE_EV) * z / (2 * x)


def _is_shifted(fields: Fields, place: str) -> bool:
    """Whether CXI says that the middle of the image is in its corners."""
    shifted = fields.values("image", f"{place}/is_fft_shifted", required=False)
    if shifted is None or not shifted.any():
        return False
    fields.warnings.append(f"{place}/is_fft_shifted says that the image begins in its middle: it is put back")
    return True


def _unshifted(image: Node) -> Node:
    """An image (Y, X) whose middle is in its corners, put back."""

    def read() -> NDArray[Any]:
        return np.asarray(np.fft.ifftshift(np.asarray(image[()]), axes=(-2, -1)))

    return DerivedImage(tuple(image.shape), image.dtype, read, getattr(image, "attrs", {}))


def _centre_m(fields: Fields, place: str) -> tuple[float, float] | None:
    """Middle of the image (y, x) [m], which CXI states as (x, y, z); None where it does not."""
    centre = fields.quantities("origin_m", LENGTH, f"{place}/image_center", required=False)
    if centre is None:
        return None
    if centre.size != 3 or not (np.abs(centre) < MAX_POSITION_M).all():
        fields.fault("origin_m", f"image_center must be three finite lengths (x, y, z), got {centre.ravel()[:4].tolist()} m")
        return None
    x, y, _ = centre.ravel().tolist()
    return y, x


def _seen(fields: Fields, place: str, image: Node | None) -> NDArray[np.bool_] | None:
    """Where CXI's mask of the image is 0."""
    mask = fields.values("seen", f"{place}/mask", required=False)
    if mask is None or image is None:
        return None
    shape = tuple(image.shape[-2:])
    if mask.shape[-2:] != shape or mask.size != np.prod(shape):
        fields.fault("seen", f"mask of {mask.shape} for an image of {tuple(image.shape)}")
        return None
    return np.asarray(mask.reshape(shape) == 0)


def _probe(fields: Fields) -> NDArray[np.complex64] | None:
    return fields.probe(f"{SOURCE}/probe", f"{SOURCE}/illumination")
