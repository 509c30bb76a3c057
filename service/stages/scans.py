"""One energy's measurement as ``tasks`` takes it: frames the right way up, and the first guess of their probe."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from tasks.ptycho.beam import fit_to_beam
from tasks.ptycho.orientation import FEWEST_CYCLES, require_fit
from tasks.ptycho.probe import ProbeSpec, initial_probe, resample, scale_to_power
from tasks.ptycho.scan import Scan

Array = NDArray[Any]

AUTO: Final = "auto"
"""The orientation of a dataset that is found by trying all of them."""


def read_measured(
    desk: StageContext, dataset: str, scan: str, measurement: Mapping[str, Any], orientation: str | None = None
) -> tuple[Scan, Array]:
    """A scan and the first guess of its probe; ``orientation`` is the key of the unit that found it, if one had to."""
    turn = 0 if orientation is None else int(desk.units.attrs(orientation)["orientation"])
    stored = desk.read_scan(dataset, scan, turn)
    measured = as_scan(stored)
    return measured, first_probe(measured, stored["probe"], measurement["probe"])


def check_orientation(desk: StageContext, dataset: str, measured: Scan, probe: Array, n_cycles: int) -> None:
    """Before many cycles are spent on frames that their dataset's orientation does not fit.

    Raises
    ------
    OrientationError
    """
    given = desk.datasets.attributes(dataset).get("orientation") or 0
    if given != AUTO and n_cycles >= FEWEST_CYCLES:
        require_fit(measured, probe, given, on_cycle=lambda *_: desk.check_stop())


def seeded_probe(desk: StageContext, pilot: str, measured: Scan, probe: Array) -> Array:
    """(M, N, N) complex64: the pilot's probe on this energy's pixel, with the power of this energy's own ``probe``."""
    ratio = measured.pixel_size_m / float(desk.units.attrs(pilot)["pixel_size_m"])
    power = float(np.sum(np.abs(probe) ** 2, dtype=float))
    return scale_to_power(resample(desk.read(pilot, "probe")["probe"], ratio), power)


def first_probe(measured: Scan, supplied: Array | None, spec: Mapping[str, Any] | None) -> Array:
    """(M, N, N) complex64: the probe that came with the scan unless optics were described, with the beam's power."""
    mean, good = measured.mean_pattern()
    if supplied is not None and (spec is None or spec.get("kind") == "supplied"):
        return fit_to_beam(supplied, mean, good, centre=False)
    optics = ProbeSpec(**(spec or {}))
    return fit_to_beam(initial_probe(optics, measured.energy_ev, measured.pixel_size_m, measured.n_pixels, 1.0), mean, good)


def as_scan(stored: Mapping[str, Any]) -> Scan:
    """What the store holds of a scan, in the words of ``tasks``."""
    names = ("counts", "positions_m", "mask", "energy_ev", "distance_m", "detector_pixel_size_m")
    return Scan(**{name: stored[name] for name in names})
