"""The simulated measurement is what it says: photons, positions, edges, drift, and every state somewhere."""

import numpy as np
import pytest

from tasks.ptycho.scan import check_geometry
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.specimen import Simulation, SimulationOptions, diffract, grow_specimen, simulate, transmission_at
from tasks.units import electrons_per_absorption

TINY = SimulationOptions(n_energies=3, n_positions_side=5, n_pixels=48, radius_m=0.25e-6, pixel_size_m=20e-9, photons=1e6)
V = Absorber("V", "K")


@pytest.fixture(scope="module")
def tiny() -> Simulation:
    return simulate(TINY)


def test_photons_are_poisson_about_the_flux(tiny: Simulation) -> None:
    totals = np.array([scan.counts.sum(axis=(1, 2)).mean() for scan in tiny.scans])
    assert totals == pytest.approx(1e6, rel=0.35)
    scan = tiny.scans[0]
    electrons = electrons_per_formula(tiny.specimen.states, tiny.energies_ev, V)[0]
    mean = diffract(tiny.specimen, electrons, scan.positions_m - tiny.drift_m[0], scan.energy_ev, scan.pixel_size_m, TINY)
    mean *= scan.mask * scan.counts.sum() / np.sum(mean * scan.mask)
    lit = mean > 5
    assert np.mean((scan.counts[lit] - mean[lit]) ** 2 / mean[lit]) == pytest.approx(1.0, abs=0.05)
    assert scan.counts.dtype == np.uint32


def test_bad_pixels_hold_nothing(tiny: Simulation) -> None:
    scan = tiny.scans[1]
    assert not scan.mask.all()
    assert not scan.counts[:, ~scan.mask].any()


def test_scans_are_sane_and_the_pixel_grows_with_the_wavelength(tiny: Simulation) -> None:
    for scan in tiny.scans:
        assert check_geometry(scan.positions_m, scan.pixel_size_m, scan.n_pixels, tiny.probe_guess.fwhm_m) == []
    pixels = [scan.pixel_size_m for scan in tiny.scans]
    assert pixels[0] == pytest.approx(TINY.pixel_size_m)
    assert pixels[0] / pixels[-1] == pytest.approx(tiny.energies_ev[-1] / tiny.energies_ev[0])


def test_the_seed_decides_everything(tiny: Simulation) -> None:
    again = simulate(TINY)
    np.testing.assert_array_equal(again.scans[2].counts, tiny.scans[2].counts)
    other = simulate(SimulationOptions(**{**vars(TINY), "seed": 1}))
    assert (other.scans[2].counts != tiny.scans[2].counts).any()
    assert (other.drift_m != tiny.drift_m).any()


@pytest.mark.parametrize("seed", range(5))
def test_the_particle_ends_within_its_reach(seed: int) -> None:
    specimen = grow_specimen(SimulationOptions(seed=seed))
    y, x = np.meshgrid(*[np.linspace(-2, 2, 401) * specimen.radius_m] * 2, indexing="ij")
    beyond = np.hypot(y, x) > specimen.reach_m
    assert specimen.reach_m < 1.7 * specimen.radius_m, "most of the field is beyond"
    assert not specimen.thickness(y, x)[beyond].any()


@pytest.mark.parametrize("seed", range(5))
def test_every_state_has_a_grain(seed: int) -> None:
    specimen = grow_specimen(SimulationOptions(seed=seed, n_states=5, n_grains=9))
    assert set(specimen.grain_states) == set(range(5))
    assert specimen.thickness(np.zeros(1), np.zeros(1))[0] > 0.7 * specimen.thickness_m
    assert specimen.thickness(np.array([2e-6]), np.array([0.0]))[0] == 0


def test_transmission_of_a_thick_place_is_beers_law(tiny: Simulation) -> None:
    electrons = electrons_per_formula(tiny.specimen.states, tiny.energies_ev, V)[0]
    axis = np.array([-5e-9, 0.0, 5e-9])
    image = transmission_at(tiny.specimen, electrons, axis, axis, 5420.0)
    density = 2.4e28 * tiny.specimen.thickness(np.zeros(1), np.zeros(1))[0]
    factor = electrons[tiny.specimen.state(np.zeros(1), np.zeros(1))[0]] * density * electrons_per_absorption(5420.0)
    assert image[1, 1] == pytest.approx(np.exp(-factor.imag - 1j * factor.real), rel=0.01)


def test_another_absorber_needs_no_other_code() -> None:
    iron = simulate(SimulationOptions(**{**vars(TINY), "n_energies": 2}), Absorber("Fe", "K"))
    assert iron.energies_ev[0] == pytest.approx(7112 - 45)
