"""Which way up the detector is."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.desk import Desk, Facts
from service.facts import ScanFacts
from service.measurement import read_measured
from tasks.ptycho.orientation import find_orientation, require_clear


def orientation(desk: Desk, *, dataset: str, scan: ScanFacts, measurement: Mapping[str, Any]) -> Facts:
    """Which way up the frames of a dataset are, from one of its energies."""
    measured, probe = read_measured(desk, dataset, scan.name, measurement)
    verdict = find_orientation(measured, probe, on_cycle=lambda *_: desk.check_stop())
    errors = np.array([verdict.errors[one] for one in range(8)])
    return desk.write({"errors": errors}, orientation=require_clear(verdict), contrast=verdict.contrast)
