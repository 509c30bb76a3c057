"""What one energy's reconstruction takes back from the others."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.gauge import Gauge
from tasks.ptycho.state import State


@dataclass(frozen=True)
class Correction:
    """Object times ``factor``, probe against the gauge."""

    factor: NDArray[np.complex64]
    """(Yc, Xc) complex64, on the energy's own canvas."""
    gauge: Gauge

    def apply(self, state: State) -> State:
        """The state with the correction in its object and the inverse of the gauge on its probe."""
        object_ = (state.object * self.factor).astype(np.complex64)
        object_buffer = (state.object_momentum_buffer * self.factor).astype(np.complex64)
        probe, probe_buffer = self.gauge.onto_probe(state.probe), self.gauge.onto_probe(state.probe_momentum_buffer)
        return replace(
            state, object=object_, probe=probe, probe_momentum_buffer=probe_buffer, object_momentum_buffer=object_buffer
        )
