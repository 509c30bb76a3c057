"""Amplitudes against their model, and what photon noise leaves of the misfit, which is known."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.ptycho.agreement import BRIGHT, SAMPLED_FRAMES, STEPS, Agreement, agreement, sampled_noise_misfit, share_left
from tasks.ptycho.kernels.cycle import Frames, prepare
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.resolution import PRTF_THRESHOLD, ring_numbers
from tasks.ptycho.scan import Canvas, Placement, Scan, plan_canvas
from tasks.simulation.specimen import SimulationOptions, simulate

SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)


@dataclass(frozen=True)
class Model:
    """An object of smooth random values (Y, X) under a probe (1, N, N), and a scan of it whose counts are to be replaced."""

    scan: Scan
    canvas: Canvas
    object: NDArray[np.complex64]
    probe: NDArray[np.complex64]

    def intensity(self) -> NDArray[np.float32]:
        """(P, N, N): what the model says of every frame, beam centre in the middle, without JAX."""
        n = self.scan.n_pixels
        frequency = np.fft.fftfreq(n)
        frames = []
        for corner in self.canvas.corners_px(self.scan.positions_m, n):
            whole = np.rint(corner).astype(int)
            rest = corner - whole
            ramp = np.exp(-2j * np.pi * (rest[0] * frequency[:, None] + rest[1] * frequency))
            patch = self.object[whole[0] : whole[0] + n, whole[1] : whole[1] + n]
            wave = np.fft.fft2(patch * np.fft.ifft2(np.fft.fft2(self.probe) * ramp), norm="ortho")
            frames.append(np.fft.fftshift(np.sum(np.abs(wave) ** 2, axis=0)))
        return np.stack(frames).astype(np.float32)

    def frames(self, counts: NDArray[Any], placement: Placement | None = None) -> Frames:
        """Frames of these counts as the kernels read them."""
        return prepare(replace(self.scan, counts=counts), self.canvas, True, placement)[0]

    def agreement(self, counts: NDArray[Any], placement: Placement | None = None) -> Agreement:
        """How the model agrees with these counts."""
        return agreement(jnp.asarray(self.object), jnp.asarray(self.probe), self.frames(counts, placement))


@lru_cache
def model(photons: float) -> Model:
    simulation = simulate(replace(SMALL, photons=photons))
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    rough = np.random.default_rng(3).normal(size=canvas.shape)
    object_ = np.exp(-0.1 + 0.5j * ndimage.gaussian_filter(rough, 2)).astype(np.complex64)
    probe = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, photons)
    return Model(scan, canvas, object_, probe)


def ring_means(frames: NDArray[Any]) -> NDArray[Any]:
    n = frames.shape[-1]
    ring = np.fft.fftshift(ring_numbers((n, n), 1.0, 1 / n)).ravel()
    return (np.bincount(ring, frames.mean(axis=0).ravel()) / np.bincount(ring))[: n // 2 + 1]


def test_transfer_is_one_for_the_exact_model_and_falls_with_the_photons() -> None:
    exact = model(1e6)
    np.testing.assert_allclose(exact.agreement(exact.intensity()).prtf[:-2], 1, atol=1e-3)  # at Nyquist a displaced probe is real
    dark = replace(exact, probe=0.1 * exact.probe)
    transfer = dark.agreement(np.random.default_rng(0).poisson(dark.intensity()).astype(np.uint16)).prtf
    mean = ring_means(dark.intensity())
    dim = (mean < 0.02) & np.isfinite(transfer)
    assert dim.any()
    assert (transfer[dim] < PRTF_THRESHOLD).all()
    assert transfer[0] > 0.9


def test_masked_pixels_do_not_count() -> None:
    its = model(1e6)
    its = replace(its, scan=replace(its.scan, mask=np.random.default_rng(1).random(its.scan.mask.shape) > 0.2))
    spoilt = its.scan.counts.copy()
    spoilt[:, ~its.scan.mask] = 1000
    found, clean = its.agreement(spoilt), its.agreement(its.scan.counts)
    np.testing.assert_array_equal(found.prtf, clean.prtf)
    assert found.noise_misfit == clean.noise_misfit


def test_the_noise_of_a_root_is_a_quarter_where_it_is_bright_and_twice_the_mean_where_it_is_dark() -> None:
    share = share_left()
    step = BRIGHT / STEPS
    assert share[-1] * BRIGHT**2 == pytest.approx(0.25, rel=0.005)
    assert share[1] == pytest.approx(2 - 2 * step, rel=0.01)


@pytest.mark.parametrize("photons", [1e3, 1e5, 1e7])
def test_what_photon_noise_leaves_is_what_counts_of_the_model_leave(photons: float) -> None:
    """Poisson counts of a known model, dark to bright, with frames of unlike flux and pixels that are masked."""
    rng, its = np.random.default_rng(3), model(photons)
    scale = rng.uniform(0.8, 1.2, len(its.scan.counts))
    its = replace(its, scan=replace(its.scan, mask=rng.random(its.scan.mask.shape) > 0.2))
    mean = scale[:, None, None] ** 2 * its.intensity()
    left = []
    for _ in range(40):
        counts = rng.poisson(mean)
        misfit = (np.sqrt(counts) - np.sqrt(mean)) ** 2 / scale[:, None, None] ** 2
        left.append(float(np.sum(misfit * its.scan.mask)))
    found = its.agreement(counts.astype(np.uint32), Placement(np.zeros((len(scale), 2)), scale))
    assert found.noise_misfit == pytest.approx(np.mean(left), rel=0.01)


def test_the_noise_of_a_long_scan_is_told_by_some_of_its_frames() -> None:
    """Frames that differ in flux along the scan."""
    its = model(1e5)
    scan, n = its.scan, 4 * SAMPLED_FRAMES // len(its.scan.counts) + 1
    counts = np.tile(scan.counts, (n, 1, 1))
    long = replace(its, scan=replace(scan, positions_m=np.tile(scan.positions_m, (n, 1))))
    frames = long.frames(counts, Placement(np.zeros((len(counts), 2)), np.linspace(0.8, 1.2, len(counts))))
    waves = jnp.ones(its.canvas.shape, jnp.complex64), jnp.asarray(its.probe)
    assert sampled_noise_misfit(*waves, frames) == pytest.approx(agreement(*waves, frames).noise_misfit, rel=0.01)
    few = frames._replace(**{name: value[:100] for name, value in frames._asdict().items() if name != "copy_ramp"})
    assert sampled_noise_misfit(*waves, few) == agreement(*waves, few).noise_misfit
