"""What a coupling leaves for the next round of a reconstruction: a correction of each energy's object, in its gauge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.step import Step, StepRef
from storage.layout import ArraySpec

if TYPE_CHECKING:
    from tasks.coupling.correction import Correction
    from tasks.gauge import Gauge

GAUGE: Final = ArraySpec(
    "gauge", ("energy", "term"), ("float64",), "1", "log gain, phase [rad] and slopes [rad/pixel] of each gauge"
)


@dataclass(frozen=True, kw_only=True)
class CorrectionStep(Step):
    """A step whose arrays are the corrections that the next round of some energies begins with."""

    stage: ClassVar[str] = "couple"
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("image{energy}", ("y", "x"), ("complex64",), "1", "factor on the object of one energy, on its own canvas"),
        GAUGE,
    )


def read_correction(context: StageContext, step: StepRef[CorrectionStep], index: int) -> Correction:
    """The correction of the energy at ``index`` among those of the step."""
    from tasks.coupling.correction import Correction

    arrays = context.read(step, f"image{index}", "gauge")
    return Correction(arrays[f"image{index}"], gauge_of(arrays["gauge"][index]))


def gauge_row(gauge: Gauge) -> NDArray[np.float64]:
    """(4,) a gauge as it is stored."""
    return np.array([gauge.log_gain, gauge.phase_rad, *gauge.slope_rad_px])


def gauge_of(row: NDArray[np.float64]) -> Gauge:
    """The gauge that is stored as a row (4,)."""
    from tasks.gauge import Gauge

    log_gain, phase_rad, slope_y, slope_x = (float(value) for value in row)
    return Gauge(log_gain, phase_rad, (slope_y, slope_x))
