"""What every reader of images returns: one energy's image of the specimen, still in the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError
from storage.readers.fields import Fields
from storage.readers.record import Node

ImageQuantity = Literal["object", "absorption", "optical_density", "transmission", "intensity"]
"""What the numbers of an image are: the complex object O; the amplitude absorption ``A = -ln|O|``; the optical density
``-ln(I / I0) = 2 A``; ``I / I0``; or I, in counts of which I0 is not known."""

MAX_IMAGES: Final = 10_000
"""Most energies of one file."""
ERRORS: Final = ("sigma_absorption", "sigma_phase")
"""Arrays of a file, or attributes of its images, that state standard errors: of absorption, and of the phase [rad]."""
PIXEL: Final = "pixel_size_m"
"""The field that the dataset may state in place of the file."""
NO_ATTRIBUTES: Final[Mapping[str, Any]] = MappingProxyType({})


class StackImage:
    """Image ``index`` of a stack (E, Y, X), as an array (Y, X) that ``[()]`` reads."""

    def __init__(self, stack: Node, index: int) -> None:
        self._stack, self._index = stack, index
        self.shape, self.dtype, self.attrs = tuple(stack.shape[1:]), stack.dtype, getattr(stack, "attrs", {})

    def __getitem__(self, key: Any) -> Any:
        """Read the image, or a part of it."""
        return np.asarray(self._stack[self._index : self._index + 1])[0][key]


class DerivedImage:
    """An image of ``shape`` that a function computes when ``[()]`` asks for it, of an array of the file with ``attrs``."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[], NDArray[Any]],
        attrs: Mapping[str, Any] = NO_ATTRIBUTES,
    ) -> None:
        self.shape, self.dtype, self._read, self.attrs = shape, dtype, read, attrs

    def __getitem__(self, key: Any) -> Any:
        """Read the image, or a part of it."""
        return self._read()[key]


@dataclass(frozen=True)
class ImageSource:
    """One energy's image as a file holds it; None where the file does not state it.

    Attributes
    ----------
    label : str
        Which part of the file it is, for messages.
    quantity : str
        What the numbers are (`ImageQuantity`).
    image : Node, (Y, X)
        Read lazily.
    energy_ev, pixel_size_m : float
    origin_m : (y, x)
        Centre of the first pixel [m], in a frame that all energies share; without it the images' middles coincide.
    i0 : float
        Incident intensity, in the unit of an image of ``intensity``.
    seen : (Y, X) bool
        True where the specimen was seen; everywhere where not stated.
    probe : (M, N, N) complex64
        The probe that was reconstructed with the object.
    errors : (2,) float64
        Standard errors of absorption and of phase [rad], NaN where not stated.
    faults : tuple of FieldError
        Everything the reader found wrong; the fields concerned are None.
    warnings : tuple of str
        What the reader decided and the user should know, one sentence each.
    """

    label: str
    quantity: ImageQuantity = "object"
    image: Node | None = None
    energy_ev: float | None = None
    pixel_size_m: float | None = None
    origin_m: tuple[float, float] | None = None
    i0: float | None = None
    seen: NDArray[np.bool_] | None = None
    probe: NDArray[np.complex64] | None = None
    errors: NDArray[np.float64] | None = None
    faults: tuple[FieldError, ...] = ()
    warnings: tuple[str, ...] = ()


def split_stack(
    fields: Fields,
    label: str,
    quantity: ImageQuantity,
    stack: Node | None,
    energies_ev: NDArray[np.float64] | None,
    pixel_size_m: float | None,
    *,
    i0: NDArray[np.float64] | None = None,
    seen: NDArray[np.bool_] | None = None,
    probe: NDArray[np.complex64] | None = None,
) -> list[ImageSource]:
    """One source an energy of a stack (E, Y, X), or the one of an image (Y, X); a single one with the faults where there are any.

    A wrong pixel is a fault of every image, for the dataset may state the right one.

    Parameters
    ----------
    fields : Fields
        What the file's fields were read with; faults are added to it.
    label : str
    quantity : str
    stack : Node or None
        None where it is missing, which ``fields`` has as a fault.
    energies_ev : (E,) float64 array [eV] or None
    pixel_size_m : float or None
    i0 : (E,) or (1,) float64 array, optional
        Incident intensity.
    seen : (Y, X) bool array, optional
    probe : (M, N, N) complex64 array, optional
    """
    if stack is not None and energies_ev is not None:
        _check_stack(fields, stack, energies_ev)
    n = 0 if energies_ev is None else len(energies_ev)
    incident = None if i0 is None else _incident(fields, i0, n)
    errors = _errors(fields, stack, n)
    if any(fault.field != PIXEL for fault in fields.faults) or stack is None or energies_ev is None:
        return [ImageSource(label, faults=tuple(fields.faults))]
    images = [stack] if len(stack.shape) == 2 else [StackImage(stack, index) for index in range(n)]
    return [
        ImageSource(
            label if n == 1 else f"{label} {index + 1}",
            quantity,
            image,
            float(energies_ev[index]),
            i0=None if incident is None else float(incident[index]),
            pixel_size_m=pixel_size_m,
            seen=seen,
            probe=probe,
            errors=errors[index] if np.isfinite(errors[index]).any() else None,
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
        for index, image in enumerate(images)
    ]


def placed(source: ImageSource, centre_m: tuple[float, float] | None) -> ImageSource:
    """An image whose middle (y, x) [m] the file states; as it is where the file does not, or has faults."""
    if centre_m is None or source.image is None or source.pixel_size_m is None:
        return source
    half = [0.5 * (n - 1) * source.pixel_size_m for n in source.image.shape]
    return replace(source, origin_m=(centre_m[0] - half[0], centre_m[1] - half[1]))


def _check_stack(fields: Fields, stack: Node, energies_ev: NDArray[np.float64]) -> None:
    shape, n = tuple(stack.shape), len(energies_ev)
    if len(shape) not in (2, 3) or 0 in shape:
        fields.fault("image", f"must be (Y, X), or (E, Y, X) with E energies, got {shape}")
        return
    n_images = 1 if len(shape) == 2 else shape[0]
    if n_images != n:
        place = next((axis for axis in range(1, len(shape)) if shape[axis] == n), None)
        cause = f"; axis {place} has as many: move it to the front" if place else "; energies come first"
        fields.fault("image", f"is {shape}, {n_images} images for {n} energies{cause}")
    elif n > MAX_IMAGES:
        fields.fault("image", f"holds {n} energies, more than {MAX_IMAGES}")


def _errors(fields: Fields, stack: Node | None, n_energies: int) -> NDArray[np.float64]:
    """(E, 2) of `ERRORS` that the file states, each one number or one an energy; NaN where it does not."""
    found = np.full((n_energies, len(ERRORS)), np.nan)
    attributes = getattr(stack, "attrs", NO_ATTRIBUTES)
    for column, name in enumerate(ERRORS):
        values = np.asarray(attributes[name]) if name in attributes else fields.values(name, name, required=False)
        if values is None:
            continue
        if values.dtype.kind not in "iuf" or values.size not in (1, n_energies) or not (np.isfinite(values) & (values > 0)).all():
            fields.fault(name, f"must be positive, one number or one for each of {n_energies} energies, got {values.shape}")
        else:
            found[:, column] = values.ravel()
    return found


def _incident(fields: Fields, i0: NDArray[np.float64], n_energies: int) -> NDArray[np.float64] | None:
    values = np.ravel(i0)
    if len(values) not in (1, n_energies):
        fields.fault("i0", f"has {len(values)} values for {n_energies} energies")
    elif not (np.isfinite(values) & (values > 0)).all():
        fields.fault("i0", f"must be positive, got {values.min():g} to {values.max():g}")
    else:
        return np.broadcast_to(values, n_energies)
    return None
