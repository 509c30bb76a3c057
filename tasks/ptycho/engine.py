"""The loop: cycles over a scan, from one explicit state to the next.

ePIE after Maiden & Rodenburg, Ultramicroscopy 109, 1256 (2009). By default the probe's correction is gathered over a
cycle, both have momentum, and the object's step settles over the last cycles, which averages the photon noise that a
full step keeps stirring (`ReconstructOptions.probe_update`, ``settle``).
"""

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.options import ReconstructOptions
from tasks.ptycho.beam import lasting_momentum
from tasks.ptycho.coherence import ASKED_AFTER, EXCESS, MOST_MODES, PAYS, TRIAL_CYCLES, has_stalled, noise_misfit
from tasks.ptycho.cycle import Frames, gather_probe_over_cycle, place, prepare, update_probe_by_position
from tasks.ptycho.flux import levelled
from tasks.ptycho.pace import has_begun_to_settle, has_settled, is_probe_far, object_inertia, object_step_size
from tasks.ptycho.placement import corrected, is_due, misfit_slopes
from tasks.ptycho.scan import Canvas, Scan
from tasks.ptycho.state import Image, State, orthogonalised, with_another_mode

Request = tuple[jax.Array, jax.Array, Frames, jax.Array, float, float | None]
"""Arguments of `gather_probe_over_cycle`."""
Answer = tuple[jax.Array, jax.Array, jax.Array]
"""What it returns."""
T = TypeVar("T")
Cycles = Generator[Request, Answer | None, T]
"""Cycles of one energy: each gathered one is asked for, and its answer sent in; then what comes of them."""

LEVEL_EVERY = 20
"""Cycles between two levellings of the vacuum, where the flux of the frames is free."""


class CycleInputs(NamedTuple):
    """What is measured, and where: it stays with the energy while its state goes on."""

    scan: Scan
    canvas: Canvas
    frames: Frames
    """Where `State.placement` puts them."""
    photons: float
    """On good pixels of all frames."""


def run_cycles(
    scan: Scan,
    canvas: Canvas,
    state: State,
    n_cycles: int,
    options: ReconstructOptions,
    on_cycle: Callable[[int, float], None] | None = None,
) -> State:
    """Run ``n_cycles`` more cycles, fewer where R has settled and the options say to stop there.

    Parameters are those of `cycles_of`.
    """
    return alone(cycles_of(scan, canvas, state, n_cycles, options, on_cycle))


def alone(cycles: Cycles[T]) -> T:
    """Run the cycles of one energy, one by one."""
    answer = None
    try:
        while True:
            # a request that had a name would keep its frames while those who asked go on
            answer = gather_probe_over_cycle(*cycles.send(answer))
    except StopIteration as end:
        return end.value


def cycles_of(
    scan: Scan,
    canvas: Canvas,
    state: State,
    n_cycles: int,
    options: ReconstructOptions,
    on_cycle: Callable[[int, float], None] | None = None,
) -> Cycles[State]:
    """The same, asking for every gathered cycle instead of running it: several energies can then run theirs together.

    Parameters
    ----------
    scan : Scan
    canvas : Canvas
        Of the scan's energy (`plan_canvas`).
    state : State
        Where to start from; it is not changed.
    n_cycles : int
    options : ReconstructOptions
    on_cycle : callable, optional
        Called after each cycle with its number and R, and after each cycle of a mode's trial with the number of the last
        cycle before it; what it raises ends the reconstruction.
    """
    light = CycleInputs(scan, canvas, *prepare(scan, canvas, options.subpixel, state.placement(len(scan.counts))))
    end = state.cycle + n_cycles
    while state.cycle < end and not state.is_stopped:
        if state.cycle + TRIAL_CYCLES <= end and is_mode_missing(state, light, options):
            state, light = yield from _try_another_mode(light, state, options, on_cycle)
        if state.cycle < end and not state.is_stopped:
            state, light = yield from _one_cycle(light, state, options)
        if on_cycle is not None:
            on_cycle(state.cycle, float(state.errors[-1]))
    noise = noise_misfit(jnp.asarray(state.object), jnp.asarray(state.probe), light.frames) / light.photons
    state = replace(state, noise_error=noise if math.isfinite(noise) else None)
    image, probe, velocity, object_velocity = map(np.asarray, (state.object, state.probe, state.velocity, state.object_velocity))
    state = replace(state, object=image, probe=probe, velocity=velocity, object_velocity=object_velocity)
    return orthogonalised(state) if len(state.probe) > 1 else state


def _try_another_mode(
    light: CycleInputs, state: State, options: ReconstructOptions, on_cycle: Callable[[int, float], None] | None
) -> Cycles[tuple[State, CycleInputs]]:
    """Some cycles more with another mode; without them where R does not show that it was missing."""
    tried, seen = with_another_mode(state), light
    for _ in range(TRIAL_CYCLES):
        tried, seen = yield from _one_cycle(seen, tried, options)
        if on_cycle is not None:
            on_cycle(state.cycle, float(tried.errors[-1]))
    return (tried, seen) if tried.errors[-1] < PAYS * state.errors[-1] else (state, light)


def _one_cycle(light: CycleInputs, state: State, options: ReconstructOptions) -> Cycles[tuple[State, CycleInputs]]:
    """The state after one cycle more, and the light as far as it is known then."""
    state, misfit = yield from _visit_all(light, state, options)
    state = replace(state, errors=np.append(state.errors, np.float32(misfit / light.photons)))
    if has_settled(state, options):
        state = replace(state, stops_after=math.ceil(state.cycle / (1 - options.settle)))
    return _corrected_placement(light, state, options) if is_due(state.cycle, options) else (state, light)


def _corrected_placement(light: CycleInputs, state: State, options: ReconstructOptions) -> tuple[State, CycleInputs]:
    """The state with corrected positions and flux, and the frames put there."""
    scan, canvas, frames, _ = light
    slopes = misfit_slopes(jnp.asarray(state.object), jnp.asarray(state.probe), frames)
    corners = canvas.corners_px(scan.positions_m, scan.n_pixels)
    found = corrected(state.placement(len(corners)), slopes, corners, options)
    if options.frame_flux and state.cycle % LEVEL_EVERY < options.refine_every:
        image, probe, found = levelled(scan, canvas, np.asarray(state.object), np.asarray(state.probe), found)
        state = replace(state, object=image, probe=probe)
    state = replace(state, displacement_px=found.displacement_px, scale=found.scale)
    return state, light._replace(frames=place(frames.amplitude, len(frames.copy_ramp) > 0, scan, canvas, found))


def is_mode_missing(state: State, light: CycleInputs, options: ReconstructOptions) -> bool:
    """Whether R no longer falls and yet lies clearly above what photon noise leaves, and a mode more can be tried.

    Not where the trial would reach into the cycles in which the object settles: R falls there in any case.
    """
    grows = options.probe_modes == "auto" and options.probe_update == "cycle" and len(state.probe) < MOST_MODES
    has_time = not has_begun_to_settle(replace(state, cycle=state.cycle + TRIAL_CYCLES), options)
    if not (grows and has_time and state.cycle in ASKED_AFTER and has_stalled(state.errors)):
        return False
    noise = noise_misfit(jnp.asarray(state.object), jnp.asarray(state.probe), light.frames)
    return float(state.errors[-1]) * light.photons > EXCESS * noise


def _visit_all(light: CycleInputs, state: State, options: ReconstructOptions) -> Cycles[tuple[State, float]]:
    """The next state, its arrays still on JAX's device, and the misfit [photons]."""
    frames, photons = light.frames, light.photons
    order = jnp.asarray(np.random.default_rng([state.seed, state.cycle]).permutation(len(frames.corner)))
    alpha = object_step_size(state.cycle, options, state.stops_after)
    beta = options.beta if state.cycle >= options.probe_start else 0.0
    image, probe, velocity = (jnp.array(array) for array in (state.object, state.probe, state.velocity))
    if options.probe_update == "position":
        image, probe, velocity, object_velocity, misfit = _by_position(
            (image, probe, velocity, jnp.array(state.object_velocity)), frames, order, (alpha, beta), options
        )
    elif is_probe_far(state, options):
        image, probe, misfit = update_probe_by_position(image, probe, frames, order, alpha, beta)
        object_velocity = jnp.zeros_like(image)
    else:
        share = options.regularisation if options.regularisation < 1 else None
        answer = yield image, probe, frames, order, alpha, share
        assert answer is not None
        image, step, misfit = answer
        moved_meanwhile = is_probe_far(replace(state, cycle=state.cycle - 1), options)
        momentum = lasting_momentum(options.momentum, probe, light.scan.mask)
        velocity = (0.0 if moved_meanwhile else momentum) * velocity + beta * step
        probe = probe + beta * step + momentum * velocity
        inertia = object_inertia(state, float(misfit) / photons, options)
        object_velocity = image - state.object + inertia * state.object_velocity
        image = image + inertia * object_velocity
    state = replace(state, object=image, probe=probe, velocity=velocity, object_velocity=object_velocity, cycle=state.cycle + 1)
    return state, float(misfit)


def _by_position(
    moving: tuple[Image, Image, Image, Image],
    frames: Frames,
    order: jax.Array,
    steps: tuple[float, float],
    options: ReconstructOptions,
) -> tuple[Image, Image, Image, Image, Any]:
    """ePIE, rPIE or mPIE: object, probe and their velocities (probe's first) after one cycle, and the misfit.

    Momentum: Maiden, Johnson & Li, Optica 4, 736 (2017), after every ``momentum_every`` positions.
    """
    image, probe, velocity, object_velocity = moving
    shares = (options.regularisation, options.probe_regularisation)
    regularisation = shares if min(shares) < 1 else None
    if not options.momentum_every:
        image, probe, misfit = update_probe_by_position(image, probe, frames, order, *steps, regularisation)
        return image, probe, velocity, object_velocity, misfit
    total = 0.0
    for part in jnp.split(order, np.arange(options.momentum_every, len(order), options.momentum_every)):
        image_before, probe_before = jnp.array(image), jnp.array(probe)
        image, probe, misfit = update_probe_by_position(image, probe, frames, part, *steps, regularisation)
        object_velocity = options.object_momentum * object_velocity + image - image_before
        velocity = options.momentum * velocity + probe - probe_before
        image, probe = image + options.object_momentum * object_velocity, probe + options.momentum * velocity
        total = total + misfit
    return image, probe, velocity, object_velocity, total
