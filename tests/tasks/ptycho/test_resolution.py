"""Resolution: rings against noise of known strength, and reconstructions against the truth."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling.spectra import align
from tasks.options.coupling import AlignOptions
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.resolution import (
    detector_frequencies,
    frc,
    half_bit,
    neighbour_frc,
    resolved_period_m,
    ring_numbers,
    soft_window,
)
from tasks.ptycho.scan import illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.specimen import SimulationOptions, simulate, transmission_at

PIXEL_M = 10e-9
FREQUENCY = np.arange(33) / (64 * PIXEL_M)


def noise(seed: int, shape: tuple[int, int] = (96, 128)) -> NDArray[np.complex64]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def test_correlation_is_the_share_of_common_signal_and_keeps_its_sign() -> None:
    window = np.ones((96, 128))
    common, a, b = noise(0), noise(1), noise(2)
    measured = frc(1 + common + a, 1 + common + 0.5 * b, window, PIXEL_M, FREQUENCY)
    assert np.mean(measured[3:]) == pytest.approx(1 / np.sqrt(2 * 1.25), abs=0.02)
    assert np.mean(frc(1 + common, 1 - common, window, PIXEL_M, FREQUENCY)) == pytest.approx(-1)
    assert abs(np.mean(frc(1 + a, 1 + b, window, PIXEL_M, FREQUENCY)[3:])) < 0.02


def test_half_a_bit_needs_more_correlation_where_a_ring_has_few_pixels() -> None:
    many = half_bit(np.ones((2048, 2048)), PIXEL_M, FREQUENCY)
    # SNR / (1 + SNR) at SNR = sqrt(2) / 2 - 1 / 2
    assert many[-1] == pytest.approx(0.2071 / 1.2071, abs=0.02)
    few = half_bit(np.ones((64, 64)), PIXEL_M, FREQUENCY)
    assert few[0] == pytest.approx(1, abs=1e-3)
    assert (np.diff(few[1:]) < 0.03).all()


def test_a_window_leaves_fewer_independent_pixels() -> None:
    window = np.zeros((128, 128))
    window[32:96, 32:96] = 1
    small = half_bit(np.ones((64, 64)), PIXEL_M, FREQUENCY)
    np.testing.assert_allclose(half_bit(window, PIXEL_M, FREQUENCY)[8:], small[8:], rtol=0.05)


def test_independent_noise_in_a_window_stays_below_half_a_bit() -> None:
    window = np.zeros((128, 128), bool)
    window[40:90, 45:80] = True
    soft = soft_window(window)
    assert soft[0].max() == 0
    assert soft[64, 60] == pytest.approx(1, abs=1e-2)
    threshold = half_bit(soft, PIXEL_M, FREQUENCY)
    curves = [frc(noise(s, (128, 128)), noise(s + 50, (128, 128)), soft, PIXEL_M, FREQUENCY) for s in range(30)]
    assert np.mean([(curve > threshold)[4:].mean() for curve in curves]) < 0.03


def test_period_is_read_between_rings_and_a_single_dip_is_passed_over() -> None:
    frequency = 1e7 * np.arange(6.0)
    curve = np.array([1, 0.9, 0.4, 0.8, 0.6, 0.2])
    assert resolved_period_m(frequency, curve, 0.5) == pytest.approx(1 / 4.25e7)
    assert resolved_period_m(frequency, curve, 0.1) == pytest.approx(1 / 5e7)
    assert np.isnan(resolved_period_m(frequency, curve, 0.95))
    assert np.isnan(resolved_period_m(frequency, np.full(6, np.nan), 0.5))


def test_rings_are_as_wide_on_both_axes_of_an_oblong_image() -> None:
    ring = ring_numbers((64, 128), PIXEL_M, FREQUENCY[1])
    assert ring[7, 0] == 7
    assert ring[0, 14] == 7
    assert ring[0, 0] == 0


@pytest.fixture(scope="module")
def pair() -> Any:
    """Two energies of a weakly lit specimen, reconstructed and brought to one grid, and the truth on that grid."""
    options = SimulationOptions(
        n_energies=2, n_positions_side=9, n_pixels=64, n_states=1, n_grains=1, radius_m=0.4e-6, photons=1e6, flux_spread=0.0
    )
    simulation = simulate(options)
    chosen = ReconstructOptions(cycles=60)
    scans, canvases, states = list(simulation.scans), [], []
    for scan in scans:
        canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
        power = scan.counts.sum() / len(scan.counts)
        probe = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
        canvases.append(canvas)
        states.append(run(Reconstruction(scan, canvas, init(canvas, probe, chosen), chosen.max_cycles, chosen)))
    doses = [illumination(c, s.positions_m, state.probe) for c, s, state in zip(canvases, scans, states, strict=True)]
    aligned = align([state.object for state in states], doses, canvases, simulation.energies_ev, AlignOptions())
    electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev, simulation.absorber)
    axes = [(aligned.grid.y_m, aligned.grid.x_m)[k] - simulation.drift_m[:, k].mean() for k in (0, 1)]
    truths = [transmission_at(simulation.specimen, electrons[e], axes[0], axes[1], simulation.energies_ev[e]) for e in (0, 1)]
    return scans, canvases, states, aligned, truths


def test_correlation_of_neighbours_says_what_the_truth_says(pair: Any) -> None:
    scans, _, _, aligned, truths = pair
    pixel = aligned.grid.pixel_size_m
    frequency = detector_frequencies(scans[0].n_pixels, pixel)
    window = soft_window(aligned.sample)
    threshold = half_bit(window, pixel, frequency)
    curves = neighbour_frc(aligned.images, window, pixel, frequency)
    found = resolved_period_m(frequency, curves[0], threshold)
    # against the truth the correlation is sqrt(S / (S + N)), between two images S / (S + N)
    true = [frc(image, truth, window, pixel, frequency) for image, truth in zip(aligned.images, truths, strict=True)]
    wanted = resolved_period_m(frequency, true[0] * true[1], threshold)
    assert 2.5 * pixel < wanted < 20 * pixel
    assert found == pytest.approx(wanted, rel=0.15)
