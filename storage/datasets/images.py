"""Images of a dataset of kind ``images``: checked, turned into an object or an absorption, written, and read back."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.datasets.counts import FULL_SCALES, MIN_PILED, NO_COUNTS, SURE_FULL_SCALE, is_piled_up
from storage.datasets.entries import DUPLICATE_ENERGY_EV
from storage.datasets.ingest import create_array
from storage.datasets.scans import ImageInfo, ScanInfo
from storage.datasets.stored_scan import manifest_of, told_as_damage
from storage.errors import FieldError, InvalidScanError
from storage.location import Location
from storage.manifest import VerifiedStore
from storage.readers.images import PIXEL, ImageSource
from storage.readers.photon_energy import impossible_energy, is_photon_energy
from storage.readers.record import DAMAGE

ARRAYS: Final = ("object", "absorption", "seen", "probe", "errors")
LEAST_SIDE_PX: Final = 16
MAX_SIDE_PX: Final = 16_384
LEAST_SEEN: Final = 0.1
"""Least share of an image that must hold numbers."""
PIXEL_SIZES_M: Final = (1e-11, 1e-3)
"""No pixel of an X-ray microscope is smaller or larger [m]."""
MOST_OPTICAL_DENSITY: Final = 30.0
MOST_TRANSMISSION: Final = 1.5
"""Of the median pixel; noise and a beam that drifts may take it above 1."""
START_SHARE: Final = 0.01
"""A value that this share of an object's pixels hold to the last bit is what its reconstruction started from."""
FOLLOWS: Final = 0.5
"""Correlation of absorption and phase from which on an object is taken for a conjugate; real ones have about 0 or less."""
MAX_FAULTS: Final = 50
"""Faults that an answer names: a wrong unit is wrong at every energy."""


@dataclass(frozen=True)
class ImageRecord:
    """An image that passed, still in the file.

    Attributes
    ----------
    info : ImageInfo
    seen : (Y, X) bool
    """

    source: ImageSource
    energy_ev: float
    info: ImageInfo
    seen: NDArray[np.bool_]
    warnings: tuple[str, ...] = ()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Read and convert: ``object`` complex64 or ``absorption`` float32, ``seen``; ``probe`` and ``errors`` if stated."""
        assert self.source.image is not None
        values = values_of(self.source, np.asarray(self.source.image[()]))
        name, dtype = ("object", np.complex64) if self.info.has_phase else ("absorption", np.float32)
        found = {name: np.where(self.seen, values, 1 if self.info.has_phase else np.nan).astype(dtype), "seen": self.seen}
        further = {name: getattr(self.source, name) for name in ("probe", "errors")}
        return found | {name: values for name, values in further.items() if values is not None}


def examine_images(
    sources: Sequence[ImageSource], attributes: Mapping[str, Any], present: Sequence[ScanInfo]
) -> list[ImageRecord]:
    """Check every image of a file; ``present`` are those that the dataset has from other files.

    Raises
    ------
    InvalidScanError
        With everything found wrong, by image and field.
    """
    records: list[ImageRecord] = []
    faults: list[FieldError] = []
    for source in sources:
        record, found = examine_image(source, attributes.get("pixel_size_m"))
        if record is not None:
            found += image_inconsistencies(record.energy_ev, record.info, [*present, *records])
            records.append(record)
        prefix = f"{source.label}." if len(sources) > 1 else ""
        # the pixel is that of the whole file, and told once
        named = [FieldError(fault.field if fault.field == PIXEL else prefix + fault.field, fault.message) for fault in found]
        faults += [fault for fault in named if fault not in faults]
    if faults:
        raise InvalidScanError(faults[:MAX_FAULTS])
    return records


def told_of_sign(follows: float) -> Iterator[str]:
    """Warn of an object whose phase rises where it absorbs."""
    if follows > FOLLOWS:
        yield (
            f"the phase rises where the object absorbs (correlation {follows:.2f}), as in the conjugate of exp(-A + i phi), "
            "with phi < 0 in matter: if it is, send the conjugate"
        )


def image_inconsistencies(
    energy_ev: float, info: ImageInfo | None, others: Sequence[ImageRecord | ScanInfo]
) -> Iterator[FieldError]:
    """Why an image cannot stand beside others of its dataset: an energy measured twice, with and without a phase or an I0."""
    if any(abs(energy_ev - other.energy_ev) < DUPLICATE_ENERGY_EV for other in others):
        yield FieldError("energy_ev", f"duplicate energy: {energy_ev:.3f} eV is there already")
    for theirs in (other.info if isinstance(other, ImageRecord) else other.image for other in others[:1]):
        if info is None or theirs is None:
            continue
        if info.has_phase != theirs.has_phase:
            kinds = ("absorption alone", "objects with a phase")
            yield FieldError("image", f"is {kinds[info.has_phase]}; the other energies are {kinds[theirs.has_phase]}")
        elif info.is_normalised != theirs.is_normalised:
            states = ("not normalised to I0", "normalised to I0")
            yield FieldError(
                "i0", f"the image is {states[info.is_normalised]}; the other energies are {states[theirs.is_normalised]}"
            )


def examine_image(source: ImageSource, stated_pixel_size_m: float | None) -> tuple[ImageRecord | None, list[FieldError]]:
    """Check one image of a file; None where there are faults, and everything found wrong."""
    faults = [fault for fault in source.faults if stated_pixel_size_m is None or fault.field != PIXEL]
    pixel_size_m = source.pixel_size_m if stated_pixel_size_m is None else stated_pixel_size_m
    if not faults:
        faults += _number_faults(source, pixel_size_m)
    if faults or source.image is None or pixel_size_m is None or source.energy_ev is None:
        return None, faults
    try:
        numbers = np.asarray(source.image[()])
        values = values_of(source, numbers)
    except DAMAGE as error:
        return None, [FieldError("image", f"cannot be read: {error}")]
    seen = _seen(source, values)
    end = full_scale(numbers) if source.quantity == "intensity" else None
    if end is not None:
        seen &= numbers != end
    faults += _value_faults(source, values, seen)
    if faults:
        return None, faults
    n_lost = int(seen.size - np.count_nonzero(seen))
    warnings: tuple[str, ...] = (f"{n_lost} of {seen.size} pixels hold no image and are left out",) if n_lost else ()
    if end is not None:
        n_end = int(np.count_nonzero(numbers == end))
        warnings += (f"{n_end} pixels read {end:.0f}, the end of a detector's range, and are left out",)
    shape = (values.shape[0], values.shape[1])
    middle = tuple(-0.5 * (n - 1) * pixel_size_m for n in shape)
    info = ImageInfo(
        shape=shape,
        pixel_size_m=float(pixel_size_m),
        origin_m=source.origin_m or (middle[0], middle[1]),
        has_phase=source.quantity == "object",
        is_normalised=source.quantity != "intensity" or source.i0 is not None,
    )
    if source.quantity == "object":
        warnings += tuple(told_of_sign(phase_follows(values, seen)))
    return ImageRecord(source, source.energy_ev, info, seen, (*source.warnings, *warnings)), []


def phase_follows(values: NDArray[Any], seen: NDArray[np.bool_]) -> float:
    """Correlation of the steps of absorption and phase of an object (Y, X) from pixel to second next; 0 where there are none.

    Steps need no unwrapping, and their median, a ramp, is taken off.
    """
    product, squares = 0.0, np.zeros(2)
    for image, inside in ((values, seen), (values.T, seen.T)):
        both = inside[2:] & inside[:-2]
        ahead, behind = image[2:][both], image[:-2][both]
        if not both.any():
            continue
        absorption, phase = -np.log(np.abs(ahead) / np.abs(behind)), np.angle(ahead * behind.conj())
        steps = np.stack([absorption - np.median(absorption), phase - np.median(phase)])
        product += float(steps[0] @ steps[1])
        squares += (steps**2).sum(axis=1)
    return float(product / np.sqrt(squares.prod())) if squares.all() else 0.0


def _number_faults(source: ImageSource, pixel_size_m: float | None) -> Iterator[FieldError]:
    if source.energy_ev is None:
        yield FieldError("energy_ev", "missing: the file does not state the photon energy")
    elif not is_photon_energy(source.energy_ev):
        yield FieldError("energy_ev", impossible_energy(source.energy_ev, "eV"))
    if pixel_size_m is None:
        yield FieldError("pixel_size_m", "missing: neither the file nor the dataset gives the pixel of the images")
    elif not PIXEL_SIZES_M[0] <= pixel_size_m <= PIXEL_SIZES_M[1]:
        yield FieldError("pixel_size_m", f"is {pixel_size_m:g} m: is it in another unit?")
    shape = () if source.image is None else tuple(source.image.shape)
    if len(shape) != 2 or not all(LEAST_SIDE_PX <= n <= MAX_SIDE_PX for n in shape):
        yield FieldError("image", f"must be (Y, X) of {LEAST_SIDE_PX} to {MAX_SIDE_PX} pixels a side, got {shape}")
    kinds = "c" if source.quantity == "object" else "iuf"
    if source.image is not None and source.image.dtype.kind not in kinds:
        wanted = "complex" if kinds == "c" else "real"
        yield FieldError("image", f"numbers of {source.quantity!r} must be {wanted}, got {source.image.dtype}")
    if source.seen is not None and source.seen.shape != shape:
        yield FieldError("seen", f"is {source.seen.shape} for an image of {shape}")


def full_scale(numbers: NDArray[Any]) -> float | None:
    """The end of the detector's range, where pixels of an image of counts (Y, X) pile up there; else None."""
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return None
    largest = float(finite.max())
    ends = {*FULL_SCALES, *NO_COUNTS} | ({float(np.iinfo(numbers.dtype).max)} if numbers.dtype.kind in "iu" else set())
    n_largest, lower = int(np.count_nonzero(finite == largest)), finite[finite < largest]
    n_next = int(np.count_nonzero(lower == lower.max())) if lower.size else 0
    piled = n_largest >= MIN_PILED if largest >= SURE_FULL_SCALE else is_piled_up(n_largest, n_next)
    return largest if largest in ends and piled else None


def values_of(source: ImageSource, numbers: NDArray[Any]) -> NDArray[Any]:
    """The object (Y, X) complex128, or the absorption (Y, X) float64, of an image's numbers; not finite where without meaning."""
    values = numbers
    if source.quantity == "object":
        return values.astype(np.complex128)
    values = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        if source.quantity in ("intensity", "transmission"):
            return np.asarray(-0.5 * np.log(values / (source.i0 or 1.0)))
    return values if source.quantity == "absorption" else 0.5 * values


def _seen(source: ImageSource, values: NDArray[Any]) -> NDArray[np.bool_]:
    seen = np.asarray(np.isfinite(values))
    if source.seen is not None:
        return np.asarray(seen & source.seen)
    if source.quantity != "object":
        return seen
    seen &= values != 0
    found, counts = np.unique(values, return_counts=True)
    return np.asarray(seen & ~np.isin(values, found[counts > START_SHARE * values.size]))


def _value_faults(source: ImageSource, values: NDArray[Any], seen: NDArray[np.bool_]) -> Iterator[FieldError]:
    if np.count_nonzero(seen) < max(LEAST_SEEN * seen.size, 1):
        share = np.count_nonzero(seen) / seen.size
        yield FieldError(
            "image", f"only {share:.1%} of the pixels hold a value that can be used; the rest are zero, full scale or not finite"
        )
        return
    inside = values[seen]
    if np.ptp(np.abs(inside)) == 0:
        yield FieldError("image", "is the same number everywhere")
    middle = float(np.median(np.abs(inside))) if source.quantity == "object" else float(np.median(inside))
    if source.quantity == "transmission" and np.exp(-2 * middle) > MOST_TRANSMISSION:
        yield FieldError("image", f"is I / I0 of {np.exp(-2 * middle):.3g} in the middle; counts are called intensity")
    if source.quantity == "intensity" and source.i0 is not None and np.exp(-2 * middle) > MOST_TRANSMISSION:
        yield FieldError(
            "i0",
            f"is {source.i0:g} where the image has {source.i0 * np.exp(-2 * middle):g} in the middle: I0 is what an empty pixel "
            "counts; leave out one in another unit, such as the ring's current, and the empty area gives it",
        )
    if source.quantity in ("absorption", "optical_density") and not -1 < 2 * middle < MOST_OPTICAL_DENSITY:
        yield FieldError(
            "image", f"is an optical density of {2 * middle:.3g} in the middle; is it a transmission, or in percent?"
        )


def write_image(record: ImageRecord, directory: Path, attributes: Mapping[str, Any]) -> None:
    """Write an image as a Zarr group into ``directory``."""
    group = zarr.create_group(store=directory, overwrite=True)
    digest = hashlib.sha256()
    for name, values in record.arrays().items():
        create_array(group, name, values.shape, values.dtype)[...] = values
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).data)
    info = record.info
    digest.update(np.array([record.energy_ev, info.pixel_size_m, *info.origin_m, info.is_normalised], np.float64).data)
    group.attrs.update(
        {
            **attributes,
            "energy_ev": record.energy_ev,
            "distance_m": 0.0,
            "detector_pixel_size_m": 0.0,
            "image": info.as_json(),
            "warnings": list(record.warnings),
            "digest": digest.hexdigest(),
        }
    )


def read_image(path: Location) -> dict[str, NDArray[Any]]:
    """Arrays of the image stored at ``path``.

    ``object`` (Y, X) complex64 or ``absorption`` (Y, X) float32, ``seen`` (Y, X) bool, and where the file has them
    ``probe`` (M, N, N) complex64 and ``errors`` (2,) float64, of absorption and phase [rad], NaN where not stated.

    Raises
    ------
    DatasetDamagedError
        The image is not what was written.
    """
    with told_as_damage(path):
        group = zarr.open_group(VerifiedStore(path, manifest_of(path)), mode="r")
        return {name: np.asarray(group[name][...]) for name in ARRAYS if name in group}  # type: ignore[index]
