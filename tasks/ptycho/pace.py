"""How fast a reconstruction goes: how large its steps are, when they gather momentum, and when they come to rest."""

import numpy as np

from tasks.options import ReconstructOptions
from tasks.ptycho.state import State

CYCLES_BEFORE_MOMENTUM = 4
"""Cycles after which the object gathers momentum."""

STUMBLE = 1.05
"""A cycle whose R is this many times the last one's ends the object's momentum, which starts anew (O'Donoghue & Candes, 2015).

Without it a probe a third too wide on a sparse scan runs away; photon noise alone moves R by less than a hundredth."""

SETTLED_STEP = 0.1
"""The object's step in the last cycle, as a share of alpha."""

SPAN = 10
"""Cycles over which R is averaged to see whether it still falls."""

CYCLES_BEFORE_WARMUP = 4
"""Gathered steps of the probe before it is asked whether it is still far."""

FAR_STEP = 0.04
"""A probe whose gathered step is this large, relative to its norm, after `CYCLES_BEFORE_WARMUP` is far from its place.

Simulated specimens from guesses of the right width, whatever their defocus: 0.015 to 0.03; a third too wide or too
narrow: 0.055 and 0.07; the Siemens star of the tests, from any guess: 0.06 to 0.08."""


def has_begun_to_settle(state: State, options: ReconstructOptions) -> bool:
    """Whether the object's step has begun to fall, at the end of all cycles or at an early one."""
    return state.stops_after is not None or state.cycle >= (1 - options.settle) * options.cycles


def has_settled(state: State, options: ReconstructOptions) -> bool:
    """Whether R fell by less than ``stop_change`` over the last ten cycles; asked until the object's step settles."""
    if not options.stop_change or has_begun_to_settle(state, options) or state.cycle < 2 * SPAN:
        return False
    before, now = (float(np.mean(part)) for part in (state.errors[-2 * SPAN : -SPAN], state.errors[-SPAN:]))
    return (1 - options.stop_change) * before < now <= before


def object_step_size(cycle: int, options: ReconstructOptions, stops_after: int | None = None) -> float:
    """alpha in ``cycle`` (from 0): constant, then linear down to `SETTLED_STEP` over the last ``settle`` of all cycles."""
    n_cycles = stops_after or options.cycles
    settling = options.settle * n_cycles
    left = (n_cycles - 1 - cycle) / settling if settling else 1.0
    return options.alpha * (SETTLED_STEP + (1 - SETTLED_STEP) * float(np.clip(left, 0, 1)))


def is_probe_far(state: State, options: ReconstructOptions) -> bool:
    """Whether the next cycle belongs to the warm-up: corrected at every position until the probe is near its place.

    At every position a probe gets there in three cycles instead of thirty; started earlier, or from a probe that is
    near, it leaves slow ripples in the object's phase that take hundreds of cycles to go.
    """
    since = state.cycle - options.probe_start - CYCLES_BEFORE_WARMUP
    if not 0 <= since < options.probe_warmup:
        return False
    return float(np.linalg.norm(state.velocity)) > FAR_STEP * float(np.linalg.norm(state.probe))


def object_inertia(state: State, error: float, options: ReconstructOptions) -> float:
    """Share of its last step that the object takes again after a cycle with R ``error``; none after a stumble."""
    if state.cycle < CYCLES_BEFORE_MOMENTUM or not error < STUMBLE * state.errors[-1]:
        return 0.0
    return options.object_momentum
