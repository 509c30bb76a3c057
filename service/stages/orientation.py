"""Which way up the detector is."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.stages.context import StageContext, StepAttributes
from service.stages.scans import read_measured
from service.workflow.inputs import ScanInput
from tasks.ptycho.orientation import find_orientation, require_clear


def orientation(desk: StageContext, *, dataset: str, scan: ScanInput, measurement: Mapping[str, Any]) -> StepAttributes:
    """Which way up the frames of a dataset are, from one of its energies."""
    measured, probe = read_measured(desk, dataset, scan.name, measurement)
    verdict = find_orientation(measured, probe, on_cycle=lambda *_: desk.check_stop())
    errors = np.array([verdict.errors[one] for one in range(8)])
    return desk.write({"errors": errors}, orientation=require_clear(verdict), contrast=verdict.contrast)
