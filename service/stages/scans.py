"""One energy's measurement as ``tasks`` takes it: frames in the right orientation, and the first guess of their probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.workflow.inputs import ScanInput
from storage.artifacts import ArtifactStore
from tasks.errors import TaskError
from tasks.gauge import Box, field_box, field_of_view
from tasks.ptycho.probe import ProbeSpec, initial_probe, resample, scale_to_power
from tasks.ptycho.scan import Canvas, Scan

if TYPE_CHECKING:
    from service.stages.context import StageContext
    from service.stages.orientation import OrientationStep
    from service.stages.reconstruct import ReconstructStep
    from service.workflow.step import StepRef
    from tasks.coupling.warm_start import WarmStart

Probe = NDArray[np.complex64]

AUTO: Final = "auto"
"""The orientation of a dataset that is found by trying all of them."""
FRAME_PIXEL_S: Final = 3e-8
"""Estimated time that a cycle takes for each pixel of each frame [s]."""
FIELD_BOX: Final = "field_box"
"""Attribute of a reconstruction: the box of its field of view, which coupling compares between energies."""


def cycles_cost(scan: ScanInput, n_cycles: int) -> float:
    """Estimated time [s] to visit every position of a scan ``n_cycles`` times."""
    return FRAME_PIXEL_S * n_cycles * scan.n_positions * scan.n_pixels**2


def read_measured(
    context: StageContext,
    dataset: str,
    scan: ScanInput,
    optics: ProbeSpec | None,
    orientation: StepRef[OrientationStep] | None = None,
) -> tuple[Scan, Probe]:
    """A scan and the first guess of its probe (M, N, N).

    Parameters
    ----------
    context : StageContext
    dataset : str
    scan : ScanInput
    optics : ProbeSpec, optional
        Optics of the dataset, where they were described.
    orientation : StepRef, optional
        The step that found the orientation of the frames, where one had to.
    """
    frames_orientation = 0 if orientation is None else int(context.attributes(orientation)["orientation"])
    stored = context.read_scan(dataset, scan.name, frames_orientation)
    measured = as_scan(stored)
    return measured, first_probe(measured, stored["probe"], optics)


def check_orientation(context: StageContext, dataset: str, measured: Scan, probe: Probe, n_cycles: int) -> None:
    """Refuse frames that the orientation given with their dataset does not fit, before many cycles are spent on them.

    Raises
    ------
    OrientationError
    """
    from tasks.ptycho.orientation import FEWEST_CYCLES, require_fit

    given = context.datasets.attributes(dataset).get("orientation") or 0
    if given != AUTO and n_cycles >= FEWEST_CYCLES:
        require_fit(measured, probe, given, on_cycle=lambda *_: context.check_stop())


def probe_of_pilot(context: StageContext, pilot: StepRef[ReconstructStep], measured: Scan, probe: Probe) -> Probe:
    """(M, N, N) complex64: the pilot's probe on this energy's pixel, with the power of this energy's own ``probe``."""
    ratio = measured.pixel_size_m / float(context.attributes(pilot)["pixel_size_m"])
    power = float(np.sum(np.abs(probe) ** 2, dtype=float))
    return scale_to_power(resample(context.read(pilot, "probe")["probe"], ratio), power)


def read_reference(context: StageContext, reference: StepRef[ReconstructStep]) -> WarmStart:
    """The start from a finished reconstruction of another energy."""
    from tasks.coupling.warm_start import Reference, WarmStart

    found, numbers = context.read(reference, "object", "probe", "dose", "positions_m"), context.attributes(reference)
    y_m, x_m = numbers["origin_m"]
    canvas = Canvas(found["object"].shape, numbers["pixel_size_m"], (y_m, x_m))
    n_positions = len(found["positions_m"])
    return WarmStart(Reference(found["object"], found["probe"], canvas, found["dose"], numbers["photons"], n_positions))


def field_box_of(dose: NDArray[np.float32]) -> Box | None:
    """The box of an energy's field of view; None where its dose (Y, X) shows no field."""
    try:
        return field_box(field_of_view(dose))
    except TaskError:
        return None


def read_field_box(artifacts: ArtifactStore, key: str) -> Box:
    """The box of the field of view of a finished reconstruction, from its attributes; where they hold none, from its dose.

    Raises
    ------
    ArtifactMissingError
    VacuumError
        No light fell on the object, or its dose is not finite.
    """
    stored = artifacts.attrs(key).get(FIELD_BOX)
    if stored is None:
        return field_box(field_of_view(artifacts.read(key, "dose")["dose"]))
    first_row, last_row, first_column, last_column = stored
    return first_row, last_row, first_column, last_column


def first_probe(measured: Scan, supplied: Probe | None, optics: ProbeSpec | None) -> Probe:
    """(M, N, N) complex64: the probe that came with the scan unless optics were described, with the beam's power."""
    from tasks.ptycho.beam import fit_to_beam

    mean, good = measured.mean_pattern()
    if supplied is not None and (optics is None or optics.kind == "supplied"):
        return fit_to_beam(supplied, mean, good, centre=False)
    guess = initial_probe(optics or ProbeSpec(), measured.energy_ev, measured.pixel_size_m, measured.n_pixels, 1.0)
    return fit_to_beam(guess, mean, good)


def as_scan(stored: Mapping[str, Any]) -> Scan:
    """The scan that the dataset store returns, as ``tasks`` takes it."""
    names = ("counts", "positions_m", "mask", "energy_ev", "distance_m", "detector_pixel_size_m")
    return Scan(**{name: stored[name] for name in names})
