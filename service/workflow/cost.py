"""What units cost [s] on one core, roughly: only the ratios matter, for the progress bar."""

import math
from typing import Final

from service.workflow.inputs import RunInput, ScanInput

FRAME_PIXEL_S: Final = 3e-8
COUPLED_PIXEL_S: Final = 1e-6
FITTED_PIXEL_S: Final = 5e-5
FIXED_S: Final = 1.0
CYCLES_OF_ORIENTATION: Final = 40
"""Trials of all orientations cost about as much as so many cycles of the whole scan."""


def reconstruction_cost(scan: ScanInput, n_cycles: int) -> float:
    """Seconds it may take to visit every position of a scan ``n_cycles`` times, roughly."""
    return FRAME_PIXEL_S * n_cycles * scan.n_positions * scan.n_pixels**2


def coupling_cost(dataset: RunInput) -> float:
    """Seconds it may take to bring all energies together, roughly."""
    return COUPLED_PIXEL_S * sum(math.prod(scan.canvas.shape) for scan in dataset.scans)


def fitting_cost(dataset: RunInput) -> float:
    """Seconds it may take to fit every pixel's spectrum, roughly."""
    return FITTED_PIXEL_S * math.prod(dataset.scans[0].canvas.shape)
