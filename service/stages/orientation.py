"""The orientation of the detector, found from the frames of one energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from service.stages.context import StageContext
from service.stages.scans import cycles_cost, read_measured
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.ptycho.probe import ProbeSpec

EQUIVALENT_CYCLES: Final = 40
"""Trials of all orientations take about as long as this many cycles of the whole scan."""


@dataclass(frozen=True, kw_only=True)
class OrientationStep(Step):
    """Find the flips and the transpose of a dataset's frames from one of its energies; every other energy waits for it.

    The attributes are ``orientation`` (0 to 7) and ``contrast``.
    """

    stage: ClassVar[str] = "orientation"
    version: ClassVar[int] = 3
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("errors", ("orientation",), ("float64",), "1", "R factor of the trial in each orientation"),
    )

    dataset: str
    scan: ScanInput
    optics: ProbeSpec | None

    @property
    def cost(self) -> float:
        return cycles_cost(self.scan, EQUIVALENT_CYCLES)

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.ptycho.orientation import find_orientation, require_clear

        measured, probe = read_measured(context, self.dataset, self.scan, self.optics)
        verdict = find_orientation(measured, probe, on_cycle=lambda *_: context.check_stop())
        errors = np.array([verdict.errors[orientation] for orientation in range(8)])
        return context.write({"errors": errors}, orientation=require_clear(verdict), contrast=verdict.contrast)


def read_orientation(context: StageContext, step: StepRef[OrientationStep]) -> int:
    """The orientation of the frames (0 to 7) that a step found."""
    return int(context.attributes(step)["orientation"])
