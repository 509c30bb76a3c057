"""Corrections of each frame's position and flux, measured by the diffraction patterns themselves.

For every frame a Gauss-Newton step of its misfit ``sum (sqrt I - s |F(d)|)^2`` in the displacement d of the probe and the
scale s, at the present object and probe, which follow in the next cycles. (The same misfit as Guizar-Sicairos & Fienup,
Opt. Express 16, 7264 (2008), who descend in all unknowns together.)

The data do not determine a displacement common to all frames, which moves the object, nor a common scale, which changes the
probe's power. With free scales they also leave ``exp(q(r))`` on the object, ``exp(-q(u))`` on the probe and ``exp(-q(r_p))`` on
the scale of the frame at r_p undetermined if q is a plane, and nearly so if it is a quadratic surface, which PIE would
need thousands of cycles to find. In vacuum |O| = 1, so ln|O| there is q: `fix_flux_gauge`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.errors import VacuumError
from tasks.gauge import field_of_view, find_vacuum, fit_quadratic_surface, quadratic_surface
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.kernels.constraints import SMALLEST_INTENSITY, intensity
from tasks.ptycho.kernels.cycle import Frames, displaced_copies
from tasks.ptycho.probe import pixel_coordinates
from tasks.ptycho.scan import Canvas, Placement, Scan, illumination

Array = NDArray[np.float64]

STEP_PRIOR_PX = 0.3
"""Expected size of a step [px]: a frame whose pattern does not depend on its position stays where it was measured."""
LONGEST_STEP_PX = 1.0
"""Along each axis: where frames are further off than the object's details are wide, the misfit is no parabola."""
LARGEST_SCALE_STEP = 0.2
"""Largest change of the logarithm of a scale in one step."""
MIN_VACUUM_FRACTION = 0.02
"""Share of the field that must be empty for the flux gauge to be fixed."""


class Slopes(NamedTuple):
    """Normal equations of each frame in its displacement along y and x [px] and the logarithm of its scale."""

    matrix: jax.Array
    """(P, 3, 3) float32."""
    vector: jax.Array
    """(P, 3) float32."""
    misfit: jax.Array
    """(P,) float32: mean (|F| - sqrt I)^2 of a pixel [photons]."""


@jax.jit
def misfit_slopes(object_: jax.Array, probe: jax.Array, frames: Frames) -> Slopes:
    """The normal equations of each frame's misfit under an object (Y, X) and a probe (M, N, N)."""
    between, n = frames.copy_ramp.shape[0] > 0, frames.amplitude.shape[-1]
    copies = displaced_copies(probe, frames.copy_ramp if between else jnp.ones((1, 2, n), jnp.complex64))

    def one_frame(p: jax.Array) -> Slopes:
        at, down, right = (copy[frames.copy[p] if between else 0] for copy in copies)
        y, x = frames.remainder[p] * between
        patch = jax.lax.dynamic_slice(object_, frames.corner[p], (n, n))
        wave, *steps = (jnp.fft.fft2(patch * one, norm="ortho") for one in (at + y * down + x * right, down, right))
        amplitude = frames.gain[p] * frames.amplitude[p]
        power = intensity(wave) + SMALLEST_INTENSITY
        inverse = jnp.where(amplitude < 0, 0.0, jax.lax.rsqrt(power))
        gradients = [inverse * jnp.sum(wave.real * step.real + wave.imag * step.imag, axis=0) for step in steps]
        model = inverse * power
        rows = jnp.stack([*gradients, model, jnp.where(amplitude < 0, 0.0, amplitude - model)]).reshape(4, n * n)
        products = jnp.matmul(rows, rows.T, precision="highest")
        return Slopes(products[:3, :3], products[:3, 3], products[3, 3] / n**2)

    slopes: Slopes = jax.lax.map(one_frame, jnp.arange(len(frames.corner)))
    return slopes


def is_due(cycle: int, options: ReconstructOptions) -> bool:
    """Whether placement is corrected after so many cycles."""
    wanted = options.position_refinement != "none" or options.frame_flux
    return wanted and cycle >= options.refine_start and (cycle - options.refine_start) % options.refine_every == 0


def corrected(placement: Placement, slopes: Slopes, corners_px: Array, options: ReconstructOptions) -> Placement:
    """The placement after one step: each frame by itself, or all by one affine map of their measured ``corners_px`` (P, 2)."""
    matrix, vector = (np.asarray(values, dtype=float) for values in (slopes.matrix, slopes.vector))
    displacement, scale = placement.displacement_px, placement.scale
    if options.frame_flux:
        scale = scale * np.exp(np.clip(vector[:, 2] / matrix[:, 2, 2], -LARGEST_SCALE_STEP, LARGEST_SCALE_STEP))
        scale = scale / np.sqrt(np.mean(scale**2))
    if options.position_refinement != "none":
        prior = np.eye(2) * float(np.mean(slopes.misfit)) / STEP_PRIOR_PX**2
        solve = affine_steps if options.position_refinement == "affine" else point_steps
        step = solve(matrix[:, :2, :2], vector[:, :2] - displacement @ prior, prior, corners_px)
        displacement = displacement + np.clip(step, -LONGEST_STEP_PX, LONGEST_STEP_PX)
        displacement = displacement - displacement.mean(axis=0)
    return Placement(displacement, scale)


def point_steps(matrix: Array, vector: Array, prior: Array, corners_px: Array) -> Array:
    """(P, 2) float64: every frame's own step [px]; ``prior`` (2, 2) is the prior precision of a displacement."""
    return np.asarray(np.linalg.solve(matrix + prior, vector[:, :, None])[:, :, 0])


def affine_steps(matrix: Array, vector: Array, prior: Array, corners_px: Array) -> Array:
    """(P, 2) float64: steps that are one affine map of the positions [px]: shift, scale, rotation and shear."""
    centred = corners_px - corners_px.mean(axis=0)
    terms = np.column_stack([np.ones(len(centred)), centred / max(np.abs(centred).max(), 1.0)])
    normal = np.einsum("pij,pk,pl->ikjl", matrix, terms, terms).reshape(6, 6) + np.kron(prior, np.eye(3))
    coefficients = np.linalg.solve(normal, np.einsum("pi,pk->ik", vector, terms).ravel()).reshape(2, 3)
    return np.asarray(terms @ coefficients.T)


def fix_flux_gauge(
    scan: Scan, canvas: Canvas, object_: NDArray[np.complex64], probe: NDArray[np.complex64], placement: Placement
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], Placement]:
    """Object (Y, X), probe (M, N, N) and placement in the gauge in which ln|O| is 0 in vacuum.

    They are returned unchanged where less than `MIN_VACUUM_FRACTION` of the field is empty.
    """
    dose = illumination(canvas, placement.positions_m(scan, canvas), probe)
    try:
        vacuum = find_vacuum(object_, field_of_view(dose), MIN_VACUUM_FRACTION)
    except VacuumError:
        return object_, probe, placement
    surface = fit_quadratic_surface(object_, vacuum, dose)
    surface[0] = 0.0
    n = scan.n_pixels
    middle = (np.array(canvas.shape) - 1) / 2
    y, x = (np.arange(side) - centre for side, centre in zip(canvas.shape, middle, strict=True))
    u = pixel_coordinates(n)
    at = placement.corners_px(scan, canvas) + n // 2 - middle
    scale = placement.scale * np.exp(quadratic_surface(surface, at[:, 0], at[:, 1]))
    mean = float(np.sqrt(np.mean(scale**2)))
    flat = object_ * np.exp(-quadratic_surface(surface, y[:, None], x[None, :]))
    bent = mean * probe * np.exp(quadratic_surface(surface, u[:, None], u[None, :]))
    return flat.astype(np.complex64), bent.astype(np.complex64), Placement(placement.displacement_px, scale / mean)
