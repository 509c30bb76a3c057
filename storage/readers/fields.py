"""Named fields of a file, each converted to the units of ptyxas; every fault is kept until all have been read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, InvalidScanError
from storage.readers.masks import ANY_BIT, FrameMasks, is_good
from storage.readers.photon_energy import HC_EV_M, MAX_PHOTON_EV, MIN_PHOTON_EV, impossible_energy, in_ev, is_photon_energy
from storage.readers.record import DAMAGE, BeamCentre, Node, unwritten_frames
from storage.readers.stack import FrameStack, RasterRow
from storage.readers.units import COUNTS, ENERGIES_EV, LENGTHS_M, PIXELS, UnitError, factor_of, unit_of

MAX_SMALL_BYTES: Final = 256 * 2**20
"""Largest array other than the frames that is read [bytes]."""
MAX_RASTER_ROWS: Final = 10_000
MAX_POSITION_M: Final = 1e3
"""No stage is further away [m]."""
ENERGY_SPREAD: Final = 5e-5
"""Relative spread up to which the readings of an energy at every frame are one energy: a tenth of an instrument's width."""

LENGTH: Final = ("length", LENGTHS_M)
ENERGY: Final = ("energy", ENERGIES_EV)
COUNT: Final = ("count", COUNTS)
PIXEL: Final = ("pixel", PIXELS)
Quantity = tuple[str, Mapping[str, float]]
"""Name of a physical quantity, and the units it may be given in."""


@dataclass
class Fields:
    """Reads fields of one scan by name.

    Attributes
    ----------
    find : callable
        Path in the file -> array there, or None.
    raster : tuple of int
        Rows and frames a row, where `frames` found a raster.
    faults : list of FieldError
        What was wrong with the fields read so far.
    warnings : list of str
        What was decided about them and should be known.
    """

    find: Callable[[str], Node | None]
    raster: tuple[int, ...] = ()
    faults: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, name: str, message: str) -> None:
        """Keep a fault for the report."""
        self.faults.append(FieldError(name, message))

    def node(self, name: str, *paths: str, required: bool = True) -> Node | None:
        """Return the array at the first of ``paths`` that holds one; a link to a file that is not there is a fault."""
        for path in paths:
            try:
                node = self.find(path)
            except InvalidScanError as error:
                self.fault(name, str(error))
                return None
            if node is not None:
                return node
        if required:
            self.fault(name, f"missing: nothing at {' or '.join(paths)}")
        return None

    def values(self, name: str, *paths: str, required: bool = True) -> NDArray[Any] | None:
        """Read a whole array of numbers that is not the frames, as it is in the file."""
        node = self.node(name, *paths, required=required)
        if node is None:
            return None
        n_bytes = int(np.prod(node.shape, dtype=np.float64)) * node.dtype.itemsize
        if node.dtype.kind not in "biufc" and not is_of_pairs(node.dtype):
            self.fault(name, f"must be numbers, got {node.dtype}")
        elif n_bytes > MAX_SMALL_BYTES:
            self.fault(name, f"is {n_bytes / 2**20:.0f} MiB, more than the {MAX_SMALL_BYTES // 2**20} MiB allowed")
        else:
            try:
                if unwritten_frames(node).any():
                    self.fault(name, "was never written, or only in part: the file holds its shape and no numbers")
                    return None
                return from_pairs(np.asarray(node[()]))
            except DAMAGE as error:
                self.fault(name, f"cannot be read: {error}")
        return None

    def quantities(
        self, name: str, kind: Quantity, *paths: str, required: bool = True, unstated: float = 1.0
    ) -> NDArray[np.float64] | None:
        """Read numbers of a physical quantity and convert them from the unit that the file states.

        Every number of a file that has a unit is read here: where the file states none, it is the base unit's.

        Parameters
        ----------
        name : str
            Field that a fault is reported under.
        kind : (str, mapping)
            `LENGTH` [m], `ENERGY` [eV], `COUNT` or `PIXEL`.
        *paths : str
            The first that holds an array is read.
        required : bool
            Whether it is a fault that none does.
        unstated : float
            Factor to the base unit where the file states no unit.

        Returns
        -------
        float64 array of the shape in the file, or None where nothing is there or a fault was kept
        """
        values = self.values(name, *paths, required=required)
        if values is None:
            return None
        if values.dtype.kind not in "iuf":
            self.fault(name, f"must be real numbers, got {values.dtype}")
            return None
        what, known = kind
        try:
            unit = self.unit(*paths)
            factor = factor_of(unit, known, what) if unit else unstated
        except UnitError as error:
            self.fault(name, str(error))
            return None
        with np.errstate(over="ignore"):
            return values.astype(np.float64) * factor

    def unit(self, *paths: str) -> str:
        """Return the unit that the first array at one of ``paths`` states, or ""."""
        return unit_of(next((node for node in map(self.find, paths) if node is not None), None))

    def number(
        self, name: str, kind: Quantity, *paths: str, required: bool = True, spread: float = 1e-6, unstated: float = 1.0
    ) -> float | None:
        """Read one finite number; an array will do whose numbers agree to the fraction ``spread``: its median."""
        values = self.quantities(name, kind, *paths, required=required, unstated=unstated)
        if values is None:
            return None
        if values.size == 0 or not np.isfinite(values).all():
            self.fault(name, f"must be one finite number, got {np.array2string(values, threshold=4)}")
            return None
        middle = float(np.median(values))
        if np.ptp(values) > spread * abs(middle):
            self.fault(name, f"must be one number, got {values.size} from {values.min()} to {values.max()}")
            return None
        return middle

    def length_m(self, name: str, *paths: str, required: bool = True, unstated: float = 1.0) -> float | None:
        """Read one length [m], positive; ``unstated`` is its factor to metres where the file states no unit."""
        value = self.number(name, LENGTH, *paths, required=required, unstated=unstated)
        if value is not None and value <= 0:
            self.fault(name, f"must be positive, got {value:g} m")
            return None
        return value

    def energy_ev(self, *paths: str, required: bool = True, kev: bool = False) -> float | None:
        """Read the photon energy [eV]; without a unit its size tells J, eV and, with ``kev``, keV apart."""
        value = self.number("energy_ev", ENERGY, *paths, required=required, spread=ENERGY_SPREAD)
        if value is None:
            return None
        unit = self.unit(*paths)
        energy = float(in_ev(np.array(value)))
        if kev and not unit and 0.05 <= energy < 50:
            energy *= 1e3
        if is_photon_energy(energy):
            return energy
        self.fault("energy_ev", impossible_energy(value, unit))
        return None

    def wavelength_ev(self, path: str, unstated: float = 1.0) -> float | None:
        """Read the photon energy [eV] of a wavelength, whose factor to metres is ``unstated`` where the file states no unit."""
        wavelength = self.length_m("energy_ev", path, unstated=unstated)
        energy = 0.0 if wavelength is None else HC_EV_M / wavelength
        if wavelength is None or is_photon_energy(energy):
            return energy or None
        self.fault("energy_ev", f"the wavelength is {wavelength:g} m, {energy:.3g} eV: is it in another unit?")
        return None

    def energies_ev(self, *paths: str, required: bool = True) -> NDArray[np.float64] | None:
        """Read the photon energies (E,) of a stack [eV]; where no unit is stated their size tells J from eV."""
        values = self.quantities("energy_ev", ENERGY, *paths, required=required)
        if values is None:
            return None
        energies = in_ev(values).ravel()
        wrong = ~((energies >= MIN_PHOTON_EV) & (energies <= MAX_PHOTON_EV))
        if wrong.any() or not energies.size:
            first = float(values.flat[int(wrong.argmax())]) if energies.size else np.nan
            self.fault("energy_ev", impossible_energy(first, self.unit(*paths)))
            return None
        return energies

    def pixel_size_m(
        self, y_paths: tuple[str, ...], x_paths: tuple[str, ...], name: str = "detector_pixel_size_m"
    ) -> float | None:
        """Read the side of a pixel [m], which must be square; None where the file does not state it."""
        y = self.length_m(name, *y_paths, required=False)
        x = self.length_m(name, *x_paths, required=False)
        if x is None or y is None:
            return x if y is None else y
        if abs(x - y) > 1e-3 * x:
            self.fault(name, f"pixels must be square, got {y:g} by {x:g} m")
            return None
        return x

    def beam_centre(self, y_path: str, x_path: str) -> BeamCentre | None:
        """Read the beam centre (y, x), stated in pixels or as a length from the detector's corner."""
        try:
            for path in (y_path, x_path):
                factor_of(self.unit(path), PIXELS, "pixel")
            kind, is_length = PIXEL, False
        except UnitError:
            kind, is_length = LENGTH, True
        y, x = (self.number("beam_centre_px", kind, path, required=False) for path in (y_path, x_path))
        if y is None or x is None:
            return None
        if 0 in (y, x) or max(y, x) < 0:
            self.warnings.append(
                f"the file's beam centre is (y, x) = ({y:g}, {x:g}), as where it was never set: the middle of the frame is taken"
            )
            return None
        return BeamCentre(y, x, is_length)

    def saturation_count(self, *paths: str) -> float | None:
        """Read the smallest reading that is no count: the least of what is at ``paths``; 0, negative and NaN mean unset."""
        found = []
        for path in paths:
            values = self.quantities("saturation_count", COUNT, path, required=False)
            if values is not None:
                found += [float(value) for value in values.flat if np.isfinite(value) and value > 0]
        return min(found, default=None)

    def positions_m(self, *paths: str, order: str = "xy", unstated: float = 1.0) -> NDArray[np.float64] | None:
        """Read probe positions as (P, 2) float64 (y, x) [m].

        Accepts (P, 2), (P, 3), transposed, or in rows of a raster (rows, P, 2 or 3) or (2 or 3, rows, P), whichever fits
        the frames where these were found before; the columns are x, y(, z) for ``order="xy"``, else y, x.
        """
        values = self.quantities("positions_m", LENGTH, *paths, unstated=unstated)
        if values is None:
            return None
        shape = values.shape
        if values.ndim == 3:
            last = shape[:2] == self.raster or (shape[2] in (2, 3) and shape[1:] != self.raster)
            values = values.reshape(-1, shape[2]) if last else values.reshape(shape[0], -1).T
        if values.ndim != 2 or not {2, 3} & set(values.shape):
            self.fault("positions_m", f"must be (P, 2), (P, 3) or transposed, got {shape}")
            return None
        if values.shape[1] not in (2, 3):
            values = values.T
        return self.finite_positions(values[:, (1, 0) if order == "xy" else (0, 1)])

    def finite_positions(self, positions: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return positions (P, 2) [m] if all are finite numbers of a laboratory's size; else report which are not."""
        bad = ~(np.abs(positions) < MAX_POSITION_M).all(axis=1)
        if bad.any():
            self.fault(
                "positions_m",
                f"{int(bad.sum())} of {len(positions)} positions are not finite, or beyond {MAX_POSITION_M:g} m; the first is "
                f"frame {int(bad.argmax())}'s",
            )
            return None
        return np.ascontiguousarray(positions)

    def masks(self, *paths: str, bad_bits: int = ANY_BIT) -> tuple[NDArray[np.bool_] | None, Node | None]:
        """Read a mask of integers in which a pixel is bad where one of ``bad_bits`` is set.

        Returns
        -------
        mask : (ny, nx) bool or None
            True where good.
        frame_masks : Node (P, ny, nx) bool or None
            Where the file has a mask for every frame: read lazily.
        """
        node = self.node("mask", *paths, required=False)
        if node is None:
            return None, None
        if node.dtype.kind not in "biuf" or len(node.shape) not in (2, 3, 4) or 0 in node.shape:
            self.fault("mask", f"must be (ny, nx) or (P, ny, nx) integers, 0 = good, got {node.shape} of {node.dtype}")
            return None, None
        if len(node.shape) > 2 and node.shape[:-2] != (1,) * (len(node.shape) - 2):
            masks = stacked(node)
            unwritten = unwritten_frames(masks)
            if unwritten.any():
                self.fault("mask", f"was never written for {int(unwritten.sum())} of {len(unwritten)} frames, or only in part")
            return None, FrameMasks(masks, bad_bits)
        values = self.values("mask", *paths)
        try:
            return None if values is None else is_good(values.reshape(values.shape[-2:]), bad_bits), None
        except ValueError as error:
            self.fault("mask", str(error))
            return None, None

    def probe(self, *paths: str) -> NDArray[np.complex64] | None:
        """Read a guess of the probe as (M, ny, nx) complex64, of any power but 0."""
        values = self.values("probe", *paths, required=False)
        if values is None:
            return None
        with np.errstate(over="ignore"):
            probe = values.astype(np.complex64)
        if probe.ndim < 2 or probe.size == 0 or not np.isfinite(probe).all():
            self.fault("probe", f"must be (ny, nx) or (modes, ny, nx), finite, got {values.shape} of {values.dtype}")
            return None
        if not np.any(probe):
            self.fault("probe", "is zero everywhere: no light, no pattern; leave it out, or give the probe that was meant")
            return None
        return probe.reshape(-1, *probe.shape[-2:])

    def frames(self, *paths: str) -> Node | None:
        """Find the counts, (P, ny, nx) or in rows of a raster (rows, P, ny, nx), without reading them."""
        node = self.node("counts", *paths)
        if node is None:
            return None
        if len(node.shape) == 4 and 0 not in node.shape and node.shape[0] <= MAX_RASTER_ROWS:
            self.raster = tuple(node.shape[:2])
            node = stacked(node)
        if node.dtype.kind not in "iuf" or len(node.shape) != 3 or 0 in node.shape:
            self.fault("counts", f"must be (positions, ny, nx) numbers, got {tuple(node.shape)} of {node.dtype}")
            return None
        try:
            factor_of(unit_of(node), COUNTS, "count")
        except UnitError as error:
            self.fault("counts", f"{error}; ptychography needs photons, for their noise is the weight of each pixel")
            return None
        return node


def is_of_pairs(dtype: np.dtype[Any]) -> bool:
    """Whether an element is two numbers, as MATLAB and others write a complex one."""
    return len(dtype.names or ()) == 2 and all(dtype[name].kind in "iuf" for name in dtype.names or ())


def from_pairs(values: NDArray[Any]) -> NDArray[Any]:
    """Complex numbers of pairs, whatever the pairs' parts are called; other numbers as they are."""
    if not is_of_pairs(values.dtype):
        return values
    real, imaginary = values.dtype.names or ()
    return np.asarray(values[real] + 1j * values[imaginary])


def stacked(node: Node) -> Node:
    """Return frames (P, ny, nx), or in rows of a raster (rows, P, ny, nx), as one stack (P, ny, nx)."""
    if len(node.shape) == 3:
        return node
    unwritten_rows = cache(lambda: unwritten_frames(node))
    return FrameStack([RasterRow(node, row, unwritten_rows) for row in range(node.shape[0])])
