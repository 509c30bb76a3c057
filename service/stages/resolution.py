"""How far every energy of a dataset is resolved, from its last round's states and what brought them together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.inputs import ScanInput
from tasks.coupling.correction import Correction
from tasks.coupling.registration import Grid
from tasks.coupling.spectra import Spectra, resample
from tasks.ptycho.resolution import (
    PRTF_THRESHOLD,
    detector_frequencies,
    half_bit,
    neighbour_frc,
    resolved_period_m,
    soft_window,
)

Array = NDArray[Any]

RESULTS_NAMES = {
    "prtf": "prtf",
    "frc": "frc",
    "half_bit": "half_bit",
    "resolution_m": "resolution",
    "prtf_resolution_m": "prtf_resolution",
}
"""Arrays of `spectrum_sharpness` and `energy_sharpness`, and what the results store calls them."""


def energy_sharpness(scan: ScanInput, prtf: Array) -> dict[str, Array]:
    """Transfer of a single energy, shapes (1, F) and (1,), and its frequencies."""
    frequency = detector_frequencies(scan.n_pixels, scan.canvas.pixel_size_m)
    period_m = resolved_period_m(frequency, prtf, PRTF_THRESHOLD)
    return {"frequency_per_m": frequency, "prtf": prtf[None], "prtf_resolution_m": np.array([period_m])}


def spectrum_sharpness(
    desk: StageContext, scans: Sequence[ScanInput], states: Sequence[str], found: Spectra, corrections: Sequence[Correction]
) -> dict[str, Array]:
    """Transfer of every energy, correlation with the next one, and the full periods they stand for, on one frequency axis.

    The images correlated are those before the last Kramers-Kronig constraint, which shares noise between energies.
    Constraints between rounds have shared some already.
    """
    grid = Grid(found.y_m, found.x_m, float(found.y_m[1] - found.y_m[0]))
    frequency = detector_frequencies(max(scan.n_pixels for scan in scans), grid.pixel_size_m)
    curves = [energy_sharpness(scan, desk.read(key, "prtf")["prtf"]) for scan, key in zip(scans, states, strict=True)]
    objects = (desk.read(key, "object")["object"] for key in states)
    flat = [image * one.gauge.factor(image.shape) for image, one in zip(objects, corrections, strict=True)]
    images = resample(flat, [scan.canvas for scan in scans], grid, found.shift_px)
    seen = np.isfinite(found.absorption[0])
    window = soft_window(found.sample_mask if found.sample_mask.any() else seen)
    threshold = half_bit(window, grid.pixel_size_m, frequency)
    correlation = neighbour_frc(images, window, grid.pixel_size_m, frequency)
    transfer = [np.interp(frequency, one["frequency_per_m"], one["prtf"][0], right=np.nan) for one in curves]
    return {
        "frequency_per_m": frequency,
        "prtf": np.stack(transfer).astype(np.float32),
        "frc": correlation,
        "half_bit": threshold,
        "resolution_m": np.array([resolved_period_m(frequency, curve, threshold) for curve in correlation]),
        "prtf_resolution_m": np.concatenate([one["prtf_resolution_m"] for one in curves]),
    }


def in_results(sharpness: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays by the names of the results store."""
    return {name: sharpness[key].astype(np.float32) for key, name in RESULTS_NAMES.items() if key in sharpness}
