"""Named fields of a file, read one by one, every fault kept until all have been looked at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError
from storage.readers.record import DAMAGE, Node
from storage.readers.stack import FrameStack, RasterRow

JOULE_EV: Final = 1.602176634e-19
"""One electronvolt [J]."""

MAX_SMALL_BYTES: Final = 256 * 2**20
"""Largest array other than the frames that is read [bytes]."""

MAX_RASTER_ROWS: Final = 10_000

LENGTHS_M: Final = {
    "m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "meters": 1.0, "mm": 1e-3, "millimetre": 1e-3,
    "millimeter": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "micron": 1e-6, "microns": 1e-6, "micrometer": 1e-6,
    "micrometre": 1e-6, "nm": 1e-9, "nanometer": 1e-9, "nanometre": 1e-9,
}  # fmt: skip
"""Lengths a ``units`` attribute may name [m]."""


@dataclass
class Fields:
    """Reads fields of one scan by name.

    Attributes
    ----------
    find : callable
        Path in the file -> array there, or None.
    faults : list of FieldError
        What was wrong with the fields read so far.
    """

    find: Callable[[str], Node | None]
    faults: list[FieldError] = field(default_factory=list)

    def fault(self, name: str, message: str) -> None:
        """Keep a fault for the report."""
        self.faults.append(FieldError(name, message))

    def node(self, name: str, *paths: str, required: bool = True) -> Node | None:
        """Return the array at the first of ``paths`` that holds one."""
        for path in paths:
            node = self.find(path)
            if node is not None:
                return node
        if required:
            self.fault(name, f"missing: nothing at {' or '.join(paths)}")
        return None

    def values(self, name: str, *paths: str, required: bool = True) -> NDArray[Any] | None:
        """Read a whole array that is not the frames; numbers only."""
        node = self.node(name, *paths, required=required)
        if node is None:
            return None
        n_bytes = int(np.prod(node.shape, dtype=np.float64)) * node.dtype.itemsize
        if node.dtype.kind not in "biufc":
            self.fault(name, f"must be numbers, got {node.dtype}")
        elif n_bytes > MAX_SMALL_BYTES:
            self.fault(name, f"is {n_bytes / 2**20:.0f} MiB, more than the {MAX_SMALL_BYTES // 2**20} MiB allowed")
        else:
            try:
                return np.asarray(node[()])
            except DAMAGE as error:
                self.fault(name, f"cannot be read: {error}")
        return None

    def number(self, name: str, *paths: str, required: bool = True) -> float | None:
        """Read one finite number; an array of equal numbers will do."""
        values = self.values(name, *paths, required=required)
        if values is None:
            return None
        if values.size == 0 or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
            self.fault(name, f"must be one finite number, got {np.array2string(values, threshold=4)}")
            return None
        first = float(values.flat[0])
        if np.ptp(values) > 1e-6 * abs(first):
            self.fault(name, f"must be one number, got {values.size} from {values.min()} to {values.max()}")
            return None
        return first

    def units(self, *paths: str) -> str:
        """Return the ``units`` attribute of the first of ``paths`` that holds an array, or ""."""
        node = next((node for node in map(self.find, paths) if node is not None), None)
        unit = getattr(node, "attrs", {}).get("units", "")
        if isinstance(unit, np.ndarray) and unit.size == 1:
            unit = unit.flat[0]
        return (unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)).strip()

    def length_scale(self, name: str, *paths: str) -> float:
        """Return what turns the unit of the first of ``paths`` into metres; metres where it names none."""
        unit = self.units(*paths)
        if unit and unit.lower() not in LENGTHS_M:
            self.fault(name, f"unit {unit!r} is not a length; lengths are in metres")
        return LENGTHS_M.get(unit.lower(), 1.0)

    def length_m(self, name: str, *paths: str, required: bool = True) -> float | None:
        """Read one length [m], positive."""
        value = self.number(name, *paths, required=required)
        if value is None:
            return None
        value *= self.length_scale(name, *paths)
        if value <= 0:
            self.fault(name, f"must be positive, got {value:g} m")
            return None
        return value

    def energy_ev(self, *paths: str, required: bool = True) -> float | None:
        """Read the photon energy; the size of the number tells J from eV."""
        value = self.number("energy_ev", *paths, required=required)
        if value is None:
            return None
        if 0 < value < 1e-12:
            energy = value / JOULE_EV
        elif self.units(*paths).lower() == "kev":
            energy = value * 1e3
        else:
            energy = value
        if 50 <= energy <= 2e5:
            return energy
        hint = "; it looks like keV" if 0.05 <= value < 50 else ""
        self.fault("energy_ev", f"photon energy {value:g} is neither joules (< 1e-12) nor electronvolts (50 to 2e5){hint}")
        return None

    def pixel_size_m(self, y_paths: tuple[str, ...], x_paths: tuple[str, ...]) -> float | None:
        """Read the side of a detector pixel [m], which must be square; None where the file does not say."""
        y = self.length_m("detector_pixel_size_m", *y_paths, required=False)
        x = self.length_m("detector_pixel_size_m", *x_paths, required=False)
        if x is None or y is None:
            return x if y is None else y
        if abs(x - y) > 1e-3 * x:
            self.fault("detector_pixel_size_m", f"pixels must be square, got {y:g} by {x:g} m")
            return None
        return x

    def positions_m(self, *paths: str, order: str = "xy") -> NDArray[np.float64] | None:
        """Read probe positions as (P, 2) float64 (y, x) [m].

        Accepts (P, 2), (P, 3), transposed, or in rows of a raster (rows, P, 2 or 3); the columns are x, y(, z) for
        ``order="xy"``, else y, x.
        """
        values = self.values("positions_m", *paths)
        if values is None:
            return None
        if values.ndim == 3 and values.shape[2] in (2, 3):
            values = values.reshape(-1, values.shape[2])
        if values.ndim != 2 or values.dtype.kind not in "iuf" or not {2, 3} & set(values.shape):
            self.fault("positions_m", f"must be (P, 2), (P, 3) or transposed, got {values.shape} of {values.dtype}")
            return None
        if values.shape[1] not in (2, 3):
            values = values.T
        if not np.isfinite(values).all():
            n_bad = int((~np.isfinite(values)).any(axis=1).sum())
            self.fault("positions_m", f"{n_bad} of {len(values)} positions are not finite")
            return None
        columns = (1, 0) if order == "xy" else (0, 1)
        return values[:, columns].astype(np.float64) * self.length_scale("positions_m", *paths)

    def bad_pixel_mask(self, *paths: str) -> NDArray[np.bool_] | None:
        """Read a mask in which 0 is a good pixel, as (ny, nx) bool, true where good."""
        values = self.values("mask", *paths, required=False)
        if values is None:
            return None
        if values.ndim == 3 and values.shape[0] >= 1:
            values = np.asarray(values.any(axis=0))
        if values.ndim != 2 or values.dtype.kind not in "biuf":
            self.fault("mask", f"must be (ny, nx) integers, 0 = good, got {values.shape} of {values.dtype}")
            return None
        return np.asarray(values == 0)

    def probe(self, *paths: str) -> NDArray[np.complex64] | None:
        """Read a guess of the probe as (M, ny, nx) complex64."""
        values = self.values("probe", *paths, required=False)
        if values is None:
            return None
        with np.errstate(over="ignore"):
            probe = values.astype(np.complex64)
        if probe.ndim < 2 or probe.size == 0 or not np.isfinite(probe).all():
            self.fault("probe", f"must be (ny, nx) or (modes, ny, nx), finite, got {values.shape} of {values.dtype}")
            return None
        return probe.reshape(-1, *probe.shape[-2:])

    def frames(self, *paths: str) -> Node | None:
        """Find the counts, (P, ny, nx) or in rows of a raster (rows, P, ny, nx), without reading them."""
        node = self.node("counts", *paths)
        if node is None:
            return None
        if len(node.shape) == 4 and 0 not in node.shape and node.shape[0] <= MAX_RASTER_ROWS:
            node = FrameStack([RasterRow(node, row) for row in range(node.shape[0])])
        if node.dtype.kind not in "iuf" or len(node.shape) != 3 or 0 in node.shape:
            self.fault("counts", f"must be (positions, ny, nx) numbers, got {tuple(node.shape)} of {node.dtype}")
            return None
        return node
