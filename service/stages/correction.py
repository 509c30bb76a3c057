"""What an energy takes back from a barrier, as it is kept between two rounds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from tasks.coupling.correction import Correction
from tasks.gauge import Gauge


def correction_arrays(corrections: Sequence[Correction]) -> dict[str, NDArray[Any]]:
    """Corrections of all energies as arrays; `read_correction` reads them back."""
    arrays: dict[str, NDArray[Any]] = {f"image{i}": correction.image for i, correction in enumerate(corrections)}
    gauges = (correction.gauge for correction in corrections)
    return arrays | {"gauge": np.array([[gauge.log_gain, gauge.phase_rad, *gauge.slope_rad_px] for gauge in gauges])}


def read_correction(desk: StageContext, key: str, index: int) -> Correction:
    """What one energy takes back from a barrier."""
    arrays = desk.read(key, f"image{index}", "gauge")
    log_gain, phase_rad, slope_y, slope_x = (float(value) for value in arrays["gauge"][index])
    return Correction(arrays[f"image{index}"], Gauge(log_gain, phase_rad, (slope_y, slope_x)))
