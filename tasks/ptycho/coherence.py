"""Tests whether the probe needs another mode: the misfit compared with what photon noise alone leaves.

A model that explains the patterns leaves the noise of the counts. Where the misfit is clearly larger and no longer falls, the
model lacks something: most often the beam was partially coherent or moved during the exposure, which more modes of the
probe describe (Thibault & Menzel, Nature 494, 68 (2013)).
"""

import numpy as np
from numpy.typing import NDArray

EXCESS = 1.6
"""Misfit, in units of what photon noise leaves, above which a further mode is tried.

Coherent simulated specimens at 1e5 to 1e8 photons a frame reach 1.1 to 1.4 when R has stopped falling (up to 2.1 where the
probe does not fit into the frame, and there the trial fails); the Siemens star of the tests reaches 2.0, with two modes 1.5."""

MOST_MODES = 3
"""Largest number of modes that ``probe_modes="auto"`` reaches."""

ASKED_AFTER = (20, 40, 80)
"""Numbers of cycles after which a further mode is considered."""
TRIAL_CYCLES = 10
"""Cycles of the trial of a further mode."""
PAYS = 0.85
"""A further mode is kept if it lowers R to less than this share: errors of positions or flux are not explained by modes, and
what `STALLED` lets R fall by itself is less."""

STALL_CYCLES = 5
STALLED = 0.05
"""R has stopped falling once it has fallen by less than this share over `STALL_CYCLES`."""


def has_stalled(errors: NDArray[np.float32]) -> bool:
    """Whether R, one a cycle, has stopped falling."""
    return len(errors) > STALL_CYCLES and bool(errors[-1] > (1 - STALLED) * errors[-1 - STALL_CYCLES])
