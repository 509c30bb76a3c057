"""The compiled kernels of one cycle: a visit to every scan position that updates object and probe.

There are two. `update_probe_by_position` is ePIE as published: object and probe are updated at every position.
`gather_probe_over_cycle` updates the object at every position and sums the probe's update over the whole cycle: each frame's
noise reaches the probe once, divided by the number of frames, and does not cause slow ripples in the object's phase. It is
also cheaper at positions between pixels: the probe is constant during a cycle, so its displaced copies are computed once.
"""

import math
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.ptycho.kernels.constraints import intensity, modulus_correction, object_step, probe_step, regularised
from tasks.ptycho.kernels.propagation import back_propagate, displace, displace_adjoint, far_field, frequency_ramps, shift_ramps
from tasks.ptycho.scan import Canvas, Placement, Scan, measured_placement

FRACTIONS_PER_PX = 4
"""Number of displaced copies of the probe along each pixel, at the middles of equal parts; in between, its gradient is used."""

ALIGNMENT = 64
"""Alignment of arrays [bytes]; XLA copies an array that begins elsewhere."""

SHARED = 0.5
"""Modulus of the mean phasor of the fractions above which all positions are taken to share one fraction."""

MIDDLES = (np.arange(FRACTIONS_PER_PX) + 0.5) / FRACTIONS_PER_PX - 0.5
COPIES_PX = np.stack(np.meshgrid(MIDDLES, MIDDLES, indexing="ij"), axis=-1).reshape(-1, 2)
"""(B, 2) displacements of the copies before a scan's `copies_offset` [px]; always all, so that energies share one compilation."""


class Frames(NamedTuple):
    """A scan as the kernels read it: beam centre at [0, 0], corners split into whole pixels and fractions."""

    amplitude: jax.Array
    """(P, N, N) float32: sqrt counts, -1 where masked or saturated."""
    corner: jax.Array
    """(P, 2) int32."""
    ramp: jax.Array
    """(P, 2, N) complex64: displaces the probe by the position's fraction of a pixel."""
    copy: jax.Array
    """(P,) int32: index of the displaced copy nearest to the fraction."""
    copy_ramp: jax.Array
    """(B, 2, N) complex64: displaces the probe to each copy; (0, 2, N) where positions are rounded to whole pixels."""
    remainder: jax.Array
    """(P, 2) float32: from the copy to the fraction [px], at most an eighth."""
    gain: jax.Array
    """(P,) float32: multiplies the amplitudes; the inverse of the frame's scale."""


def prepare(scan: Scan, canvas: Canvas, subpixel: bool, placement: Placement | None = None) -> tuple[Frames, float]:
    """Frames of a scan, and the sum of its counts over good pixels.

    Parameters
    ----------
    scan : Scan
    canvas : Canvas
    subpixel : bool
        Keep the fractions of a pixel of the positions; else round positions to whole pixels.
    placement : Placement, optional
        Corrections of positions and flux; measured values are used where it is not given.
    """
    patterns, total = amplitudes(scan)
    placement = placement or measured_placement(len(scan.counts))
    return place_frames(to_device(patterns), subpixel, scan, canvas, placement), total


def amplitudes(scan: Scan) -> tuple[NDArray[np.float32], float]:
    """(P, N, N) float32 square roots of the counts, beam centre at [0, 0], -1 where masked or saturated; and their photons.

    Frames are converted block by block, so that memory holds no third array of the counts' size.
    """
    patterns = empty_aligned(scan.counts.shape)
    total = 0.0
    for frames, counts, good in scan.blocks():
        seen = np.where(good, np.sqrt(counts, dtype=np.float32), np.float32(-1))
        patterns[frames] = np.fft.ifftshift(seen, axes=(1, 2))
        total += float(np.sum(counts, where=good, dtype=float))
    return patterns, total


def empty_aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An uninitialised float32 array of this shape that begins at a multiple of `ALIGNMENT`."""
    n_bytes = math.prod(shape) * 4
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes].view(np.float32).reshape(shape)


def to_device(patterns: NDArray[np.float32]) -> jax.Array:
    """The patterns as a JAX array, without a copy on a CPU: they must not be written to any more."""
    return jnp.from_dlpack(patterns) if jax.default_backend() == "cpu" else jnp.asarray(patterns)


def place_frames(patterns: jax.Array, subpixel: bool, scan: Scan, canvas: Canvas, placement: Placement) -> Frames:
    """The frames (P, N, N) at the positions and with the scales of ``placement``; positions are rounded without ``subpixel``."""
    exact = placement.corners_px(scan, canvas)
    offset = copies_offset(exact) * subpixel
    corner = np.rint(exact - offset)
    fraction = (exact - corner) * subpixel
    part = np.clip(np.floor((fraction - offset + 0.5) * FRACTIONS_PER_PX), 0, FRACTIONS_PER_PX - 1).astype(int)
    copy = part @ [FRACTIONS_PER_PX, 1]
    copies_px = COPIES_PX + offset
    return Frames(
        amplitude=patterns,
        corner=jnp.asarray(corner, jnp.int32),
        ramp=jnp.asarray(shift_ramps(fraction, scan.n_pixels)),
        copy=jnp.asarray(copy, jnp.int32),
        copy_ramp=jnp.asarray(shift_ramps(copies_px[: len(copies_px) * subpixel], scan.n_pixels)),
        remainder=jnp.asarray(fraction - copies_px[copy], jnp.float32),
        gain=jnp.asarray(1 / placement.scale, jnp.float32),
    )


def copies_offset(corners_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) float64: displacement of all copies towards the fraction that most of the scan's positions share [px].

    The gathered update is displaced back from its copy without the remainder. Over many fractions that averages out, and the
    offset is zero; where most positions share one fraction (a raster of whole pixels) it would rotate the phase of every step
    of the probe's highest frequencies, and momentum would amplify them.
    """
    phasors = np.exp(2j * np.pi * FRACTIONS_PER_PX * (corners_px - MIDDLES[0])).mean(axis=0)
    return np.where(np.abs(phasors) > SHARED, np.angle(phasors) / (2 * np.pi * FRACTIONS_PER_PX), 0.0)


Triple: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]


@partial(jax.jit, donate_argnums=(0, 1))
def update_probe_by_position(
    object_: jax.Array,
    probe: jax.Array,
    frames: Frames,
    order: jax.Array,
    alpha: float,
    beta: float,
    regularisation: tuple[float, float] | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One cycle of ePIE: update object and probe at every position in ``order``.

    Parameters
    ----------
    object_ : (Y, X) complex64
        Its buffer is reused (donated), as the probe's.
    probe : (M, N, N) complex64 [sqrt photons]
    frames : Frames
    order : (P,) int
    alpha, beta : float
        Step sizes of object and probe.
    regularisation : (object, probe), optional
        Shares as of `regularised`, which make the steps rPIE's.

    Returns
    -------
    object_ : (Y, X) complex64
    probe : (M, N, N) complex64
    misfit : float32
        Summed over positions [photons].
    """
    of_object, of_probe = regularisation or (None, None)
    size = frames.amplitude.shape[1:]

    def visit(carry: Triple, ps: tuple[jax.Array, jax.Array]) -> tuple[Triple, jax.Array]:
        object_, spectrum, patch = carry
        p, following = ps
        displaced = displace(spectrum, frames.ramp[p])
        correction = modulus_correction(far_field(patch * displaced), frames.gain[p] * frames.amplitude[p])
        change = back_propagate(correction)
        step = alpha / regularised(intensity(displaced), of_object)
        object_ = jax.lax.dynamic_update_slice(object_, object_step(patch, displaced, change, step), frames.corner[p])
        spectrum = spectrum + displace_adjoint(probe_step(patch, change, beta, of_probe), frames.ramp[p])
        next_patch = jax.lax.dynamic_slice(object_, frames.corner[following], size)
        return (object_, spectrum, next_patch), jnp.sum(intensity(correction))

    first = jax.lax.dynamic_slice(object_, frames.corner[order[0]], size)
    start = (object_, jnp.fft.fft2(probe), first)
    (object_, spectrum, _), misfits = jax.lax.scan(visit, start, (order, jnp.roll(order, -1)))
    return object_, jnp.fft.ifft2(spectrum), jnp.sum(misfits)


class Sweep(NamedTuple):
    """The result of `gather_probe_over_cycle`."""

    object_: jax.Array
    """(Y, X) complex64."""
    probe_step: jax.Array
    """(M, N, N) complex64: what ``beta = 1`` adds to the probe, ``sum_p O* dpsi / (D/2 + max(D)/2)`` with ``D = sum_p |O|^2``."""
    misfit: jax.Array
    """float32: summed over positions [photons]."""


class Gathering(NamedTuple):
    """The carry of the scan over positions.

    It contains the patch of the next position: cut at the beginning of the next visit, after the update of the object, it would
    make XLA copy the whole object at every position.
    """

    object_: jax.Array
    """(Y, X) complex64."""
    patch: jax.Array
    """(N, N) complex64."""
    gathered: jax.Array
    """(B, M, N, N) complex64, or (M, N, N) where positions are whole pixels."""
    weight: jax.Array
    """(N, N) float32: ``sum_p |O|^2``."""
    misfit: jax.Array
    """(N, N) float32 [photons]: summed in each pixel, which costs less than a sum over pixels in each visit."""


@partial(jax.jit, donate_argnums=(0,))
def gather_probe_over_cycle(
    object_: jax.Array,
    probe: jax.Array,
    frames: Frames,
    order: jax.Array,
    alpha: float | jax.Array,
    regularisation: float | None = None,
) -> Sweep:
    """Update the object at every position in ``order`` under a constant probe, and sum up the probe's step.

    Parameters
    ----------
    object_ : (Y, X) complex64
        Its buffer is reused (donated).
    probe : (M, N, N) complex64 [sqrt photons]
    frames : Frames
    order : (P,) int
    alpha : float
        Step size of the object.
    regularisation : float, optional
        Share as of `regularised`, which makes the object's step rPIE's.
    """
    between, n = frames.copy_ramp.shape[0] > 0, frames.amplitude.shape[-1]
    copies = displaced_copies(probe, frames.copy_ramp) if between else ()
    size = alpha / jnp.max(intensity(probe))

    def displaced_to(p: jax.Array) -> jax.Array:
        if not between:
            return probe
        at, down, right = (one[frames.copy[p]] for one in copies)
        y, x = frames.remainder[p]
        displaced: jax.Array = at + y * down + x * right
        return displaced

    def cut(object_: jax.Array, p: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(object_, frames.corner[p], (n, n))

    def visit(carry: Gathering, ps: tuple[jax.Array, jax.Array]) -> tuple[Gathering, None]:
        p, following = ps
        object_, patch, gathered, weight, misfit = carry
        displaced = displaced_to(p)
        # the transform's factor N is undone by the inverse transform, so only the amplitude needs it
        correction = modulus_correction(jnp.fft.fft2(patch * displaced), n * frames.gain[p] * frames.amplitude[p])
        change = jnp.fft.ifft2(correction)
        step = size if regularisation is None else alpha / regularised(intensity(displaced), regularisation)
        object_ = jax.lax.dynamic_update_slice(object_, object_step(patch, displaced, change, step), frames.corner[p])
        gathered = add_at(gathered, patch.conj() * change, frames.copy[p] if between else None)
        weight = weight + patch.real**2 + patch.imag**2
        return Gathering(object_, cut(object_, following), gathered, weight, misfit + intensity(correction)), None

    nothing = jnp.zeros((*frames.copy_ramp.shape[:between], *probe.shape), jnp.complex64)
    plane = jnp.zeros((n, n), jnp.float32)
    start = Gathering(object_, cut(object_, order[0]), nothing, plane, plane)
    end, _ = jax.lax.scan(visit, start, (order, jnp.roll(order, -1)))
    total = sum_copies(end.gathered, frames.copy_ramp) if between else end.gathered
    return Sweep(end.object_, total / (0.5 * end.weight + 0.5 * jnp.max(end.weight)), jnp.sum(end.misfit) / n**2)


def add_at(gathered: jax.Array, values: jax.Array, copy: jax.Array | None) -> jax.Array:
    """``gathered`` (B, M, N, N) with ``values`` (M, N, N) added to one copy; (M, N, N) with all added where ``copy`` is None."""
    if copy is None:
        return gathered + values
    added: jax.Array = jax.lax.dynamic_update_index_in_dim(gathered, gathered[copy] + values, copy, 0)
    return added


def displaced_copies(probe: jax.Array, copy_ramp: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(B, M, N, N) complex64 each: the probe (M, N, N) displaced to every copy, and its gradients along y and x [1/px].

    A displacement by d more is ``copy + d . gradients`` to second order in d: at an eighth of a pixel the error of a
    wave at half the Nyquist frequency is 2 %, of a probe five pixels wide 0.1 %.
    """
    spectra = jnp.fft.fft2(probe)[None] * _ramp_plane(copy_ramp)[:, None]
    derivative = frequency_ramps(probe.shape[-1])
    return (
        jnp.fft.ifft2(spectra),
        jnp.fft.ifft2(spectra * derivative[:, None]),
        jnp.fft.ifft2(spectra * derivative[None, :]),
    )


def sum_copies(copies: jax.Array, copy_ramp: jax.Array) -> jax.Array:
    """(M, N, N) complex64: ``copies`` (B, M, N, N), each displaced back, summed; the adjoint of `displaced_copies`."""
    total: jax.Array = jnp.fft.ifft2(jnp.sum(jnp.fft.fft2(copies) * _ramp_plane(copy_ramp).conj()[:, None], axis=0))
    return total


def _ramp_plane(copy_ramp: jax.Array) -> jax.Array:
    """(B, N, N) complex64: the product of the ramps along y and x."""
    plane: jax.Array = copy_ramp[:, 0, :, None] * copy_ramp[:, 1, None, :]
    return plane
