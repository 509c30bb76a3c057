"""Cycles on the middle half of the detector: the same physics on coarser pixels, and results as good as without them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling.warm_start import StartingEnergy
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.convergence import CONVERGED, Averages
from tasks.ptycho.driver import run_together
from tasks.ptycho.half_detector import (
    FROM_COLD,
    LEAST_WARM,
    UNTIL_WARM,
    OnHalfDetector,
    coarser,
    finer,
    half_canvas,
    half_inputs,
    half_scan,
    is_bright_in_the_middle,
)
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import WHOLE_AFTER_COLD, Reconstruction, is_mode_missing
from tasks.ptycho.scan import Canvas, Scan, illumination, plan_canvas
from tasks.ptycho.solver import cycle_inputs, init, step
from tasks.ptycho.state import State, with_another_mode
from tasks.units import object_pixel_size_m

N, SIDE, PHOTONS, DISTANCE_M, DETECTOR_PIXEL_M = 128, 6, 1e6, 0.31, 75e-6
OPTICS = ProbeSpec("gaussian", fwhm_m=140e-9, defocus_m=60e-6)
MAX_CYCLES = ReconstructOptions().max_cycles
AUTO, NEVER = ReconstructOptions(), ReconstructOptions(half_detector="never")
LOW, HIGH = (5420.0, 0.05 + 0.33j), (5490.0, 0.1 + 0.3j)
"""Energy [eV] and contrast."""

Complex = NDArray[np.complex64]


def grains(y_m: NDArray[np.float64], x_m: NDArray[np.float64], seed: int = 11) -> NDArray[np.float64]:
    """Thickness of grains of many sizes in an empty field."""
    rng = np.random.default_rng(seed)
    total = np.zeros(np.broadcast_shapes(y_m.shape, x_m.shape))
    for width in (80e-9, 40e-9, 15e-9, 12e-9, 12e-9):
        y, x = rng.uniform(-90e-9, 90e-9, 2)
        total += rng.uniform(0.3, 1.0) * np.exp(-((y_m - y) ** 2 + (x_m - x) ** 2) / (2 * width**2))
    return total


def truth(canvas: Canvas, contrast: complex, seed: int = 11) -> NDArray[np.complex128]:
    """(Y, X): the object of the grains."""
    y, x = canvas.axes_m
    return np.asarray(np.exp(-contrast * grains(y[:, None], x[None, :], seed)))


@lru_cache
def measure(energy_ev: float, contrast: complex, second_mode: float = 0.0) -> tuple[Scan, Canvas]:
    """A jittered raster over the grains with photon noise; ``second_mode`` is the share of a displaced second mode."""
    rng = np.random.default_rng(int(energy_ev))
    axis = (np.arange(SIDE) - (SIDE - 1) / 2) * 60e-9
    positions = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2) + rng.normal(0, 6e-9, (SIDE**2, 2))
    pixel_m = object_pixel_size_m(energy_ev, DISTANCE_M, N, DETECTOR_PIXEL_M)
    canvas = plan_canvas(positions, pixel_m, N)
    corners = np.rint(canvas.corners_px(positions, N)).astype(int)
    positions = np.asarray(canvas.origin_m) + (corners + N // 2) * pixel_m
    probe = initial_probe(OPTICS, energy_ev, pixel_m, N, PHOTONS, 2 if second_mode else 1)
    shares = np.array([1 - second_mode, second_mode][: len(probe)])
    probe = probe * np.sqrt(shares * PHOTONS / np.sum(np.abs(probe) ** 2, axis=(1, 2)))[:, None, None]
    object_ = truth(canvas, contrast)
    waves = np.stack([np.fft.fft2(object_[y : y + N, x : x + N] * probe, norm="ortho") for y, x in corners])
    counts = rng.poisson(np.fft.fftshift(np.sum(np.abs(waves) ** 2, axis=1), axes=(1, 2))).astype(np.uint32)
    scan = Scan(counts, positions, np.ones((N, N), bool), energy_ev, DISTANCE_M, DETECTOR_PIXEL_M)
    return scan, canvas


def cold(scan: Scan, canvas: Canvas, options: ReconstructOptions) -> State:
    """The state before the first cycle, from optics that are slightly wrong."""
    guess = replace(OPTICS, defocus_m=30e-6)
    return init(canvas, initial_probe(guess, scan.energy_ev, scan.pixel_size_m, N, scan.mean_photons), options)


def run(
    measured: tuple[Scan, Canvas], options: ReconstructOptions, start: StartingEnergy | None = None, n_cycles: int = MAX_CYCLES
) -> tuple[State, list[int], Reconstruction]:
    """The final state, the side of the frames in each cycle, and the reconstruction."""
    found = Reconstruction(*measured, cold(*measured, options), n_cycles, options, warm_start=start)
    sides = []
    while not found.is_done:
        rule = found.next_rule()
        sides.append(found.inputs.scan.n_pixels)
        found.accept(step(found.state, found.inputs, rule))
    return found.result(), sides, found


@lru_cache
def cold_run(energy_ev: float, contrast: complex, options: ReconstructOptions) -> tuple[State, list[int]]:
    """`run` from the optics, once for all tests."""
    return run(measure(energy_ev, contrast), options)[:2]


def as_start(measured: tuple[Scan, Canvas], state: State) -> StartingEnergy:
    scan, canvas = measured
    dose = illumination(canvas, scan.positions_m, state.probe)
    return StartingEnergy(state.object, state.probe, canvas, dose, scan.mean_photons, len(scan.counts))


def errors(measured: tuple[Scan, Canvas], contrast: complex, state: State) -> NDArray[np.float64]:
    """Standard deviations (2,) of A and of the phase [rad] where the scan saw most, without a plane of the phase."""
    scan, canvas = measured
    dose = illumination(canvas, scan.positions_m, state.probe)
    lit = dose > 0.3 * dose.max()
    error = np.log(state.object / truth(canvas, contrast))[lit]
    y, x = (axis[lit].astype(float) for axis in np.indices(lit.shape))
    terms = np.stack([np.ones_like(y), y - y.mean(), x - x.mean()], axis=1)
    phase = error.imag - terms @ np.linalg.lstsq(terms, error.imag, rcond=None)[0]
    return np.array([error.real.std(), phase.std()])


def band_limited(shape: tuple[int, ...], share: float, seed: int) -> Complex:
    """Random values without frequencies above ``share`` of the highest."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(*shape, 2)) @ [1, 1j])
    rows, columns = (np.abs(np.fft.fftfreq(n)) < share / 2 for n in shape[-2:])
    return np.asarray(np.fft.ifft2(spectrum * np.outer(rows, columns)), np.complex64)


def test_the_middle_half_shows_the_product_of_coarser_object_and_probe() -> None:
    """Where neither has more than a quarter of the frequencies, their product is seen whole by the middle half."""
    object_, probe = 1 + band_limited((64, 64), 0.25, 1), band_limited((64, 64), 0.25, 2)
    whole = np.fft.fftshift(np.fft.fft2(object_ * probe, norm="ortho"))
    half = np.fft.fftshift(np.fft.fft2(coarser(object_) * coarser(probe, 2), norm="ortho"))
    np.testing.assert_allclose(half, whole[16:48, 16:48], atol=1e-5 * np.abs(whole).max())
    assert np.sum(np.abs(coarser(probe, 2)) ** 2) == pytest.approx(np.sum(np.abs(probe) ** 2), rel=1e-5)


def test_coarser_undoes_finer() -> None:
    values = band_limited((3, 32, 48), 0.9, 3)
    np.testing.assert_allclose(coarser(finer(values)), values, atol=1e-6)
    np.testing.assert_allclose(finer(values)[:, ::2, ::2], values, atol=1e-6)


def test_the_canvas_of_the_half_has_its_pixels_in_the_same_places() -> None:
    scan, canvas = measure(*HIGH)
    half = half_canvas(canvas)
    np.testing.assert_allclose(half.axes_m[0], canvas.axes_m[0][::2])
    np.testing.assert_allclose(2 * half.corners_px(scan.positions_m, N // 2), canvas.corners_px(scan.positions_m, N), atol=1e-9)
    seen = half_scan(scan)
    assert seen.pixel_size_m == pytest.approx(half.pixel_size_m)
    assert seen.counts[0, N // 4, N // 4] == scan.counts[0, N // 2, N // 2]


def test_only_what_changed_on_the_half_comes_back() -> None:
    """Fine details stay as they were to rounding, and a mode that was added there comes along."""
    measured = measure(*HIGH)
    state = replace(cold(*measured, AUTO), object=truth(measured[1], HIGH[1]).astype(np.complex64))
    way = OnHalfDetector.begin(state, cycle_inputs(*measured, state, AUTO))
    np.testing.assert_allclose(way.back(way.begun).object, state.object, atol=1e-6)
    np.testing.assert_allclose(way.back(way.begun).probe, state.probe, atol=1e-6 * np.abs(state.probe).max())
    wave = band_limited(way.begun.object.shape, 0.5, 5)
    changed = way.back(replace(way.begun, object=way.begun.object + wave)).object - state.object
    np.testing.assert_allclose(changed, finer(wave), atol=1e-6)
    grown = way.back(with_another_mode(way.begun))
    assert grown.probe.shape == grown.probe_momentum_buffer.shape == (2, N, N)
    np.testing.assert_allclose(coarser(grown.probe, 2), with_another_mode(way.begun).probe, atol=1e-3 * np.abs(grown.probe).max())


@pytest.mark.parametrize(
    ("name", "change", "is_bright"),
    [
        ("as measured", lambda counts: counts, True),
        ("light beyond the middle", lambda counts: counts + np.uint32(1000), False),
        ("small frames", lambda counts: counts[:, 16:112, 16:112], False),
        ("a side not divisible by four", lambda counts: np.pad(counts, ((0, 0), (1, 1), (1, 1))), False),
        ("no light", lambda counts: counts * np.uint32(0), False),
    ],
)
def test_frames_that_can_be_halved(name: str, change: Callable[[Any], Any], is_bright: bool) -> None:
    counts = change(measure(*HIGH)[0].counts)
    scan = replace(measure(*HIGH)[0], counts=counts, mask=np.ones(counts.shape[1:], bool))
    assert is_bright_in_the_middle(scan) is is_bright


@pytest.mark.parametrize(
    "chosen",
    [
        {"half_detector": "never"},
        {"cycles": 100},
        {"probe_update": "position"},
        {"stop_change": 0.01},
        {"position_refinement": "points"},
        {"frame_flux": True},
    ],
)
def test_options_that_keep_the_whole_detector(chosen: dict[str, Any]) -> None:
    measured, options = measure(*HIGH), ReconstructOptions(**chosen)
    state = cold(*measured, options)
    assert half_inputs(cycle_inputs(*measured, state, options), state, options) is None


def test_from_the_optics_as_good_as_on_the_whole_detector() -> None:
    """Cycles on the whole come first and last, those on the half between; the error is that of the whole alone."""
    measured = measure(*HIGH)
    state, sides = cold_run(*HIGH, AUTO)
    n_last = sides[::-1].index(N // 2)
    assert set(sides[:FROM_COLD]) == {N}
    assert set(sides[FROM_COLD:-n_last]) == {N // 2}
    assert set(sides[-n_last:]) == {N}
    assert n_last > WHOLE_AFTER_COLD
    assert state.object.shape == measured[1].shape
    assert state.noise_error is not None
    assert state.errors[-1] < 1.6 * state.noise_error
    whole, whole_sides = cold_run(*HIGH, NEVER)
    assert Counter(sides)[N] < len(whole_sides)
    assert (errors(measured, HIGH[1], state) < 1.05 * errors(measured, HIGH[1], whole)).all()


def test_from_another_energy_as_good_as_on_the_whole_detector() -> None:
    """The quick image and the first cycles are those on the half; contrast and image are found as on the whole."""
    measured = measure(*LOW)
    start = as_start(measure(*HIGH), cold_run(*HIGH, NEVER)[0])
    state, sides, its = run(measured, AUTO, start)
    assert its.warnings == []
    np.testing.assert_array_equal(state.frame_px, sides)
    n_half = start.n_cycles + LEAST_WARM
    assert sides == [N // 2] * n_half + [N] * (len(sides) - n_half)
    whole, whole_sides, _ = run(measured, NEVER, start)
    assert len(sides) == len(whole_sides)
    assert (errors(measured, LOW[1], state) < 1.05 * errors(measured, LOW[1], whole)).all()


@pytest.mark.parametrize(("settles_at", "left_at"), [(10, LEAST_WARM), (33, 35), (1000, UNTIL_WARM)])
def test_an_energy_leaves_the_half_when_its_slow_waves_have_settled(
    monkeypatch: pytest.MonkeyPatch, settles_at: int, left_at: int
) -> None:
    """At the next comparison, but neither before nor after a number of cycles; then the whole is seen until the end."""
    change = property(lambda averages: lambda dose, excess: CONVERGED * settles_at / averages.n_cycles)
    monkeypatch.setattr(Averages, "remaining_change", change)
    start = as_start(measure(*HIGH), cold_run(*HIGH, NEVER)[0])
    sides = run(measure(*LOW), AUTO, start, n_cycles=UNTIL_WARM + 5)[1]
    n_half = start.n_cycles + left_at
    assert sides == [N // 2] * n_half + [N] * (len(sides) - n_half)
    assert len(sides) > n_half


def test_a_reference_of_another_specimen_is_noticed_on_the_half() -> None:
    measured, (found, _) = measure(*HIGH), cold_run(*HIGH, NEVER)
    other = as_start(measured, replace(found, object=truth(measured[1], HIGH[1], seed=12).astype(np.complex64)))
    state, sides, its = run(measured, AUTO, other)
    assert "started from the optics" in its.warnings[0]
    np.testing.assert_array_equal(state.frame_px, sides)
    assert set(sides[:8]) == {N // 2}
    assert set(sides[8 : 8 + FROM_COLD]) == {N}
    assert state.object.shape == measured[1].shape
    assert (errors(measured, HIGH[1], state) < 1.1 * errors(measured, HIGH[1], found)).all()


def test_a_further_mode_is_found_on_the_way() -> None:
    """The beam's second mode holds a fifth of its power."""
    measured = measure(*HIGH, second_mode=0.2)
    state, sides, _ = run(measured, AUTO)
    assert N // 2 in sides
    assert len(state.probe) == 2
    assert not is_mode_missing(state, cycle_inputs(*measured, state, AUTO), AUTO)
    assert state.noise_error is not None
    assert state.errors[-1] < 2 * state.noise_error


def test_together_as_alone() -> None:
    """Each goes to the half detector and back when it is its turn."""
    both = [HIGH, LOW]
    started = [Reconstruction(*measure(*one), cold(*measure(*one), AUTO), AUTO.max_cycles, AUTO) for one in both]
    together = dict(run_together(started))
    for number, one in enumerate(both):
        alone, _ = cold_run(*one, AUTO)
        assert together[number].cycle == alone.cycle
        np.testing.assert_allclose(together[number].object, alone.object, atol=2e-3)
