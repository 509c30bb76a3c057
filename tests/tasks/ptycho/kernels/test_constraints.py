"""The far field of a real detector: what it does not see, or sees elsewhere, costs the object little."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.beam import centre_on_beam, fit_to_beam
from tasks.ptycho.driver import run
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init

N, PIXEL_M, STEP_PX, CYCLES = 48, 20e-9, 4, 80
ENERGY_EV, DETECTOR_PIXEL_M = 5465.0, 75e-6
PHOTONS = 1e7
Known = tuple[Scan, Canvas, NDArray[np.complex128], NDArray[np.complex64], NDArray[np.bool_]]
"""What `measure` returns."""


@pytest.fixture(scope="module")
def known() -> Known:
    """A beam that is three pixels wide on the detector."""
    return measure(ProbeSpec("gaussian", 220e-9, defocus_m=1e-4))


def measure(optics: ProbeSpec) -> Known:
    """An undamaged scan at whole pixels, its canvas, the true object, and a guess of the probe that is 5 % too wide."""
    rng = np.random.default_rng(5)
    raster = np.stack(np.meshgrid(np.arange(9), np.arange(9), indexing="ij"), axis=-1).reshape(-1, 2) * STEP_PX
    places = (raster + rng.integers(-1, 2, raster.shape)).astype(np.float64)
    positions_m = places * PIXEL_M
    canvas = plan_canvas(positions_m, PIXEL_M, N)
    corners = np.rint(canvas.corners_px(positions_m, N)).astype(int)
    y, x = np.indices(canvas.shape) - np.reshape(canvas.shape, (2, 1, 1)) / 2
    rough = ndimage.gaussian_filter(rng.normal(size=canvas.shape), 2) * 4
    thickness = np.clip(1.2 - np.hypot(y, x) / 16 + 0.4 * rough, 0, None)
    object_ = np.exp(-(0.15 + 1j) * 0.5 * thickness)
    true, guess = (
        initial_probe(replace(optics, fwhm_m=width), ENERGY_EV, PIXEL_M, N, PHOTONS)[0]
        for width in (optics.fwhm_m, optics.fwhm_m * 23 / 22)
    )
    waves = [np.fft.fft2(object_[y : y + N, x : x + N] * true, norm="ortho") for y, x in corners]
    counts = rng.poisson(np.fft.fftshift(np.abs(waves) ** 2, axes=(1, 2))).astype(np.uint32)
    wavelength_m = 1.239841984e-6 / ENERGY_EV
    distance_m = PIXEL_M * N * DETECTOR_PIXEL_M / wavelength_m
    scan = Scan(counts, positions_m, np.ones((N, N), bool), ENERGY_EV, distance_m, DETECTOR_PIXEL_M)
    return scan, canvas, object_, guess[None], thickness > 0.05


def object_error(known: Known, damaged: Scan) -> float:
    """Rms of ln(O / truth) over the particle, without the constant and the ramp that no pattern shows."""
    _, canvas, object_, guess, particle = known
    options = ReconstructOptions(cycles=CYCLES)
    ratio = run(Reconstruction(damaged, canvas, init(canvas, guess, options), CYCLES, options)).object / object_
    for axis in (0, 1):
        inside = particle & np.roll(particle, 1, axis)
        slope = np.angle(np.sum((ratio * np.roll(ratio, 1, axis).conj())[inside]))
        ratio = ratio * np.exp(-1j * slope * np.indices(ratio.shape)[axis])
    error = np.log(ratio[particle] / ratio[particle].mean())
    return float(np.sqrt(np.mean(np.abs(error) ** 2)))


@pytest.fixture(scope="module")
def undamaged(known: Known) -> float:
    error = object_error(known, known[0])
    assert error < 0.01
    return error


def masked(scan: Scan, bad: NDArray[np.bool_]) -> Scan:
    """Bad pixels as a detector delivers them: masked, with nonsense in them."""
    return replace(scan, counts=np.where(bad, 54321, scan.counts).astype(np.uint32), mask=~bad)


def test_module_gaps_and_dead_pixels(known: Known, undamaged: float) -> None:
    bad = np.random.default_rng(0).random((N, N)) < 0.02
    bad[15:17] = bad[:, 34:36] = True
    assert object_error(known, masked(known[0], bad)) < 2 * undamaged


def test_a_beam_stop(known: Known, undamaged: float) -> None:
    y, x = np.indices((N, N)) - N // 2
    assert object_error(known, masked(known[0], np.hypot(y, x) < 1.5)) < 2 * undamaged


@pytest.fixture(scope="module")
def wide() -> tuple[Known, float]:
    """A beam six pixels wide on the detector, and the error without a stop in it."""
    case = measure(ProbeSpec("gaussian", 90e-9, defocus_m=2e-4))
    return case, object_error(case, case[0])


@pytest.mark.parametrize(("radius_px", "arm_px", "hidden"), [(2.1, 0, 0.35), (2.1, 3, 0.4), (2.5, 3, 0.6)])
def test_a_stop_behind_which_photons_are_counted_costs_a_fifth_at_most(
    wide: tuple[Known, float], radius_px: float, arm_px: float, hidden: Any
) -> None:
    """From the third of the beam to more than half; the first guess has its power from what is seen beside the stop."""
    (scan, canvas, object_, guess, particle), undamaged = wide
    y, x = np.indices((N, N)) - N // 2
    stopped = masked(scan, (np.hypot(y, x) < radius_px) | ((np.abs(x) < arm_px / 2) & (y > 0)))
    assert np.sum(scan.counts, where=~stopped.mask) > hidden * scan.counts.sum()
    guess = fit_to_beam(guess, *stopped.mean_pattern)
    assert object_error((scan, canvas, object_, guess, particle), stopped) < 1.2 * undamaged


def test_saturated_pixels(known: Known, undamaged: float) -> None:
    """The brightest pixels of every frame at the end of their range."""
    scan = known[0]
    full = scan.counts > 0.3 * scan.counts.max()
    assert full.sum() > 4 * len(scan.counts)
    spoilt = np.where(full, np.iinfo(np.uint32).max, scan.counts).astype(np.uint32)
    assert object_error(known, replace(scan, counts=spoilt)) < 1.25 * undamaged


@pytest.mark.parametrize("shift", [(1, 0), (-4, 3)])
def test_a_beam_centre_off_by_pixels(known: Known, undamaged: float, shift: tuple[int, int]) -> None:
    """Nobody said so: the first guess of the probe is centre_on_beam at where the frames have the beam."""
    scan, canvas, object_, guess, particle = known
    moved = replace(scan, counts=np.roll(scan.counts, shift, (1, 2)))
    to_it = centre_on_beam(guess, *moved.mean_pattern)
    assert object_error((scan, canvas, object_, to_it, particle), moved) < 1.25 * undamaged
    np.testing.assert_array_equal(centre_on_beam(guess, *scan.mean_pattern), guess)
