"""What a reconstruction carries from cycle to cycle: all that it needs to go on, here or elsewhere, with the same result."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.options import ReconstructOptions
from tasks.ptycho.probe import add_modes, orthogonal_modes, scale_to_power
from tasks.ptycho.scan import Canvas, Placement, unmoved

Image = Any
"""NDArray[complex64], or the same on JAX's device between cycles."""


@dataclass(frozen=True)
class State:
    """Of one energy."""

    object: Image
    """(Y, X) complex64; JAX's own array between cycles, as the next two."""
    probe: Image
    """(M, N, N) complex64 [sqrt photons]."""
    velocity: Image
    """(M, N, N) complex64: the probe's momentum."""
    object_velocity: Image
    """(Y, X) complex64: the object's momentum."""
    cycle: int
    """Cycles done."""
    seed: int
    errors: NDArray[np.float32]
    """(cycle,) float32: R = sum (|F| - sqrt I)^2 / sum I of each cycle, over good pixels."""
    displacement_px: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    """(P, 2) float64: corrections of the positions [px]; empty until there are some."""
    scale: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(P,) float64: each frame's amplitude relative to the scan's; empty until it is known."""
    stops_after: int | None = None
    """Cycles after which it ends early, its R having settled; None while it has not."""
    noise_error: float | None = None
    """The R that photon noise alone would leave; None before the first cycles, or of a model that is not finite."""

    @property
    def is_stopped(self) -> bool:
        """Whether it ended early: more cycles would change nothing."""
        return self.stops_after is not None and self.cycle >= self.stops_after

    def placement(self, n_positions: int) -> Placement:
        """Where the frames were and how bright, as far as it is known."""
        return Placement(self.displacement_px, self.scale) if len(self.scale) else unmoved(n_positions)


def start(canvas: Canvas, probe: NDArray[np.complex64], options: ReconstructOptions) -> State:
    """An empty object (transmission 1) and the first guess of the probe, with modes added where more are asked for."""
    empty = np.ones(canvas.shape, np.complex64)
    probe = with_modes(probe, len(probe) if options.probe_modes == "auto" else options.probe_modes)
    return State(empty, probe, np.zeros_like(probe), np.zeros_like(empty), 0, options.seed, np.empty(0, np.float32))


def with_modes(probe: NDArray[np.complex64], n_modes: int) -> NDArray[np.complex64]:
    """The probe (M, N, N) complex64 with at least ``n_modes`` modes, and its own power."""
    if n_modes <= len(probe):
        return probe.astype(np.complex64)
    return scale_to_power(add_modes(probe, n_modes), float(np.sum(np.abs(probe) ** 2, dtype=float)))


def with_another_mode(state: State) -> State:
    """The state with one mode more, at rest."""
    probe = with_modes(np.asarray(state.probe), len(state.probe) + 1)
    velocity = np.concatenate([state.velocity, np.zeros_like(probe[:1])])
    return replace(state, probe=probe, velocity=velocity)


def orthogonalised(state: State) -> State:
    """The state with its modes orthogonal, the strongest first; nothing that is measured changes."""
    mixture = orthogonal_modes(state.probe)
    probe, velocity = (np.tensordot(mixture, array, 1).astype(np.complex64) for array in (state.probe, state.velocity))
    return replace(state, probe=probe, velocity=velocity)
