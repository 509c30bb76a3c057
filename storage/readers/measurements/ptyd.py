"""Data of ptypy (``.ptyd``): ``chunks/<n>`` with ``data`` (m, ny, nx), ``positions`` (m, 2) and ``weights``, and ``meta``.

Positions are (y, x) in metres, energies keV, ``psize`` and ``distance`` metres, ``center`` (y, x) a pixel. Weights of 0 are bad
pixels: of every frame beside its data, or of all frames in ``meta/weight2d``. Text ``None`` means that a number is missing.

Source: ptypy.readthedocs.io, "Data management", section "Ptyd file format".
"""

from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.readers.containers.hdf5 import child_names, find_node, find_object, find_text
from storage.readers.fields import ENERGY, LENGTH, PIXEL, Fields
from storage.readers.photon_energy import is_photon_energy
from storage.readers.record import BeamCentre, Node, ScanSource
from storage.readers.stack import FrameStack

CHUNKS: Final = "chunks"
INFORMATION: Final = ("meta", "info")
"""Groups that numbers are read from, the first that has one."""
EV_PER_KEV: Final = 1e3


def is_ptyd(file: h5py.File) -> bool:
    """Whether a file holds frames as ptypy stores them."""
    chunks = find_object(file, CHUNKS)
    return isinstance(chunks, h5py.Group) and any(find_node(file, f"{CHUNKS}/{name}/data") for name in child_names(chunks))


def read_ptyd(file: h5py.File) -> list[ScanSource]:
    """Read the frames of all chunks as one energy, leaving them in the file."""
    fields = Fields(lambda path: find_node(file, path))
    names = sorted(child_names(file[CHUNKS]), key=lambda name: (len(name), name))
    frames, positions = _chunks(fields, names)
    if any(
        find_text(file[group], "propagation") == "nearfield" for group in INFORMATION if isinstance(file.get(group), h5py.Group)
    ):
        fields.fault("distance_m", "the file says that its frames are near field; only far-field frames can be reconstructed")
    mask = _mask(fields)
    return [
        ScanSource(
            label="file",
            frames=frames,
            positions_m=positions,
            energy_ev=_energy_ev(fields),
            distance_m=_number(fields, "distance_m", "distance"),
            detector_pixel_size_m=_pixel_size_m(fields),
            mask=mask,
            frame_masks=_frame_masks(fields, names) if mask is None else None,
            beam_centre=_beam_centre(fields),
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
    ]


def _chunks(fields: Fields, names: list[str]) -> tuple[Node | None, NDArray[np.float64] | None]:
    """Frames and positions of the chunks, in the order of their numbers."""
    frames, positions = [], []
    for name in names:
        part = fields.frames(f"{CHUNKS}/{name}/data")
        place = fields.positions_m(f"{CHUNKS}/{name}/positions", order="yx")
        if part is not None and place is not None:
            if len(part.shape) == 3 and part.shape[0] != len(place):
                fields.fault("positions_m", f"chunk {name} has {len(place)} positions for {part.shape[0]} frames")
            frames.append(part)
            positions.append(place)
    if fields.faults or not frames:
        return None, None
    try:
        return FrameStack(frames), np.concatenate(positions)
    except ValueError as error:
        fields.fault("counts", str(error))
        return None, None


def _number(fields: Fields, name: str, key: str) -> float | None:
    """One positive length [m] of the information; None where it is missing or text."""
    for group in INFORMATION:
        node = fields.find(f"{group}/{key}")
        if node is not None and node.dtype.kind in "iuf":
            return fields.length_m(name, f"{group}/{key}")
    return None


def _energy_ev(fields: Fields) -> float | None:
    for group in INFORMATION:
        node = fields.find(f"{group}/energy")
        if node is not None and node.dtype.kind in "iuf":
            value = fields.number("energy_ev", ENERGY, f"{group}/energy", unstated=EV_PER_KEV)
            if value is None or is_photon_energy(value):
                return value
            fields.fault("energy_ev", f"must be 0.03 to 200 keV, got {value / EV_PER_KEV:g}")
            return None
    fields.fault("energy_ev", "missing: neither meta/energy nor info/energy is a number [keV]")
    return None


def _pixel_size_m(fields: Fields) -> float | None:
    for group in INFORMATION:
        node = fields.find(f"{group}/psize")
        if node is None or node.dtype.kind not in "iuf":
            continue
        sizes = fields.quantities("detector_pixel_size_m", LENGTH, f"{group}/psize")
        if sizes is None:
            return None
        if not sizes.size or not (sizes > 0).all() or np.ptp(sizes) > 1e-3 * sizes.max():
            fields.fault("detector_pixel_size_m", f"pixels must be square and positive, got {sizes.ravel()[:4].tolist()} m")
            return None
        return float(sizes.flat[0])
    return None


def _beam_centre(fields: Fields) -> BeamCentre | None:
    for group in INFORMATION:
        node = fields.find(f"{group}/center")
        if node is not None and node.dtype.kind in "iuf":
            centre = fields.quantities("beam_centre_px", PIXEL, f"{group}/center")
            if centre is not None and centre.size == 2 and np.isfinite(centre).all():
                y, x = centre.ravel().tolist()
                return BeamCentre(y, x)
    return None


def _mask(fields: Fields) -> NDArray[np.bool_] | None:
    """Pixels of weight above 0 in every frame; None where the weights are those of single frames, or none."""
    place = next((path for path in ("meta/weight2d", "common/weight2d") if _is_stated(fields.find(path))), None)
    weights = None if place is None else fields.values("mask", place)
    if weights is None:
        return None
    if weights.ndim < 2 or weights.size != np.prod(weights.shape[-2:]) or weights.dtype.kind not in "biuf":
        fields.fault("mask", f"weight2d must be (ny, nx) numbers, 0 = bad, got {weights.shape} of {weights.dtype}")
        return None
    return np.asarray(weights.reshape(weights.shape[-2:]) > 0)


def _is_stated(node: Node | None) -> bool:
    """Whether there is more than an empty array, or one number or text in its place."""
    return node is not None and int(np.prod(node.shape)) > 1


def _frame_masks(fields: Fields, names: list[str]) -> Node | None:
    """Masks of all frames, of weights (m, ny, nx) beside the frames of a chunk, or (ny, nx) for all; None without weights."""
    parts: list[Node] = []
    n_stated = 0
    for name in names:
        weights, frames = fields.find(f"{CHUNKS}/{name}/weights"), fields.find(f"{CHUNKS}/{name}/data")
        shape = () if frames is None else tuple(frames.shape)
        if len(shape) != 3:
            continue
        if weights is None or not _is_stated(weights):
            parts.append(SameFrame(np.ones(shape[1:], bool), shape[0]))
            continue
        n_stated += 1
        stated, is_number = tuple(weights.shape), weights.dtype.kind in "biuf"
        if is_number and stated == shape:
            parts.append(Weighted(weights))
        elif is_number and stated in (shape[1:], (1, *shape[1:])):
            parts.append(SameFrame(np.asarray(weights[()]).reshape(shape[1:]) > 0, shape[0]))
        else:
            fields.fault("mask", f"weights of chunk {name} must be {shape} as its frames, got {stated} of {weights.dtype}")
    return None if not n_stated or fields.faults else FrameStack(parts)


class SameFrame:
    """One mask (ny, nx) bool for each of ``n`` frames."""

    def __init__(self, mask: NDArray[np.bool_], n: int) -> None:
        self._mask, self.shape, self.dtype = mask, (n, *mask.shape), np.dtype(bool)

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:
        """Read a slice of frames."""
        return np.asarray(np.broadcast_to(self._mask, self.shape)[key])


class Weighted:
    """Masks (P, ny, nx) of weights, True where above 0; only the slices asked for are read."""

    def __init__(self, weights: Node) -> None:
        self._weights = weights
        self.shape, self.dtype, self.chunks = tuple(weights.shape), np.dtype(bool), getattr(weights, "chunks", None)

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:
        """Read a slice of frames."""
        return np.asarray(np.asarray(self._weights[key]) > 0)
