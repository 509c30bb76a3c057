"""ePIE recovers a known object, stops and goes on exactly, and leaves masked pixels to the model."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.gauge import measure_gauge
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.schedule import choose_rule, object_step_size
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate, transmission_at

SMALL = SimulationOptions(
    n_energies=1, n_positions_side=8, n_pixels=48, n_states=1, n_grains=1, radius_m=0.3e-6, pixel_size_m=20e-9
)

Measured = tuple[Simulation, Scan, Canvas, NDArray[np.complex64]]
"""A simulation, its scan, the canvas and the first guess of the probe."""


@pytest.fixture(scope="module")
def measured() -> Measured:
    return prepare(SMALL)


@lru_cache
def prepare(options: SimulationOptions) -> Measured:
    """Once for all tests; none of them changes it."""
    simulation = simulate(options)
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    probe = initial_probe(
        simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, scan.counts.sum() / len(scan.counts)
    )
    return simulation, scan, canvas, probe


def object_errors(simulation: Simulation, scan: Scan, canvas: Canvas, state: State) -> tuple[float, float, float]:
    """In the particle's interior, of ln(O / truth) after the vacuum's gauge: rms, slow part of the phase, fast part."""
    error, inside = logarithm_error(simulation, scan, canvas, state)
    slow = ndimage.gaussian_filter(error.real, 3) + 1j * ndimage.gaussian_filter(error.imag, 3)
    return rms(error[inside]), float(np.std(slow[inside].imag)), rms((error - slow)[inside])


def logarithm_error(
    simulation: Simulation, scan: Scan, canvas: Canvas, state: State
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """(Y, X) each: ln(O / truth) after the vacuum's gauge, and whether a pixel lies in the particle's interior."""
    axes = [canvas.origin_m[k] + np.arange(canvas.shape[k]) * canvas.pixel_size_m - simulation.drift_m[0, k] for k in (0, 1)]
    electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev, simulation.absorber)[0]
    ratio = state.object / transmission_at(simulation.specimen, electrons, axes[0], axes[1], scan.energy_ev)
    particle = simulation.specimen.thickness(*np.meshgrid(*axes, indexing="ij")) > 0
    around = ndimage.binary_dilation(particle, iterations=9) & ~ndimage.binary_dilation(particle, iterations=2)
    error = np.log(ratio * measure_gauge(ratio.astype(np.complex64), around).factor(ratio.shape))
    return error, ndimage.binary_erosion(particle, iterations=3)


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.abs(values) ** 2)))


@lru_cache
def in_120_cycles(options: SimulationOptions, **chosen: Any) -> State:
    """What 120 cycles make of a specimen, once for all tests."""
    return reconstruct(prepare(options), 120, **chosen)


def reconstruct(measured: tuple[Any, Scan, Canvas, NDArray[np.complex64]], cycles: int, **options: Any) -> State:
    _, scan, canvas, probe = measured
    chosen = ReconstructOptions(cycles=cycles, **options)
    return run(Reconstruction(scan, canvas, init(canvas, probe, chosen), cycles, chosen))


def test_recovers_the_object(measured: Measured) -> None:
    state = reconstruct(measured, 100)
    error, _, _ = object_errors(*measured[:3], state)
    assert state.errors[-1] < 2e-5 < state.errors[0]
    assert error < 0.004


def test_fractions_of_a_pixel_beat_rounded_positions(measured: Measured) -> None:
    plain: dict[str, Any] = {"probe_update": "position", "settle": 0}
    exact, rounded = (
        object_errors(*measured[:3], in_120_cycles(SMALL, **options)) for options in (plain, {**plain, "subpixel": False})
    )
    assert exact[0] < 0.8 * rounded[0]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.study) for seed in (1, 2))])
def test_the_defaults_leave_a_fifth_less_error_than_plain_epie(seed: int) -> None:
    case = prepare(replace(SMALL, seed=seed, n_pixels=64))
    plain = {"subpixel": False, "probe_update": "position", "settle": 0}
    ours, epie = (object_errors(*case[:3], reconstruct(case, 120, **options)) for options in ({}, plain))
    assert ours[0] < 0.8 * epie[0]


def test_gathered_probe_leaves_less_slow_phase_than_epie() -> None:
    cases = [replace(SMALL, seed=seed) for seed in range(4)]  # one specimen may have the opposite by chance
    gathered, epie = (
        rms(np.array([object_errors(*prepare(one)[:3], in_120_cycles(one, probe_update=rule, settle=0))[1] for one in cases]))
        for rule in ("cycle", "position")
    )
    assert gathered < 0.8 * epie


def test_momentum_of_the_object_leaves_less_error_at_equal_cycles(measured: Measured) -> None:
    heavy, light = (object_errors(*measured[:3], reconstruct(measured, 60, object_momentum=m)) for m in (0.8, 0))
    assert heavy[0] < 0.75 * light[0]


def test_the_momentum_by_default_halves_what_the_absorption_is_off_against_the_vacuum() -> None:
    """The slowest of the object's waves: its mean over a particle three times as wide as the beam, at equal cycles."""
    wide = replace(SMALL, photons=1e8, n_positions_side=10, n_pixels=64, pixel_size_m=22.5e-9, radius_m=0.45e-6)

    def offset(seed: int, **options: Any) -> float:
        case = prepare(replace(wide, seed=seed))
        error, inside = logarithm_error(*case[:3], reconstruct(case, 120, **options))
        return float(error.real[inside].mean())

    by_default, steady = (rms(np.array([offset(seed, **one) for seed in range(2)])) for one in ({}, {"object_momentum": 0.8}))
    assert by_default < 0.5 * steady


def test_momentum_is_high_between_the_first_cycles_and_the_falling_step(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    mask = scan.mask

    def momenta(options: ReconstructOptions) -> list[float]:
        begun = replace(init(canvas, probe, options), errors=np.ones(1, np.float32))
        return [choose_rule(replace(begun, cycle=cycle), options, mask).object_momentum for cycle in (3, 4, 19, 20, 79, 80, 119)]

    assert momenta(ReconstructOptions(cycles=120)) == [0.0, 0.8, 0.8, 0.95, 0.95, 0.8, 0.8]
    assert momenta(ReconstructOptions(cycles=120, object_momentum=0.7)) == [0.0, *[0.7] * 6]


def test_momentum_starts_anew_after_a_stumble() -> None:
    sparse = SimulationOptions(seed=7, n_energies=1, n_pixels=64, step_m=220e-9, n_positions_side=9)
    simulation, scan, canvas, _ = prepare(sparse)
    wide = replace(simulation.probe_guess, fwhm_m=1.35 * sparse.probe.fwhm_m)
    probe = initial_probe(wide, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, scan.counts.sum() / len(scan.counts))
    state = reconstruct((None, scan, canvas, probe), 60)
    assert state.errors[-1] < 3e-5


def test_a_probe_that_is_far_is_warmed_up_and_a_near_one_left_alone(measured: Measured) -> None:
    simulation, scan, canvas, near = measured
    power = scan.counts.sum() / len(scan.counts)
    optics = replace(simulation.probe_guess, fwhm_m=200e-9)
    far = initial_probe(optics, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
    warmed, cold = (reconstruct((None, scan, canvas, far), 12, probe_warmup=cycles) for cycles in (3, 0))
    assert warmed.errors[-1] < 0.7 * cold.errors[-1]
    default, untouched = (reconstruct((None, scan, canvas, near), 12, probe_warmup=cycles) for cycles in (3, 0))
    np.testing.assert_array_equal(default.object, untouched.object)


def test_few_photons_do_not_diverge_and_a_settling_step_leaves_less_of_their_noise() -> None:
    weak = prepare(replace(SMALL, photons=1e6))
    settled, stirred = (
        object_errors(*weak[:3], reconstruct(weak, 120, probe_update="position", settle=settle)) for settle in (1 / 3, 0)
    )
    assert settled[2] < 0.8 * stirred[2]
    assert object_errors(*weak[:3], reconstruct(weak, 120))[0] < 0.012


def test_stopping_and_going_on_changes_nothing(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=12, seed=3)
    far = probe[:, ::-1] * np.exp(1j * np.linspace(-3, 3, probe.shape[-1]) ** 2)  # so that the warm-up is stopped in
    whole = run(Reconstruction(scan, canvas, init(canvas, far, options), 12, options))
    parts = init(canvas, far, options)
    for n_cycles in (2, 5, 1, 4):
        parts = run(Reconstruction(scan, canvas, parts, n_cycles, options))
    assert (parts.cycle, len(parts.errors)) == (12, 12)
    np.testing.assert_array_equal(parts.object, whole.object)
    np.testing.assert_array_equal(parts.probe, whole.probe)
    np.testing.assert_array_equal(parts.errors, whole.errors)


def test_object_step_settles_over_the_last_third() -> None:
    options = ReconstructOptions(cycles=90, settle=1 / 3)
    steps = [object_step_size(cycle, options) for cycle in range(90)]
    assert steps[:59] == [1.0] * 59
    assert steps[-1] == pytest.approx(0.1)
    assert np.all(np.diff(steps[60:]) < 0)
    assert object_step_size(89, ReconstructOptions(cycles=90, settle=0)) == 1.0


def test_the_step_decay_of_auto_takes_fifteen_cycles_at_most() -> None:
    auto = ReconstructOptions(cycles="auto")
    for n_cycles, decaying in ((30, 10), (45, 15), (300, 15)):
        steps = [object_step_size(cycle, auto, n_cycles) for cycle in range(n_cycles)]
        assert steps[-1] == pytest.approx(0.1)
        assert sum(step < 1 for step in steps) == decaying


def test_the_seed_decides_the_order(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    images = []
    for seed in (1, 1, 2):
        options = ReconstructOptions(cycles=2, seed=seed)
        images.append(run(Reconstruction(scan, canvas, init(canvas, probe, options), 2, options)).object)
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-4


def test_masked_and_saturated_pixels_are_left_to_the_model(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=3)
    clean = run(Reconstruction(scan, canvas, init(canvas, probe, options), 3, options))
    spoilt = scan.counts.copy()
    spoilt[:, ~scan.mask] = 12345
    masked = run(Reconstruction(replace(scan, counts=spoilt), canvas, init(canvas, probe, options), 3, options))
    np.testing.assert_array_equal(masked.object, clean.object)
    saturated = scan.counts.copy()
    saturated[:, ~scan.mask] = np.iinfo(np.uint32).max
    everything_good = replace(scan, counts=saturated, mask=np.ones_like(scan.mask))
    np.testing.assert_array_equal(
        run(Reconstruction(everything_good, canvas, init(canvas, probe, options), 3, options)).object, clean.object
    )


def test_an_ill_fitting_probe_step_of_zero_keeps_the_probe(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=2, beta=0.0)
    state = run(Reconstruction(scan, canvas, init(canvas, probe, options), 2, options))
    np.testing.assert_allclose(state.probe, probe, atol=1e-3 * np.abs(probe).max())


def test_the_caller_hears_of_every_cycle_and_can_stop(measured: Measured) -> None:
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=5)
    heard = []

    def listen(cycle: int, error: float) -> None:
        heard.append((cycle, error))
        if cycle == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Reconstruction(scan, canvas, init(canvas, probe, options), 5, options, listen))
    assert [cycle for cycle, _ in heard] == [1, 2, 3]
    assert all(error > 0 for _, error in heard)
