"""Resumable state of a reconstruction: all that is needed to go on, here or elsewhere, with the same result."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.ptycho.probe import add_modes, orthogonal_modes, scale_to_power
from tasks.ptycho.scan import Placement, measured_placement

ComplexArray: TypeAlias = Any
"""NDArray[complex64], or a JAX array between cycles."""


@dataclass(frozen=True)
class State:
    """Resumable reconstruction state of one energy."""

    object: ComplexArray
    """(Y, X) complex64: the object's transmission."""
    probe: ComplexArray
    """(M, N, N) complex64 [sqrt photons]."""
    probe_momentum_buffer: ComplexArray
    """(M, N, N) complex64: decaying sum of the probe's past steps."""
    object_momentum_buffer: ComplexArray
    """(Y, X) complex64: decaying sum of the object's past steps."""
    cycle: int
    """Number of cycles done."""
    seed: int
    """Seed of the orders in which positions are visited."""
    errors: NDArray[np.float32]
    """(cycle,) float32: R = sum (|F| - sqrt I)^2 / sum I of each cycle, over good pixels of what it saw (`frame_px`)."""
    frame_px: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    """(cycle,) int16: side of the middle of the frames that each cycle saw [px]."""
    displacement_px: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    """(P, 2) float64: corrections of the positions [px]; empty until the first correction."""
    scale: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(P,) float64: each frame's amplitude relative to the scan's; empty until the first correction."""
    prtf: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(N // 2 + 1,) float32: phase-retrieval transfer function (`tasks.ptycho.agreement`); empty before the first end."""
    stops_after: int | None = None
    """Number of cycles after which the reconstruction ends early because R has converged; None while it has not."""
    first_cycle: int = 0
    """Cycles before the one from which the schedule counts: 0, or those of the quick image of a warm start."""
    noise_error: float | None = None
    """R that photon noise alone would leave; None before the first cycles, or where the model is not finite."""

    @property
    def scheduled_cycle(self) -> int:
        """Cycles done since the schedule began."""
        return self.cycle - self.first_cycle

    @property
    def is_stopped(self) -> bool:
        """Whether the reconstruction ended early, so that more cycles would change nothing."""
        return self.stops_after is not None and self.cycle >= self.stops_after

    def placement(self, n_positions: int) -> Placement:
        """Corrections of positions and flux; those of a measurement that needs none before the first correction."""
        return Placement(self.displacement_px, self.scale) if len(self.scale) else measured_placement(n_positions)


def with_modes(probe: NDArray[np.complex64], n_modes: int) -> NDArray[np.complex64]:
    """The probe (M, N, N) complex64 with at least ``n_modes`` modes and unchanged power."""
    if n_modes <= len(probe):
        return probe.astype(np.complex64)
    return scale_to_power(add_modes(probe, n_modes), float(np.sum(np.abs(probe) ** 2, dtype=float)))


def with_another_mode(state: State) -> State:
    """The state with one more probe mode, whose momentum buffer is zero."""
    probe = with_modes(np.asarray(state.probe), len(state.probe) + 1)
    buffer = np.concatenate([state.probe_momentum_buffer, np.zeros_like(probe[:1])])
    return replace(state, probe=probe, probe_momentum_buffer=buffer)


def orthogonalised(state: State) -> State:
    """The state with orthogonal probe modes, the strongest first; the modelled intensities stay the same."""
    mixture = orthogonal_modes(state.probe)
    probe, buffer = (np.tensordot(mixture, modes, 1).astype(np.complex64) for modes in (state.probe, state.probe_momentum_buffer))
    return replace(state, probe=probe, probe_momentum_buffer=buffer)
