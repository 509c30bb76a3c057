"""Where each frame was and how bright: encoders and source, corrected by the diffraction patterns themselves.

For every frame a Gauss-Newton step of its misfit ``sum (sqrt I - s |F(d)|)^2`` in the displacement d of the probe and the
scale s, object and probe being what they are at the moment; they follow in the cycles after it. (The same misfit as
Guizar-Sicairos & Fienup, Opt. Express 16, 7264 (2008), who descend in all unknowns together.)

What the data cannot see stays: a displacement common to all frames moves the object, a common scale the probe.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.options import ReconstructOptions
from tasks.ptycho.constraints import SMALLEST_INTENSITY, intensity
from tasks.ptycho.cycle import Frames, displaced_copies
from tasks.ptycho.scan import Placement

Array = NDArray[np.float64]

STEP_PRIOR_PX = 0.3
"""Expected size of a step [px]: a frame that shows nothing of the object stays where it is."""
LONGEST_STEP_PX = 1.0
"""Along each axis: where frames are further off than the object's details are wide, the misfit is no parabola."""
LARGEST_SCALE_STEP = 0.2


class Slopes(NamedTuple):
    """Normal equations of each frame in its displacement along y and x [px] and the logarithm of its scale."""

    matrix: jax.Array
    """(P, 3, 3) float32."""
    vector: jax.Array
    """(P, 3) float32."""
    misfit: jax.Array
    """(P,) float32: mean (|F| - sqrt I)^2 of a pixel [photons]."""


@jax.jit
def misfit_slopes(image: jax.Array, probe: jax.Array, frames: Frames) -> Slopes:
    """How each frame's misfit changes with its place and scale, under object (Y, X) and probe (M, N, N)."""
    between, n = frames.copy_ramp.shape[0] > 0, frames.amplitude.shape[-1]
    copies = displaced_copies(probe, frames.copy_ramp if between else jnp.ones((1, 2, n), jnp.complex64))

    def one_frame(p: jax.Array) -> Slopes:
        at, down, right = (copy[frames.copy[p] if between else 0] for copy in copies)
        y, x = frames.remainder[p] * between
        patch = jax.lax.dynamic_slice(image, frames.corner[p], (n, n))
        wave, *steps = (jnp.fft.fft2(patch * one, norm="ortho") for one in (at + y * down + x * right, down, right))
        amplitude = frames.gain[p] * frames.amplitude[p]
        power = intensity(wave) + SMALLEST_INTENSITY
        inverse = jnp.where(amplitude < 0, 0.0, jax.lax.rsqrt(power))
        gradients = [inverse * jnp.sum(wave.real * step.real + wave.imag * step.imag, axis=0) for step in steps]
        model = inverse * power
        rows = jnp.stack([*gradients, model, jnp.where(amplitude < 0, 0.0, amplitude - model)]).reshape(4, n * n)
        products = jnp.matmul(rows, rows.T, precision="highest")
        return Slopes(products[:3, :3], products[:3, 3], products[3, 3] / n**2)

    return jax.lax.map(one_frame, jnp.arange(len(frames.corner)))


def is_due(cycle: int, options: ReconstructOptions) -> bool:
    """Whether placement is corrected after so many cycles."""
    wanted = options.position_refinement != "none" or options.frame_flux
    return wanted and cycle >= options.refine_start and (cycle - options.refine_start) % options.refine_every == 0


def corrected(placement: Placement, slopes: Slopes, corners_px: Array, options: ReconstructOptions) -> Placement:
    """One step on: each frame by itself, or all by one affine map of their measured ``corners_px`` (P, 2)."""
    matrix, vector = (np.asarray(values, dtype=float) for values in (slopes.matrix, slopes.vector))
    displacement, scale = placement.displacement_px, placement.scale
    if options.frame_flux:
        scale = scale * np.exp(np.clip(vector[:, 2] / matrix[:, 2, 2], -LARGEST_SCALE_STEP, LARGEST_SCALE_STEP))
        scale = scale / np.sqrt(np.mean(scale**2))
    if options.position_refinement != "none":
        known = np.eye(2) * float(np.mean(slopes.misfit)) / STEP_PRIOR_PX**2
        solve = affine_steps if options.position_refinement == "affine" else point_steps
        step = solve(matrix[:, :2, :2], vector[:, :2] - displacement @ known, known, corners_px)
        displacement = displacement + np.clip(step, -LONGEST_STEP_PX, LONGEST_STEP_PX)
        displacement = displacement - displacement.mean(axis=0)
    return Placement(displacement, scale)


def point_steps(matrix: Array, vector: Array, known: Array, corners_px: Array) -> Array:
    """(P, 2) float64: every frame's own step [px]; ``known`` (2, 2) is what is known of it beforehand."""
    return np.asarray(np.linalg.solve(matrix + known, vector[:, :, None])[:, :, 0])


def affine_steps(matrix: Array, vector: Array, known: Array, corners_px: Array) -> Array:
    """(P, 2) float64: steps that are one affine map of the positions [px]: shift, scale, rotation and shear."""
    centred = corners_px - corners_px.mean(axis=0)
    terms = np.column_stack([np.ones(len(centred)), centred / max(np.abs(centred).max(), 1.0)])
    normal = np.einsum("pij,pk,pl->ikjl", matrix, terms, terms).reshape(6, 6) + np.kron(known, np.eye(3))
    coefficients = np.linalg.solve(normal, np.einsum("pi,pk->ik", vector, terms).ravel()).reshape(2, 3)
    return np.asarray(terms @ coefficients.T)
