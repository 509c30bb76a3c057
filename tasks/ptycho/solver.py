"""The iterative solver of one energy as pure functions: `init`, `step`, `terminate` and `postprocess`.

A step is one cycle over all scan positions under one `Rule`. The solver takes no decision: which rule comes next, whether
the probe needs another mode and when the reconstruction ends is decided by `tasks.ptycho.driver`.

ePIE after Maiden & Rodenburg, Ultramicroscopy 109, 1256 (2009); rPIE and mPIE after Maiden, Johnson & Li, Optica 4, 736 (2017).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.coherence import noise_misfit
from tasks.ptycho.cycle import Frames, Sweep, gather_probe_over_cycle, prepare, update_probe_by_position
from tasks.ptycho.scan import Canvas, Scan
from tasks.ptycho.state import State, orthogonalised, with_modes


class CycleInputs(NamedTuple):
    """The measurement of one energy, which stays the same while the state changes."""

    scan: Scan
    canvas: Canvas
    frames: Frames
    """The frames at the corrected positions (`State.placement`)."""
    photons: float
    """Sum of the counts over good pixels of all frames."""


@dataclass(frozen=True)
class Rule:
    """How one cycle updates object and probe."""

    probe_update: Literal["cycle", "position"]
    """Update the probe once, after the last position, or at every position."""
    alpha: float
    """Step size of the object."""
    beta: float
    """Step size of the probe."""
    object_momentum: float
    """Share of the object's momentum buffer that is added again."""
    probe_momentum: float
    """The same for the probe."""
    object_regularisation: float = 1.0
    """Share of the probe's peak intensity in the divisor of the object's step; 1 is ePIE, less is rPIE."""
    probe_regularisation: float = 1.0
    """The same for the probe's step (``probe_update="position"``)."""
    momentum_every: int = 0
    """Positions between two momentum steps (``probe_update="position"``); 0 gives none."""
    clears_probe_momentum: bool = False
    """Empty the probe's momentum buffer first (``probe_update="cycle"``)."""
    restart_error: float = math.inf
    """The object's momentum restarts at zero if this cycle's R is not below this value (``probe_update="cycle"``)."""


def init(canvas: Canvas, probe: NDArray[np.complex64], options: ReconstructOptions) -> State:
    """The state before the first cycle: an empty object (transmission 1) and the initial probe.

    Parameters
    ----------
    canvas : Canvas
        Of the scan's energy (`tasks.ptycho.scan.plan_canvas`).
    probe : (M, N, N) complex64 array [sqrt photons]
        Modes are added where ``options.probe_modes`` asks for more.
    options : ReconstructOptions
    """
    empty = np.ones(canvas.shape, np.complex64)
    probe = with_modes(probe, len(probe) if options.probe_modes == "auto" else options.probe_modes)
    return State(empty, probe, np.zeros_like(probe), np.zeros_like(empty), 0, options.seed, np.empty(0, np.float32))


def cycle_inputs(scan: Scan, canvas: Canvas, state: State, options: ReconstructOptions) -> CycleInputs:
    """The measurement as `step` takes it, at the positions and with the flux that ``state`` has found."""
    return CycleInputs(scan, canvas, *prepare(scan, canvas, options.subpixel, state.placement(len(scan.counts))))


def step(state: State, inputs: CycleInputs, rule: Rule) -> State:
    """The state after one more cycle; its arrays stay on JAX's device."""
    if rule.probe_update == "position":
        return _step_by_position(state, inputs, rule)
    sweep = gather_probe_over_cycle(
        jnp.array(state.object), jnp.asarray(state.probe), inputs.frames, _visiting_order(state, inputs), rule.alpha,
        _below_one(rule.object_regularisation),
    )  # fmt: skip
    return _advance(state, inputs, rule, sweep)


def step_together(states: Sequence[State], inputs: Sequence[CycleInputs], rules: Sequence[Rule], frames: Frames) -> list[State]:
    """The states of several energies after one more cycle each, computed by one vectorised kernel.

    Parameters
    ----------
    states, inputs, rules : sequences, one item an energy
        Of equal `batch_key`.
    frames : Frames
        Those of ``inputs``, each array stacked along a new first axis.
    """
    share = _below_one(rules[0].object_regularisation)
    orders = jnp.stack([_visiting_order(*pair) for pair in zip(states, inputs, strict=True)])

    def sweep(object_: jax.Array, probe: jax.Array, frames: Frames, order: jax.Array, alpha: jax.Array) -> Sweep:
        one: Sweep = gather_probe_over_cycle(object_, probe, frames, order, alpha, share)
        return one

    sweeps: Sweep = jax.vmap(sweep)(
        jnp.stack([state.object for state in states]), jnp.stack([state.probe for state in states]), frames, orders,
        jnp.asarray([rule.alpha for rule in rules], jnp.float32),
    )  # fmt: skip
    return [
        _advance(state, its, rule, Sweep(*(array[e] for array in sweeps)))
        for e, (state, its, rule) in enumerate(zip(states, inputs, rules, strict=True))
    ]


def batch_key(state: State, inputs: CycleInputs, rule: Rule) -> tuple[object, ...] | None:
    """What energies must have in common to be stepped together; None where this energy must be stepped alone."""
    if rule.probe_update == "position":
        return None
    frames = inputs.frames
    shapes = (state.object.shape, state.probe.shape, frames.amplitude.shape, frames.copy_ramp.shape)
    return (*shapes, rule.object_regularisation)


def terminate(state: State, n_cycles: int) -> bool:
    """Whether ``n_cycles`` are done or the reconstruction has ended early."""
    return state.cycle >= n_cycles or state.is_stopped


def postprocess(state: State, inputs: CycleInputs) -> State:
    """The final state: NumPy arrays, orthogonal modes, and the R that photon noise leaves."""
    noise = noise_misfit(jnp.asarray(state.object), jnp.asarray(state.probe), inputs.frames) / inputs.photons
    state = replace(
        state,
        object=np.asarray(state.object),
        probe=np.asarray(state.probe),
        probe_momentum_buffer=np.asarray(state.probe_momentum_buffer),
        object_momentum_buffer=np.asarray(state.object_momentum_buffer),
        noise_error=noise if math.isfinite(noise) else None,
    )
    return orthogonalised(state) if len(state.probe) > 1 else state


def _advance(state: State, inputs: CycleInputs, rule: Rule, sweep: Sweep) -> State:
    """Apply the gathered probe step and both momenta after a sweep over all positions."""
    error = float(sweep.misfit) / inputs.photons
    carried = 0.0 if rule.clears_probe_momentum else rule.probe_momentum
    probe_buffer = carried * jnp.asarray(state.probe_momentum_buffer) + rule.beta * sweep.probe_step
    inertia = rule.object_momentum if error < rule.restart_error else 0.0
    object_buffer = sweep.object_ - state.object + inertia * state.object_momentum_buffer
    return replace(
        state,
        object=sweep.object_ + inertia * object_buffer,
        probe=state.probe + rule.beta * sweep.probe_step + rule.probe_momentum * probe_buffer,
        probe_momentum_buffer=probe_buffer,
        object_momentum_buffer=object_buffer,
        cycle=state.cycle + 1,
        errors=np.append(state.errors, np.float32(error)),
    )


def _step_by_position(state: State, inputs: CycleInputs, rule: Rule) -> State:
    """One cycle of ePIE, rPIE or mPIE: momentum, if any, after every ``momentum_every`` positions."""
    frames, order = inputs.frames, _visiting_order(state, inputs)
    object_, probe, probe_buffer = (jnp.array(a) for a in (state.object, state.probe, state.probe_momentum_buffer))
    object_buffer = jnp.array(state.object_momentum_buffer)
    shares = (rule.object_regularisation, rule.probe_regularisation)
    regularisation = shares if min(shares) < 1 else None
    every = rule.momentum_every or len(order)
    misfit = jnp.zeros(())
    for part in jnp.split(order, np.arange(every, len(order), every)):
        object_before, probe_before = jnp.array(object_), jnp.array(probe)
        object_, probe, added = update_probe_by_position(object_, probe, frames, part, rule.alpha, rule.beta, regularisation)
        misfit = misfit + added
        if rule.momentum_every:
            object_buffer = rule.object_momentum * object_buffer + object_ - object_before
            probe_buffer = rule.probe_momentum * probe_buffer + probe - probe_before
            object_ = object_ + rule.object_momentum * object_buffer
            probe = probe + rule.probe_momentum * probe_buffer
    return replace(
        state,
        object=object_,
        probe=probe,
        probe_momentum_buffer=probe_buffer,
        object_momentum_buffer=object_buffer if rule.momentum_every else jnp.zeros_like(object_),
        cycle=state.cycle + 1,
        errors=np.append(state.errors, np.float32(float(misfit) / inputs.photons)),
    )


def _visiting_order(state: State, inputs: CycleInputs) -> jax.Array:
    """(P,): the random order of this cycle's visits, the same whenever the cycle is repeated."""
    return jnp.asarray(np.random.default_rng([state.seed, state.cycle]).permutation(len(inputs.frames.corner)))


def _below_one(share: float) -> float | None:
    """The regularisation's share, or None for plain ePIE, which is compiled without it."""
    return share if share < 1 else None
