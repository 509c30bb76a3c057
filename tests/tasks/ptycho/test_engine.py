"""ePIE recovers a known object, stops and goes on exactly, and leaves masked pixels to the model."""

from dataclasses import replace

import numpy as np
import pytest

from tasks.options import ReconstructOptions
from tasks.ptycho.engine import run_cycles, start
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.scan import illumination, plan_canvas
from tasks.simulate import SimulationOptions, electrons_per_formula, simulate, transmission_at

SMALL = SimulationOptions(n_energies=1, n_positions_side=8, n_pixels=48, radius_m=0.3e-6, photons=1e8, pixel_size_m=20e-9)


@pytest.fixture(scope="module")
def measured():
    simulation = simulate(SMALL)
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    probe = initial_probe(
        simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, scan.counts.sum() / len(scan.counts)
    )
    return simulation, scan, canvas, probe


def object_error(simulation, scan, canvas, state):
    """NRMSE of the object over the well-lit area after the best complex factor and ramp."""
    axes = [canvas.origin_m[k] + np.arange(canvas.shape[k]) * canvas.pixel_size_m - simulation.drift_m[0, k] for k in (0, 1)]
    electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev, simulation.absorber)[0]
    truth = transmission_at(simulation.specimen, electrons, *axes, scan.energy_ev)
    dose = illumination(canvas, scan.positions_m, state.probe)
    lit = dose > 0.5 * np.median(dose[dose > 0.5 * dose.max()])
    y, x = np.indices(canvas.shape)
    ratio = state.object / truth
    basis = np.stack([np.ones(lit.sum()), y[lit], x[lit]], axis=1)
    turned = np.angle(np.mean(ratio[lit]))
    plane = np.linalg.lstsq(basis, np.angle(ratio[lit] * np.exp(-1j * turned)), rcond=None)[0]
    flat = ratio[lit] * np.exp(-1j * (turned + basis @ plane))
    flat /= np.mean(flat)
    return float(np.sqrt(np.mean(np.abs(flat - 1) ** 2)))


def test_recovers_the_object_and_beats_rounded_positions(measured):
    simulation, scan, canvas, probe = measured
    errors = {}
    for subpixel in (True, False):
        options = ReconstructOptions(cycles=60, subpixel=subpixel)
        state = run_cycles(scan, canvas, start(canvas, probe, options), 60, options)
        errors[subpixel] = object_error(simulation, scan, canvas, state)
        assert state.errors[-1] < 1e-4 < state.errors[0]
    assert errors[True] < 0.008, errors
    assert errors[True] < 0.8 * errors[False]


def test_stopping_and_going_on_changes_nothing(measured):
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=6, seed=3)
    whole = run_cycles(scan, canvas, start(canvas, probe, options), 6, options)
    parts = run_cycles(scan, canvas, run_cycles(scan, canvas, start(canvas, probe, options), 2, options), 4, options)
    assert (parts.cycle, len(parts.errors)) == (6, 6)
    np.testing.assert_array_equal(parts.object, whole.object)
    np.testing.assert_array_equal(parts.probe, whole.probe)
    np.testing.assert_array_equal(parts.errors, whole.errors)


def test_the_seed_decides_the_order(measured):
    _, scan, canvas, probe = measured
    images = []
    for seed in (1, 1, 2):
        options = ReconstructOptions(cycles=2, seed=seed)
        images.append(run_cycles(scan, canvas, start(canvas, probe, options), 2, options).object)
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0] - images[2]).max() > 1e-4


def test_masked_and_saturated_pixels_are_left_to_the_model(measured):
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=3)
    clean = run_cycles(scan, canvas, start(canvas, probe, options), 3, options)
    spoilt = scan.counts.copy()
    spoilt[:, ~scan.mask] = 12345
    masked = run_cycles(replace(scan, counts=spoilt), canvas, start(canvas, probe, options), 3, options)
    np.testing.assert_array_equal(masked.object, clean.object)
    saturated = scan.counts.copy()
    saturated[:, ~scan.mask] = np.iinfo(np.uint32).max
    everything_good = replace(scan, counts=saturated, mask=np.ones_like(scan.mask))
    np.testing.assert_array_equal(
        run_cycles(everything_good, canvas, start(canvas, probe, options), 3, options).object, clean.object
    )


def test_an_ill_fitting_probe_step_of_zero_keeps_the_probe(measured):
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=2, beta=0.0)
    state = run_cycles(scan, canvas, start(canvas, probe, options), 2, options)
    np.testing.assert_allclose(state.probe, probe, atol=1e-3 * np.abs(probe).max())


def test_the_caller_hears_of_every_cycle_and_can_stop(measured):
    _, scan, canvas, probe = measured
    options = ReconstructOptions(cycles=5)
    heard = []

    def listen(cycle, error):
        heard.append((cycle, error))
        if cycle == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cycles(scan, canvas, start(canvas, probe, options), 5, options, listen)
    assert [cycle for cycle, _ in heard] == [1, 2, 3]
    assert all(error > 0 for _, error in heard)
