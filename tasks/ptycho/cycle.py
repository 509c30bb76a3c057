"""One cycle: a visit to every scan position, correcting object and probe.

Two rules. ``position`` is ePIE as published: object and probe are corrected at every position. ``cycle`` corrects the
object at every position and gathers the probe's correction over the whole cycle: each frame's noise reaches the probe
once, divided by the number of frames, and does not come back as slow ripples of the object's phase. It is also cheaper
between pixels: the probe stands still during a cycle, so its displaced copies are made once.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.ptycho.constraints import intensity, modulus_correction, object_step, probe_step, regularised
from tasks.ptycho.propagation import back_propagate, displace, displace_adjoint, far_field, frequency_ramps, shift_ramps
from tasks.ptycho.scan import Canvas, Placement, Scan, unmoved

FRACTIONS_PER_PX = 4
"""Displaced copies of the probe along each pixel, in the middles of equal parts; in between its gradient continues it."""

ALIGNMENT = 64
"""Bytes; XLA copies what begins elsewhere."""

SHARED = 0.5
"""Mean of the fractions' phasors above which they count as one and the same."""

MIDDLES = (np.arange(FRACTIONS_PER_PX) + 0.5) / FRACTIONS_PER_PX - 0.5
COPIES_PX = np.stack(np.meshgrid(MIDDLES, MIDDLES, indexing="ij"), axis=-1).reshape(-1, 2)
"""(B, 2) where the copies lie but for a scan's `copies_offset` [px]: always all, so that energies share one compilation."""


class Frames(NamedTuple):
    """A scan as the engine reads it: beam centre at [0, 0], corners split in whole pixels and fractions."""

    amplitude: jax.Array
    """(P, N, N) float32: sqrt counts, -1 where masked or saturated."""
    corner: jax.Array
    """(P, 2) int32."""
    ramp: jax.Array
    """(P, 2, N) complex64: displaces the probe by the position's fraction of a pixel."""
    copy: jax.Array
    """(P,) int32: the displaced copy nearest to the fraction."""
    copy_ramp: jax.Array
    """(B, 2, N) complex64: displaces the probe to each copy; (0, 2, N) where positions are whole pixels."""
    remainder: jax.Array
    """(P, 2) float32: from the copy to the fraction [px], at most an eighth."""
    gain: jax.Array
    """(P,) float32: multiplies the amplitudes; the inverse of the frame's scale."""


def prepare(scan: Scan, canvas: Canvas, subpixel: bool, placement: Placement | None = None) -> tuple[Frames, float]:
    """Frames of a scan, and its photons on good pixels; without ``subpixel`` fractions are dropped.

    ``placement`` corrects positions and flux; none takes them as they were measured.
    """
    patterns, total = amplitudes(scan)
    return place(taken_over(patterns), subpixel, scan, canvas, placement or unmoved(len(scan.counts))), total


def amplitudes(scan: Scan) -> tuple[NDArray[np.float32], float]:
    """(P, N, N): square roots of the counts, beam centre at [0, 0], -1 where masked or saturated; and the photons seen.

    Block by block: beside the counts there is nothing else of their size.
    """
    patterns = aligned(scan.counts.shape)
    total = 0.0
    for frames, counts, good in scan.blocks():
        seen = np.where(good, np.sqrt(counts, dtype=np.float32), np.float32(-1))
        patterns[frames] = np.fft.ifftshift(seen, axes=(1, 2))
        total += float(np.sum(counts, where=good, dtype=float))
    return patterns, total


def aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of this shape, not set, that begins at a multiple of `ALIGNMENT`."""
    n_bytes = math.prod(shape) * 4
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes].view(np.float32).reshape(shape)


def taken_over(patterns: NDArray[np.float32]) -> jax.Array:
    """The patterns as JAX has them: the very same memory where it computes there, not to be written to any more."""
    return jnp.from_dlpack(patterns) if jax.default_backend() == "cpu" else jnp.asarray(patterns)


def place(patterns: jax.Array, between: bool, scan: Scan, canvas: Canvas, placement: Placement) -> Frames:
    """The frames (P, N, N) where ``placement`` puts them, ``between`` pixels or not."""
    exact = placement.corners_px(scan, canvas)
    offset = copies_offset(exact) * between
    corner = np.rint(exact - offset)
    fraction = (exact - corner) * between
    part = np.clip(np.floor((fraction - offset + 0.5) * FRACTIONS_PER_PX), 0, FRACTIONS_PER_PX - 1).astype(int)
    copy = part @ [FRACTIONS_PER_PX, 1]
    copies_px = COPIES_PX + offset
    return Frames(
        amplitude=patterns,
        corner=jnp.asarray(corner, jnp.int32),
        ramp=jnp.asarray(shift_ramps(fraction, scan.n_pixels)),
        copy=jnp.asarray(copy, jnp.int32),
        copy_ramp=jnp.asarray(shift_ramps(copies_px[: len(copies_px) * between], scan.n_pixels)),
        remainder=jnp.asarray(fraction - copies_px[copy], jnp.float32),
        gain=jnp.asarray(1 / placement.scale, jnp.float32),
    )


def copies_offset(corners_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) float64: how far the copies are moved towards the fraction that most of the scan's positions share [px].

    What is gathered goes back from its copy without the remainder. Over many fractions that evens out, and nothing is moved;
    where most are the same (a raster of whole pixels) it would turn every step of the probe's finest waves, until momentum
    made them grow.
    """
    turns = np.exp(2j * np.pi * FRACTIONS_PER_PX * (corners_px - MIDDLES[0])).mean(axis=0)
    return np.where(np.abs(turns) > SHARED, np.angle(turns) / (2 * np.pi * FRACTIONS_PER_PX), 0.0)


Triple = tuple[jax.Array, jax.Array, jax.Array]


@partial(jax.jit, donate_argnums=(0, 1))
def update_probe_by_position(
    image: jax.Array,
    probe: jax.Array,
    frames: Frames,
    order: jax.Array,
    alpha: float,
    beta: float,
    regularisation: tuple[float, float] | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """ePIE: one visit to every position in ``order``; returns object, probe and the summed misfit [photons].

    ``regularisation`` of object and probe makes it rPIE.
    """
    of_object, of_probe = regularisation or (None, None)
    size = frames.amplitude.shape[1:]

    def visit(carry: Triple, ps: tuple[jax.Array, jax.Array]) -> tuple[Triple, jax.Array]:
        image, spectrum, patch = carry
        p, following = ps
        displaced = displace(spectrum, frames.ramp[p])
        correction = modulus_correction(far_field(patch * displaced), frames.gain[p] * frames.amplitude[p])
        change = back_propagate(correction)
        step = alpha / regularised(intensity(displaced), of_object)
        image = jax.lax.dynamic_update_slice(image, object_step(patch, displaced, change, step), frames.corner[p])
        spectrum = spectrum + displace_adjoint(probe_step(patch, change, beta, of_probe), frames.ramp[p])
        return (image, spectrum, jax.lax.dynamic_slice(image, frames.corner[following], size)), jnp.sum(intensity(correction))

    first = jax.lax.dynamic_slice(image, frames.corner[order[0]], size)
    start = (image, jnp.fft.fft2(probe), first)
    (image, spectrum, _), misfits = jax.lax.scan(visit, start, (order, jnp.roll(order, -1)))
    return image, jnp.fft.ifft2(spectrum), jnp.sum(misfits)


class Gathering(NamedTuple):
    """What goes from one position to the next.

    The patch of the next position travels along: cut inside its visit, beside the update of the object, it would make
    XLA copy the whole object at every position.
    """

    image: jax.Array
    """(Y, X) complex64."""
    patch: jax.Array
    """(N, N) complex64."""
    gathered: jax.Array
    """(B, M, N, N) complex64, or (M, N, N) where positions are whole pixels."""
    weight: jax.Array
    """(N, N) float32: ``sum_p |O|^2``."""
    misfit: jax.Array
    """(N, N) float32 [photons]: a sum in each pixel costs less than a sum over pixels in each visit."""


@partial(jax.jit, donate_argnums=(0,))
def gather_probe_over_cycle(
    image: jax.Array, probe: jax.Array, frames: Frames, order: jax.Array, alpha: float, regularisation: float | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Correct the object at every position in ``order`` under a resting probe; ``regularisation`` makes its step rPIE's.

    Returns
    -------
    image : (Y, X) complex64
    step : (M, N, N) complex64
        What ``beta = 1`` adds to the probe: ``sum_p O* dpsi / (D/2 + max(D)/2)`` with ``D = sum_p |O|^2``.
    misfit : float32
        Summed over positions [photons].
    """
    between, n = frames.copy_ramp.shape[0] > 0, frames.amplitude.shape[-1]
    copies = displaced_copies(probe, frames.copy_ramp) if between else ()
    size = alpha / jnp.max(intensity(probe))

    def displaced_to(p: jax.Array) -> jax.Array:
        if not between:
            return probe
        at, down, right = (one[frames.copy[p]] for one in copies)
        y, x = frames.remainder[p]
        return at + y * down + x * right

    def cut(image: jax.Array, p: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, frames.corner[p], (n, n))

    def visit(carry: Gathering, ps: tuple[jax.Array, jax.Array]) -> tuple[Gathering, None]:
        p, following = ps
        image, patch, gathered, weight, misfit = carry
        displaced = displaced_to(p)
        # the factor N of a transform there is undone on the way back: only the amplitude must follow
        correction = modulus_correction(jnp.fft.fft2(patch * displaced), n * frames.gain[p] * frames.amplitude[p])
        change = jnp.fft.ifft2(correction)
        step = size if regularisation is None else alpha / regularised(intensity(displaced), regularisation)
        image = jax.lax.dynamic_update_slice(image, object_step(patch, displaced, change, step), frames.corner[p])
        gathered = add_at(gathered, patch.conj() * change, frames.copy[p] if between else None)
        weight = weight + patch.real**2 + patch.imag**2
        return Gathering(image, cut(image, following), gathered, weight, misfit + intensity(correction)), None

    nothing = jnp.zeros((*frames.copy_ramp.shape[:between], *probe.shape), jnp.complex64)
    plane = jnp.zeros((n, n), jnp.float32)
    start = Gathering(image, cut(image, order[0]), nothing, plane, plane)
    end, _ = jax.lax.scan(visit, start, (order, jnp.roll(order, -1)))
    total = gather_copies(end.gathered, frames.copy_ramp) if between else end.gathered
    return end.image, total / (0.5 * end.weight + 0.5 * jnp.max(end.weight)), jnp.sum(end.misfit) / n**2


def add_at(gathered: jax.Array, values: jax.Array, copy: jax.Array | None) -> jax.Array:
    """``values`` (M, N, N) added to one copy of ``gathered`` (B, M, N, N), or to all there is."""
    if copy is None:
        return gathered + values
    return jax.lax.dynamic_update_index_in_dim(gathered, gathered[copy] + values, copy, 0)


def displaced_copies(probe: jax.Array, copy_ramp: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(B, M, N, N) complex64 each: the probe (M, N, N) at every copy's place, and its gradients along y and x [1/px].

    A displacement by d more is ``copy + d . gradients`` to second order in d: at an eighth of a pixel the error of a
    wave at half the Nyquist frequency is 2 %, of a probe five pixels wide 0.1 %.
    """
    spectra = jnp.fft.fft2(probe)[None] * _plane(copy_ramp)[:, None]
    derivative = frequency_ramps(probe.shape[-1])
    return (
        jnp.fft.ifft2(spectra),
        jnp.fft.ifft2(spectra * derivative[:, None]),
        jnp.fft.ifft2(spectra * derivative[None, :]),
    )


def gather_copies(images: jax.Array, copy_ramp: jax.Array) -> jax.Array:
    """(M, N, N) complex64: images (B, M, N, N), each displaced back from its copy's place, summed; adjoint of the copies."""
    return jnp.fft.ifft2(jnp.sum(jnp.fft.fft2(images) * _plane(copy_ramp).conj()[:, None], axis=0))


def _plane(copy_ramp: jax.Array) -> jax.Array:
    return copy_ramp[:, 0, :, None] * copy_ramp[:, 1, None, :]
