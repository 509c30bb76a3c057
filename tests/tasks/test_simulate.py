"""The simulated measurement is what it says: photons, positions, edges, drift, and every state somewhere."""

import numpy as np
import pytest

from tasks.ptycho.scan import find_faults
from tasks.refraction import Absorber, tabulated_f1
from tasks.simulate import (
    ABSORPTION_JUMP,
    STATES,
    SimulationOptions,
    diffract,
    electrons_per_formula,
    energy_grid,
    grow_specimen,
    scattering_factors,
    simulate,
    transmission_at,
)
from tasks.units import electrons_per_absorption

TINY = SimulationOptions(n_energies=3, n_positions_side=5, n_pixels=48, radius_m=0.25e-6, pixel_size_m=20e-9, photons=1e6)
V = Absorber("V", "K")


@pytest.fixture(scope="module")
def tiny():
    return simulate(TINY)


def test_forty_energies_are_the_measurements():
    energies = energy_grid(40, 5465.0)
    assert (energies[0], energies[-1]) == (5420.0, 5540.0)
    assert np.diff(energies).min() == 0.5
    assert (energies < 5465).sum() == 4


@pytest.mark.parametrize("n", [1, 12, 24, 40, 80])
def test_any_number_of_energies_ascends(n):
    energies = energy_grid(n, 7112.0)
    assert len(energies) == n
    assert np.all(np.diff(energies) > 0)


def test_photons_are_poisson_about_the_flux(tiny):
    totals = np.array([scan.counts.sum(axis=(1, 2)).mean() for scan in tiny.scans])
    assert totals == pytest.approx(1e6, rel=0.35)
    scan = tiny.scans[0]
    electrons = electrons_per_formula(tiny.specimen.states, tiny.energies_ev, V)[0]
    mean = diffract(tiny.specimen, electrons, scan.positions_m - tiny.drift_m[0], scan.energy_ev, scan.pixel_size_m, TINY)
    mean *= scan.mask * scan.counts.sum() / np.sum(mean * scan.mask)
    lit = mean > 5
    assert np.mean((scan.counts[lit] - mean[lit]) ** 2 / mean[lit]) == pytest.approx(1.0, abs=0.05)
    assert scan.counts.dtype == np.uint32


def test_bad_pixels_hold_nothing(tiny):
    scan = tiny.scans[1]
    assert not scan.mask.all()
    assert not scan.counts[:, ~scan.mask].any()


def test_scans_are_sane_and_the_pixel_grows_with_the_wavelength(tiny):
    for scan in tiny.scans:
        assert find_faults(scan.positions_m, scan.pixel_size_m, scan.n_pixels, tiny.probe_guess.fwhm_m) == []
    pixels = [scan.pixel_size_m for scan in tiny.scans]
    assert pixels[0] == pytest.approx(TINY.pixel_size_m)
    assert pixels[0] / pixels[-1] == pytest.approx(tiny.energies_ev[-1] / tiny.energies_ev[0])


def test_the_seed_decides_everything(tiny):
    again = simulate(TINY)
    np.testing.assert_array_equal(again.scans[2].counts, tiny.scans[2].counts)
    other = simulate(SimulationOptions(**{**vars(TINY), "seed": 1}))
    assert (other.scans[2].counts != tiny.scans[2].counts).any()
    assert (other.drift_m != tiny.drift_m).any()


@pytest.mark.parametrize("seed", range(5))
def test_every_state_has_a_grain(seed):
    specimen = grow_specimen(SimulationOptions(seed=seed, n_states=5, n_grains=9))
    assert set(specimen.grain_states) == set(range(5))
    assert specimen.thickness(np.zeros(1), np.zeros(1))[0] > 0.7 * specimen.thickness_m
    assert specimen.thickness(np.array([2e-6]), np.array([0.0]))[0] == 0


def test_absorption_steps_at_each_states_own_edge():
    energy = np.arange(5440.0, 5520.0, 0.5)
    f2 = scattering_factors(STATES[:3], energy, V).imag
    for state, spectrum in zip(STATES, f2.T, strict=False):
        white_line = state.white_line_height / (1 + ((energy - 5465 - state.white_line_ev) / state.white_line_width_ev) ** 2)
        pre_edge = state.pre_edge_height / (1 + ((energy - 5465 - state.pre_edge_ev) / state.pre_edge_width_ev) ** 2)
        assert energy[np.argmax(np.gradient(spectrum - white_line - pre_edge))] == pytest.approx(5465 + state.edge_ev, abs=0.6)
        assert spectrum[-1] - spectrum[0] == pytest.approx(ABSORPTION_JUMP, rel=0.02)


def test_far_from_the_edge_the_phase_is_the_tables():
    energy = np.array([5200.0, 5900.0])
    ours = scattering_factors(STATES[:1], energy, V).real[:, 0] - 23
    np.testing.assert_allclose(ours, tabulated_f1("V", energy), atol=0.25)


def test_light_elements_add_their_electrons():
    energy = energy_grid(3, 5465.0)
    bare, whole = scattering_factors(STATES[:1], energy, V), electrons_per_formula(STATES[:1], energy, V)
    assert (whole - bare).real[:, 0] == pytest.approx(3 + 2 * 8, abs=0.2)


def test_transmission_of_a_thick_place_is_beers_law(tiny):
    electrons = electrons_per_formula(tiny.specimen.states, tiny.energies_ev, V)[0]
    axis = np.array([-5e-9, 0.0, 5e-9])
    image = transmission_at(tiny.specimen, electrons, axis, axis, 5420.0)
    density = 2.4e28 * tiny.specimen.thickness(np.zeros(1), np.zeros(1))[0]
    factor = electrons[tiny.specimen.state(np.zeros(1), np.zeros(1))[0]] * density * electrons_per_absorption(5420.0)
    assert image[1, 1] == pytest.approx(np.exp(-factor.imag - 1j * factor.real), rel=0.01)


def test_another_absorber_needs_no_other_code():
    iron = simulate(SimulationOptions(**{**vars(TINY), "n_energies": 2}), Absorber("Fe", "K"))
    assert iron.energies_ev[0] == pytest.approx(7112 - 45)
