"""The schedule of a reconstruction: the rule of each cycle, from its step size to its momentum, and when R has converged."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.beam import momentum_for_hidden_beam
from tasks.ptycho.solver import Rule
from tasks.ptycho.state import State

CYCLES_BEFORE_MOMENTUM = 4
"""Cycles after which the object gathers momentum."""

OBJECT_MOMENTUM = 0.8
"""Momentum of the object by ``object_momentum="auto"`` while its details form and while its step falls."""

SLOW_WAVES_FROM = 20
"""Cycles after which the object's slow waves are what is left to change."""

SLOW_WAVES_MOMENTUM = 0.95
"""Momentum of the object from then on until its step falls: A's offset against the vacuum is after 110 cycles what 400 leave
with `OBJECT_MOMENTUM` (simulated specimens, 1e8 photons a frame). While the step falls it would add noise."""

RESTART_RATIO = 1.05
"""Adaptive restart (O'Donoghue & Candes, 2015): a cycle whose R is this many times the last one's empties the object's momentum
buffer.

Without it a probe a third too wide on a sparse scan diverges; photon noise alone moves R by less than a hundredth."""

FINAL_STEP = 0.1
"""The object's step in the last cycle, as a share of alpha."""

MAX_DECAY_CYCLES = 15
"""Cycles of the step decay that ``cycles="auto"`` takes at most: 14 leave what 30 do to one percent of A's error (simulated
specimens at 1e6 to 1e8 photons a frame), because the noise of the last visits is averaged in a few cycles."""

AVERAGED_CYCLES = 10
"""Cycles over which R is averaged to see whether it still falls."""

CYCLES_BEFORE_WARMUP = 4
"""Gathered steps of the probe after which it is decided whether it is still far."""

FAR_STEP = 0.04
"""A probe whose gathered step is this large, relative to its norm, after `CYCLES_BEFORE_WARMUP` is far from its solution.

Simulated specimens from guesses of the right width, whatever their defocus: 0.015 to 0.03; a third too wide or too
narrow: 0.055 and 0.07; the Siemens star of the tests, from any guess: 0.06 to 0.08."""


def choose_rule(state: State, options: ReconstructOptions, mask: NDArray[np.bool_]) -> Rule:
    """The rule of the next cycle.

    Parameters
    ----------
    state : State
    options : ReconstructOptions
    mask : (N, N) bool array
        True where the detector pixel is good.
    """
    last = None if state.stops_after is None else state.stops_after - state.first_cycle
    alpha = object_step_size(state.scheduled_cycle, options, last)
    beta = options.beta if state.scheduled_cycle >= options.probe_start else 0.0
    if options.probe_update == "position":
        shares = options.regularisation, options.probe_regularisation
        momenta = object_momentum(state, options), options.momentum
        return Rule("position", alpha, beta, *momenta, *shares, options.momentum_every)
    if is_probe_far(state, options):
        return Rule("position", alpha, beta, 0.0, 0.0)
    has_momentum = state.scheduled_cycle >= CYCLES_BEFORE_MOMENTUM
    return Rule(
        "cycle", alpha, beta,
        object_momentum=object_momentum(state, options) if has_momentum else 0.0,
        probe_momentum=momentum_for_hidden_beam(options.momentum, state.probe, mask),
        object_regularisation=options.regularisation,
        clears_probe_momentum=is_probe_far(replace(state, cycle=state.cycle - 1), options),
        restart_error=RESTART_RATIO * float(state.errors[-1]) if has_momentum else math.inf,
    )  # fmt: skip


def object_momentum(state: State, options: ReconstructOptions) -> float:
    """Share of its last step that the object takes again in the next cycle, once it gathers momentum."""
    if options.object_momentum != "auto":
        return options.object_momentum
    is_slow = state.scheduled_cycle >= SLOW_WAVES_FROM and not has_step_decay_begun(state, options)
    # momentum within a cycle (mPIE) stirs noise at every position
    return SLOW_WAVES_MOMENTUM if is_slow and options.probe_update == "cycle" else OBJECT_MOMENTUM


def object_step_size(cycle: int, options: ReconstructOptions, stops_after: int | None = None) -> float:
    """alpha in ``cycle`` (from 0): constant, then linear down to `FINAL_STEP` over the `decay_cycles`."""
    n_cycles = stops_after or options.max_cycles
    decaying = decay_cycles(n_cycles, options)
    left = (n_cycles - 1 - cycle) / decaying if decaying else 1.0
    return options.alpha * (FINAL_STEP + (1 - FINAL_STEP) * float(np.clip(left, 0, 1)))


def decay_cycles(n_cycles: int, options: ReconstructOptions) -> float:
    """Cycles at the end of ``n_cycles`` in which the object's step falls."""
    share = options.settle * n_cycles
    return min(share, MAX_DECAY_CYCLES) if options.cycles == "auto" else share


def has_step_decay_begun(state: State, options: ReconstructOptions) -> bool:
    """Whether the object's step has begun to fall, before the last cycle or before an early end."""
    n_cycles = options.max_cycles
    return state.stops_after is not None or state.scheduled_cycle >= n_cycles - decay_cycles(n_cycles, options)


def has_converged(state: State, options: ReconstructOptions) -> bool:
    """Whether R fell by less than ``stop_change`` over the last ten cycles; False once the step decay has begun."""
    if not options.stop_change or has_step_decay_begun(state, options) or state.scheduled_cycle < 2 * AVERAGED_CYCLES:
        return False
    windows = state.errors[-2 * AVERAGED_CYCLES : -AVERAGED_CYCLES], state.errors[-AVERAGED_CYCLES:]
    before, now = (float(np.mean(window)) for window in windows)
    return (1 - options.stop_change) * before < now <= before


def early_end(state: State, options: ReconstructOptions) -> int:
    """Number of cycles after which a reconstruction that has converged now ends: the step decay takes its share of all."""
    n_cycles = math.ceil(state.scheduled_cycle / (1 - options.settle))
    return state.first_cycle + min(n_cycles, math.ceil(state.scheduled_cycle + decay_cycles(n_cycles, options)))


def is_probe_far(state: State, options: ReconstructOptions) -> bool:
    """Whether the next cycle belongs to the warm-up, which updates a probe far from its solution at every position.

    At every position a probe converges in three cycles instead of thirty; begun earlier, or from a probe that is
    near, it leaves slow ripples in the object's phase that take hundreds of cycles to disappear.
    """
    since = state.scheduled_cycle - options.probe_start - CYCLES_BEFORE_WARMUP
    if not 0 <= since < options.probe_warmup:
        return False
    return float(np.linalg.norm(state.probe_momentum_buffer)) > FAR_STEP * float(np.linalg.norm(state.probe))
