"""ePIE: visit the scan positions in random order, correct object and probe at each (Maiden & Rodenburg 2009).

The state is explicit, so a reconstruction can stop after any cycle and go on elsewhere with the same result.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.options import ReconstructOptions
from tasks.ptycho.constraints import modulus_correction, object_step, probe_step
from tasks.ptycho.propagation import back_propagate, displace, displace_adjoint, far_field, shift_ramps
from tasks.ptycho.scan import Canvas, Scan


@dataclass(frozen=True)
class State:
    """All that a reconstruction needs to go on."""

    object: NDArray[np.complex64]
    """(Y, X) complex64."""
    probe: NDArray[np.complex64]
    """(M, N, N) complex64 [sqrt photons]."""
    cycle: int
    """Cycles done."""
    seed: int
    errors: NDArray[np.float32]
    """(cycle,) float32: R = sum (|F| - sqrt I)^2 / sum I of each cycle, over good pixels."""


@dataclass(frozen=True)
class Frames:
    """A scan as the engine reads it: beam centre at [0, 0], corners split in whole pixels and fractions."""

    amplitude: jax.Array
    """(P, N, N) float32: sqrt counts, -1 where masked or saturated."""
    corner: jax.Array
    """(P, 2) int32."""
    ramp: jax.Array
    """(P, 2, N) complex64."""
    total: float
    """Photons on good pixels, all frames."""


def start(canvas: Canvas, probe: NDArray[np.complex64], options: ReconstructOptions) -> State:
    """An empty object (transmission 1) and the first guess of the probe."""
    empty = np.ones(canvas.shape, np.complex64)
    return State(empty, probe.astype(np.complex64), 0, options.seed, np.empty(0, np.float32))


def run_cycles(
    scan: Scan,
    canvas: Canvas,
    state: State,
    n_cycles: int,
    options: ReconstructOptions,
    on_cycle: Callable[[int, float], None] | None = None,
) -> State:
    """Run ``n_cycles`` more cycles.

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
        Called after each cycle with its number and R; what it raises ends the reconstruction.
    """
    frames = prepare(scan, canvas, options.subpixel)
    image, probe = jnp.asarray(state.object), jnp.asarray(state.probe)
    errors = list(state.errors)
    for cycle in range(state.cycle, state.cycle + n_cycles):
        order = np.random.default_rng([state.seed, cycle]).permutation(len(frames.corner))
        beta = options.beta if cycle >= options.probe_start else 0.0
        image, probe, misfit = run_cycle(image, probe, frames.amplitude, frames.corner, frames.ramp, order, options.alpha, beta)
        errors.append(float(misfit) / frames.total)
        if on_cycle is not None:
            on_cycle(cycle + 1, errors[-1])
    done = state.cycle + n_cycles
    return replace(state, object=np.asarray(image), probe=np.asarray(probe), cycle=done, errors=np.asarray(errors, np.float32))


def prepare(scan: Scan, canvas: Canvas, subpixel: bool) -> Frames:
    """Counts to amplitudes and positions to corners; without ``subpixel`` the fractions are dropped."""
    saturated = scan.counts == np.iinfo(scan.counts.dtype).max if scan.counts.dtype.kind == "u" else False
    good = np.logical_and(scan.mask, ~np.asarray(saturated))
    amplitude = np.where(good, np.sqrt(scan.counts, dtype=np.float32), np.float32(-1))
    total = float(np.sum(scan.counts, where=good, dtype=float))
    exact = canvas.corners_px(scan.positions_m, scan.n_pixels)
    corner = np.rint(exact)
    ramp = shift_ramps((exact - corner) * subpixel, scan.n_pixels)
    centred = np.fft.ifftshift(amplitude, axes=(1, 2))
    return Frames(jnp.asarray(centred), jnp.asarray(corner, jnp.int32), jnp.asarray(ramp), total)


@partial(jax.jit, donate_argnums=(0, 1))
def run_cycle(
    image: jax.Array,
    probe: jax.Array,
    amplitude: jax.Array,
    corner: jax.Array,
    ramp: jax.Array,
    order: jax.Array,
    alpha: float,
    beta: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One visit to every position in ``order``; returns object, probe and the summed misfit [photons]."""
    size = amplitude.shape[1:]

    def visit(carry: tuple[jax.Array, jax.Array], p: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        image, spectrum = carry
        patch = jax.lax.dynamic_slice(image, corner[p], size)
        probe = displace(spectrum, ramp[p])
        correction, misfit = modulus_correction(far_field(patch * probe), amplitude[p])
        change = back_propagate(correction)
        image = jax.lax.dynamic_update_slice(image, object_step(patch, probe, change, alpha), corner[p])
        spectrum = spectrum + displace_adjoint(probe_step(patch, change, beta), ramp[p])
        return (image, spectrum), misfit

    (image, spectrum), misfits = jax.lax.scan(visit, (image, jnp.fft.fft2(probe)), order)
    return image, jnp.fft.ifft2(spectrum), jnp.sum(misfits)
