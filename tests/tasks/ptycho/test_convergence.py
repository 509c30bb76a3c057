"""What still changes of an object is measured against photon noise, and ``cycles="auto"`` ends when it is small."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.options.reconstruct import AUTO_CYCLES, ReconstructOptions
from tasks.ptycho.convergence import SMOOTHING_PX, Averages, relative_change
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.specimen import SimulationOptions, simulate

SHAPE = (96, 128)
DOSE = np.full(SHAPE, 1e4, np.float32)
NOISE = 1 / np.sqrt(2 * 1e4)
"""Standard error of A and of the phase of one pixel."""


def rough(seed: int = 0) -> NDArray[np.complex128]:
    """ln O of a smooth random object."""
    waves = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(2, *SHAPE)), (0, 4, 4))
    return np.asarray((-0.5 * np.abs(waves[0]) + 3j * waves[1]) / waves.std() * 0.1)


def as_object(logarithm: NDArray[np.complex128]) -> NDArray[np.complex64]:
    return np.asarray(np.exp(logarithm), np.complex64)


def test_a_slow_wave_counts_by_its_amplitude_over_the_noise() -> None:
    y, _ = np.indices(SHAPE)
    period_px, amplitude = 32, 0.02
    after = as_object(rough() + amplitude * np.sin(2 * np.pi * y / period_px))
    smoothed = amplitude * np.exp(-2 * (np.pi * SMOOTHING_PX / period_px) ** 2) / np.sqrt(2)
    assert relative_change(as_object(rough()), after, DOSE) == pytest.approx(smoothed / NOISE, rel=0.15)
    assert relative_change(as_object(rough()), after, DOSE, excess=4.0) == pytest.approx(smoothed / NOISE / 2, rel=0.15)


def test_noise_of_single_pixels_hardly_counts() -> None:
    noise = np.random.default_rng(1).normal(0, NOISE, (2, *SHAPE))
    assert relative_change(as_object(rough()), as_object(rough() + noise[0] + 1j * noise[1]), DOSE) < 0.2


def test_what_no_pattern_shows_is_no_change() -> None:
    y, x = np.indices(SHAPE)
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(rough()), (0.3, -0.2)))
    after = as_object(moved + 0.3 + 1j * (1.0 + 0.01 * y - 0.02 * x))
    assert relative_change(as_object(rough()), after, DOSE) < 0.1


def test_an_object_that_is_not_finite_never_converges() -> None:
    spoilt = as_object(rough())
    spoilt[40, 40] = np.nan
    assert relative_change(as_object(rough()), spoilt, DOSE) == np.inf


def test_averages_differ_by_what_still_moves() -> None:
    """A wave that decays: the difference of the averages tells what remains to within a factor of two."""
    y, _ = np.indices(SHAPE)
    wave = 0.05 * np.sin(2 * np.pi * y / 32)
    averages = Averages.of(as_object(rough() + wave))
    for cycle in range(1, 60):
        averages = averages.with_cycle(as_object(rough() + wave * np.exp(-cycle / 30)))
    remaining = relative_change(as_object(rough()), as_object(rough() + wave * np.exp(-2)), DOSE)
    assert 0.5 < averages.remaining_change(DOSE, 1.0) / remaining < 2


def test_averages_weigh_late_cycles_most() -> None:
    averages = Averages.of(np.zeros((2, 2), np.complex64))
    for cycle in range(1, 100):
        averages = averages.with_cycle(np.full((2, 2), cycle, np.complex64))
    assert np.abs(averages.long).mean() == pytest.approx(100 * 3 / 4, rel=0.02)
    assert np.abs(averages.short).mean() == pytest.approx(100 * 9 / 10, rel=0.02)


SMALL = SimulationOptions(
    n_energies=1, n_positions_side=7, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)


@cache
def reconstruct(photons: float, cycles: int | None = None) -> State:
    """One scan with ``cycles="auto"``, or with so many cycles."""
    simulation = simulate(replace(SMALL, photons=photons))
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = float(scan.counts.sum() / len(scan.counts))
    probe = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
    options = ReconstructOptions(cycles=cycles or "auto")
    return run(Reconstruction(scan, canvas, init(canvas, probe, options), options.max_cycles, options))


@pytest.mark.parametrize("photons", [pytest.param(1e6, marks=pytest.mark.study), 1e8])
def test_auto_ends_early_and_close_to_where_many_cycles_lead(photons: float) -> None:
    auto, long = reconstruct(photons), reconstruct(photons, 250)
    assert auto.cycle == auto.stops_after
    assert 60 <= auto.cycle < 250
    assert auto.errors[-1] < 1.1 * long.errors[-1]


def test_more_photons_take_more_cycles() -> None:
    assert reconstruct(1e6).cycle < reconstruct(1e8).cycle < AUTO_CYCLES
