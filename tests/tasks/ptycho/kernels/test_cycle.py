"""The resting probe's displaced copies: as good as the exact displacement, and gathered by their adjoint."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.ptycho.kernels.cycle import COPIES_PX, displaced_copies, gather_probe_over_cycle, prepare, sum_copies
from tasks.ptycho.kernels.propagation import displace, shift_ramps
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.scan import Canvas, Scan


@pytest.mark.parametrize(
    ("spec", "tolerance"), [(ProbeSpec("kb", 300e-9), 1e-3), (ProbeSpec("zone_plate", outer_zone_m=60e-9, defocus_m=2e-4), 0.02)]
)
def test_copies_with_gradient_reach_any_fraction(spec: ProbeSpec, tolerance: float) -> None:
    probe = jnp.asarray(initial_probe(spec, 5465.0, 15e-9, 64, 1.0))
    fraction = np.array([0.25 + 0.01, -0.5 + 0.02])
    copy = COPIES_PX[np.argmin(np.sum((COPIES_PX - fraction) ** 2, axis=1))]
    assert np.abs(fraction - copy).max() <= 0.125
    at, along_y, along_x = displaced_copies(probe, jnp.asarray(shift_ramps(copy[None], 64)))
    rest = fraction - copy
    reached = at[0] + rest[0] * along_y[0] + rest[1] * along_x[0]
    exact = displace(jnp.fft.fft2(probe), jnp.asarray(shift_ramps(fraction[None], 64)[0]))
    assert float(jnp.linalg.norm(reached - exact) / jnp.linalg.norm(exact)) < tolerance


def test_gathering_is_the_adjoint_of_copying() -> None:
    rng = np.random.default_rng(0)
    ramps = jnp.asarray(shift_ramps(rng.uniform(-0.5, 0.5, (5, 2)), 33))
    probe = (rng.normal(size=(2, 33, 33)) + 1j * rng.normal(size=(2, 33, 33))).astype(np.complex64)
    images = (rng.normal(size=(5, 2, 33, 33)) + 1j * rng.normal(size=(5, 2, 33, 33))).astype(np.complex64)
    forward = np.vdot(np.asarray(displaced_copies(jnp.asarray(probe), ramps)[0]), images)
    backward = np.vdot(probe, np.asarray(sum_copies(jnp.asarray(images), ramps)))
    assert forward == pytest.approx(backward, rel=1e-4)


def random_scan(seed: int, n: int = 32, side: int = 4) -> tuple[Scan, Canvas, NDArray[np.complex64]]:
    """Sixteen frames of a smooth random object under two modes, and a probe that is not quite the one that lit it."""
    rng = np.random.default_rng(seed)
    raster = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2) * 4.0
    positions = (raster + rng.uniform(-1, 1, raster.shape)) * 1e-8
    canvas = Canvas((64, 64), 1e-8, (-0.2e-6, -0.2e-6))
    probe = initial_probe(ProbeSpec("gaussian", 6e-8), 5465.0, 1e-8, n, 100.0 * n**2, n_modes=2)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 64, 64)), (0, 2, 2)) * 2
    waves = [wave for _, _, _, wave in visits(np.exp(-0.3 * np.abs(smooth[0]) + 1j * smooth[1]), 1.1j * probe, canvas, positions)]
    counts = np.fft.fftshift([rng.poisson(np.sum(np.abs(wave) ** 2, axis=0)) for wave in waves], axes=(1, 2))
    return Scan(counts.astype(np.uint16), positions, np.ones((n, n), bool), 5465.0, 1.0, 75e-6), canvas, probe


def visits(
    object_: NDArray[Any], probe: NDArray[Any], canvas: Canvas, positions: NDArray[np.float64]
) -> Iterator[tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield place, displacing ramp, displaced probe and far field of each position, in double precision."""
    n = probe.shape[-1]
    for corner in canvas.corners_px(positions, n):
        y, x = np.rint(corner).astype(int)
        ramp = np.multiply.outer(*[np.exp(-2j * np.pi * f * np.fft.fftfreq(n)) for f in corner - (y, x)])
        place = slice(y, y + n), slice(x, x + n)
        displaced = np.fft.ifft2(np.fft.fft2(probe) * ramp)
        yield place, ramp, displaced, np.fft.fft2(object_[place] * displaced, norm="ortho")


@pytest.mark.parametrize("subpixel", [True, False])
def test_energies_in_a_batch_are_what_they_are_alone(subpixel: bool) -> None:
    cases = [random_scan(seed) for seed in (0, 1, 2)]
    frames = [prepare(scan, canvas, subpixel)[0] for scan, canvas, _ in cases]
    order = jnp.asarray(np.random.default_rng(0).permutation(16))
    object_, probes = np.ones((64, 64), np.complex64), np.stack([probe for _, _, probe in cases])
    alone = [
        gather_probe_over_cycle(jnp.array(object_), probe, one, order, 1.0) for probe, one in zip(probes, frames, strict=True)
    ]
    stacked = jax.tree.map(lambda *arrays: jnp.stack(arrays), *frames)
    batched = jax.vmap(gather_probe_over_cycle, (0, 0, 0, None, None))
    together = batched(jnp.stack([object_] * 3), jnp.asarray(probes), stacked, order, 1.0)
    for k in range(3):
        for a, b in zip(alone[k], together, strict=True):
            np.testing.assert_allclose(a, b[k], rtol=1e-4, atol=2e-4 * float(np.abs(a).max()))


def test_a_gathered_cycle_is_what_its_equations_say() -> None:
    """One visit at a time in NumPy and double precision, the probe displaced exactly, its correction not only by copies."""
    scan, canvas, probe = random_scan(0)
    order = np.random.default_rng(7).permutation(len(scan.counts))
    frames, _ = prepare(scan, canvas, subpixel=True)
    found, step, _ = gather_probe_over_cycle(
        jnp.ones(canvas.shape, jnp.complex64), jnp.asarray(probe), frames, jnp.asarray(order), 1.0
    )
    object_, gathered = np.ones(canvas.shape, complex), np.zeros(probe.shape, complex)
    weight = np.zeros(scan.mask.shape)
    peak = np.max(np.sum(np.abs(probe) ** 2, axis=0))
    amplitude = np.fft.ifftshift(np.sqrt(scan.counts), axes=(1, 2))
    for p in order:
        ((place, ramp, displaced, far),) = visits(object_, probe, canvas, scan.positions_m[p : p + 1])
        patch = object_[place].copy()
        change = np.fft.ifft2(far * (amplitude[p] / np.sqrt(np.sum(np.abs(far) ** 2, axis=0)) - 1), norm="ortho")
        object_[place] += np.sum(displaced.conj() * change, axis=0) / peak
        gathered += np.fft.ifft2(np.fft.fft2(patch.conj() * change) * ramp.conj())
        weight += np.abs(patch) ** 2
    expected = gathered / (weight / 2 + weight.max() / 2)
    assert np.linalg.norm(found - object_) < 2e-2 * np.linalg.norm(object_ - 1)
    assert np.linalg.norm(step - expected) < 6e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("fraction", [0.0, 0.125, 0.3])
def test_copies_lie_where_a_raster_of_one_fraction_needs_them(fraction: tuple[float, float]) -> None:
    """Whole pixels, or all the same part of one: every frame's copy is exact, and nothing is left to the gradient."""
    scan, canvas, _ = random_scan(0)
    corners = np.rint(canvas.corners_px(scan.positions_m, 32)) + fraction
    positions = np.asarray(canvas.origin_m) + (corners + 16) * canvas.pixel_size_m
    frames, _ = prepare(replace(scan, positions_m=positions), canvas, subpixel=True)
    assert np.abs(frames.remainder).max() < 1e-4
    at = np.asarray(frames.corner) + np.angle(np.asarray(frames.copy_ramp)[np.asarray(frames.copy), :, 1]) * -32 / (2 * np.pi)
    np.testing.assert_allclose(at, corners, atol=1e-4)


def test_patterns_are_the_only_array_beside_the_counts() -> None:
    """A child's peak of memory while 100 MiB of patterns are made of 50 MiB of counts."""
    program = """
import pathlib
import numpy as np
from tasks.ptycho.kernels.cycle import amplitudes
from tasks.ptycho.scan import Scan
counts = np.ones((400, 256, 256), np.uint16)
scan = Scan(counts, np.zeros((400, 2)), np.ones((256, 256), bool), 5465.0, 1.0, 75e-6)
def peak():  # its own, where getrusage knows the parent's as well
    return next(int(line.split()[1]) for line in pathlib.Path("/proc/self/status").open() if line.startswith("VmHWM"))
before = peak()
patterns, photons = amplitudes(scan)
assert patterns.dtype == np.float32 and photons == counts.size
print((peak() - before) * 1024 / patterns.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.6
