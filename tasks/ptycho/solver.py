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
from jax.typing import ArrayLike
from numpy.typing import NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.agreement import agreement
from tasks.ptycho.kernels.cycle import Frames, gather_probe_over_cycle, prepare, update_probe_by_position
from tasks.ptycho.scan import Canvas, Scan
from tasks.ptycho.state import ComplexArray, State, orthogonalised, with_modes


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


class Waves(NamedTuple):
    """The arrays of a `State` that a cycle changes."""

    object: ComplexArray
    probe: ComplexArray
    object_momentum_buffer: ComplexArray
    probe_momentum_buffer: ComplexArray


class Sizes(NamedTuple):
    """The numbers of a `Rule` with ``probe_update="cycle"``, as the compiled cycle takes them; float32 arrays where stacked."""

    alpha: ArrayLike
    beta: ArrayLike
    object_momentum: ArrayLike
    probe_momentum: ArrayLike
    carried: ArrayLike
    """Share of the probe's momentum buffer that is carried over."""
    restart_misfit: ArrayLike
    """The object's momentum restarts at zero if the misfit is not below this value [photons]."""


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
    waves, order, sizes = _waves(state, inputs), _visiting_order(state, inputs), _sizes(rule, inputs)
    return _accept(state, inputs, *gathered_cycle(waves, inputs.frames, order, sizes, _below_one(rule.object_regularisation)))


def step_together(states: Sequence[State], inputs: Sequence[CycleInputs], rules: Sequence[Rule], frames: Frames) -> list[State]:
    """The states of several energies after one more cycle each, computed by one vectorised kernel.

    Parameters
    ----------
    states, inputs, rules : sequences, one item an energy
        Of equal `batch_key`.
    frames : Frames
        Those of ``inputs``, each array stacked along a new first axis.
    """
    waves = Waves(*map(jnp.stack, zip(*map(_waves, states, inputs), strict=True)))
    orders = np.stack([_visiting_order(*pair) for pair in zip(states, inputs, strict=True)])
    sizes = Sizes(*(np.asarray(one, np.float32) for one in zip(*map(_sizes, rules, inputs), strict=True)))
    vectorised = jax.vmap(gathered_cycle, (0, 0, 0, 0, None))
    stacked, misfits = vectorised(waves, frames, orders, sizes, _below_one(rules[0].object_regularisation))
    return [
        _accept(state, its, Waves(*(array[e] for array in stacked)), misfits[e])
        for e, (state, its) in enumerate(zip(states, inputs, strict=True))
    ]


@jax.jit
def gathered_cycle(
    waves: Waves, frames: Frames, order: ArrayLike, sizes: Sizes, regularisation: float | None
) -> tuple[Waves, jax.Array]:
    """One cycle with the probe updated after the last position: a sweep over all positions, then both momenta, as one kernel.

    Parameters
    ----------
    waves : Waves
    frames : Frames
    order : (P,) int32
    sizes : Sizes
    regularisation : float, optional
        As of `gather_probe_over_cycle`.

    Returns
    -------
    waves : Waves
    misfit : float32
        Summed over positions [photons].
    """
    object_, probe = jnp.asarray(waves.object), jnp.asarray(waves.probe)
    sweep = gather_probe_over_cycle(object_, probe, frames, order, sizes.alpha, regularisation)
    change = sizes.beta * sweep.probe_step
    probe_buffer = sizes.carried * waves.probe_momentum_buffer + change
    inertia = jnp.where(sweep.misfit < sizes.restart_misfit, sizes.object_momentum, 0.0)
    object_buffer = sweep.object_ - object_ + inertia * waves.object_momentum_buffer
    object_, probe = sweep.object_ + inertia * object_buffer, probe + change + sizes.probe_momentum * probe_buffer
    return Waves(object_, probe, object_buffer, probe_buffer), sweep.misfit


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
    """The final state: NumPy arrays, orthogonal modes, and how it agrees with the frames."""
    agrees = agreement(jnp.asarray(state.object), jnp.asarray(state.probe), inputs.frames)
    noise = agrees.noise_misfit / inputs.photons
    state = replace(
        state,
        object=np.asarray(state.object),
        probe=np.asarray(state.probe),
        probe_momentum_buffer=np.asarray(state.probe_momentum_buffer),
        object_momentum_buffer=np.asarray(state.object_momentum_buffer),
        prtf=agrees.prtf,
        noise_error=noise if math.isfinite(noise) else None,
    )
    return orthogonalised(state) if len(state.probe) > 1 else state


def _accept(state: State, inputs: CycleInputs, waves: Waves, misfit: jax.Array) -> State:
    """The state with the arrays and the misfit of one more cycle."""
    errors = np.append(state.errors, np.float32(float(misfit) / inputs.photons))
    frame_px = np.append(state.frame_px, np.int16(inputs.scan.n_pixels))
    return replace(state, **waves._asdict(), cycle=state.cycle + 1, errors=errors, frame_px=frame_px)


def _step_by_position(state: State, inputs: CycleInputs, rule: Rule) -> State:
    """One cycle of ePIE or rPIE, or of mPIE: with momentum after every ``momentum_every`` positions."""
    if rule.momentum_every:
        return _accept(state, inputs, *_cycle_with_momentum(state, inputs, rule))
    waves = _waves(state, inputs)
    # the kernel takes the memory of object and probe, which the caller's state still holds
    object_, probe = jnp.array(waves.object), jnp.array(waves.probe)
    order, shares = _visiting_order(state, inputs), _shares_below_one(rule)
    object_, probe, misfit = update_probe_by_position(object_, probe, inputs.frames, order, rule.alpha, rule.beta, shares)
    return _accept(state, inputs, Waves(object_, probe, jnp.zeros_like(object_), waves.probe_momentum_buffer), misfit)


def _cycle_with_momentum(state: State, inputs: CycleInputs, rule: Rule) -> tuple[Waves, jax.Array]:
    """Waves and misfit [photons] after a cycle of mPIE."""
    order, shares = _visiting_order(state, inputs), _shares_below_one(rule)
    object_, probe, object_buffer, probe_buffer = _waves(state, inputs)
    misfit = jnp.zeros(())
    for part in np.split(order, np.arange(rule.momentum_every, len(order), rule.momentum_every)):
        object_before, probe_before = object_, probe
        object_, probe, added = update_probe_by_position(
            jnp.array(object_), jnp.array(probe), inputs.frames, part, rule.alpha, rule.beta, shares
        )
        misfit = misfit + added
        object_buffer = rule.object_momentum * object_buffer + object_ - object_before
        probe_buffer = rule.probe_momentum * probe_buffer + probe - probe_before
        object_ = object_ + rule.object_momentum * object_buffer
        probe = probe + rule.probe_momentum * probe_buffer
    return Waves(object_, probe, object_buffer, probe_buffer), misfit


def _visiting_order(state: State, inputs: CycleInputs) -> NDArray[np.int32]:
    """(P,) int32: the random order of this cycle's visits, the same whenever the cycle is repeated."""
    return np.random.default_rng([state.seed, state.cycle]).permutation(len(inputs.frames.corner)).astype(np.int32)


def _waves(state: State, inputs: CycleInputs) -> Waves:
    """The arrays of a state, those of NumPy bound to the device of the frames.

    What a cycle makes of bound frames is bound as well: JAX would compile the first cycle, with arrays from NumPy, apart from all
    that follow.
    """
    device = inputs.frames.amplitude.sharding
    arrays = (getattr(state, name) for name in Waves._fields)
    return Waves(*(one if isinstance(one, jax.Array) else jax.device_put(one, device) for one in arrays))


def _sizes(rule: Rule, inputs: CycleInputs) -> Sizes:
    carried = 0.0 if rule.clears_probe_momentum else rule.probe_momentum
    restart_misfit = rule.restart_error * inputs.photons
    return Sizes(rule.alpha, rule.beta, rule.object_momentum, rule.probe_momentum, carried, restart_misfit)


def _below_one(share: float) -> float | None:
    """The regularisation's share, or None for plain ePIE, which is compiled without it."""
    return share if share < 1 else None


def _shares_below_one(rule: Rule) -> tuple[float, float] | None:
    """The shares of object and probe, or None for plain ePIE."""
    shares = (rule.object_regularisation, rule.probe_regularisation)
    return shares if min(shares) < 1 else None
