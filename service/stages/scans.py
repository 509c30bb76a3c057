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
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.scan import Scan

if TYPE_CHECKING:
    from service.stages.context import StageContext

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
    orientation: int = 0,
) -> tuple[Scan, Probe]:
    """A scan and the first guess of its probe (M, N, N).

    Parameters
    ----------
    context : StageContext
    dataset : str
    scan : ScanInput
    optics : ProbeSpec, optional
        Optics of the dataset, where they were described.
    orientation : int
        What was found for frames of an orientation that nobody stated (0 to 7).
    """
    stored = context.read_scan(dataset, scan.name, orientation)
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

    mean, good = measured.mean_pattern
    if supplied is not None and (optics is None or optics.kind == "supplied"):
        return fit_to_beam(supplied, mean, good, centre=False)
    guess = initial_probe(optics or ProbeSpec(), measured.energy_ev, measured.pixel_size_m, measured.n_pixels, 1.0)
    return fit_to_beam(guess, mean, good)


def as_scan(stored: Mapping[str, Any]) -> Scan:
    """The scan that the dataset store returns, as ``tasks`` takes it."""
    names = ("counts", "positions_m", "mask", "energy_ev", "distance_m", "detector_pixel_size_m")
    return Scan(**{name: stored[name] for name in names})
