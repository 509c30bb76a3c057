"""The whole way at a small size, without the service: photons on the detector, images, spectra, maps, against the truth."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tasks.chemistry import chemistry_maps
from tasks.coupling.spectra import Spectra, align, impose
from tasks.options.coupling import AlignOptions, KKROptions
from tasks.options.reconstruct import ReconstructOptions
from tasks.options.spectra import ChemistryOptions, FitOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import illumination, plan_canvas
from tasks.ptycho.solver import init
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import formula_of
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate
from tasks.simulation.truth import assess
from tasks.xanes.fit import Status, at_edge_wavelength, fit_spectra
from tasks.xanes.mask import mask_pixels
from tasks.xanes.references.mixture import linear_combination
from tasks.xanes.references.normalisation import prepare

SMALL: dict[str, Any] = {"n_positions_side": 8, "n_pixels": 48, "radius_m": 0.28e-6}
OPTIONS = ReconstructOptions(cycles=60)
Whole = tuple[Simulation, Spectra, dict[str, NDArray[Any]]]


def spectra_of(simulation: Simulation, formula: str) -> Spectra:
    """Every energy reconstructed, then all of them brought together."""
    objects, doses, canvases = [], [], []
    for scan in simulation.scans:
        canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
        power = float(np.mean(np.sum(scan.counts, axis=(1, 2), dtype=float)))
        probe = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
        state = run(Reconstruction(scan, canvas, init(canvas, probe, OPTIONS), OPTIONS.max_cycles, OPTIONS))
        objects.append(state.object)
        doses.append(illumination(canvas, scan.positions_m, state.probe))
        canvases.append(canvas)
    aligned = align(objects, doses, canvases, simulation.energies_ev, AlignOptions())
    return impose(aligned, canvases, simulation.absorber, formula, KKROptions())[0]


def maps_of(spectra: Spectra, absorber: Absorber) -> dict[str, NDArray[Any]]:
    """State maps of the pixels that the specimen covers."""
    shape, inside = spectra.sample_mask.shape, spectra.sample_mask.ravel()
    edge = absorber.edge_energy_ev
    pixels = at_edge_wavelength(spectra.energy_ev, spectra.absorption, edge).reshape(len(spectra.energy_ev), -1)
    pixels = np.where(inside, pixels, np.nan)
    fit = fit_spectra(spectra.energy_ev, pixels, spectra.sigma_absorption, edge)
    sigma = float(np.sqrt(np.mean(spectra.sigma_absorption**2)))
    status = mask_pixels(
        fit, FitOptions(), energy_ev=spectra.energy_ev, absorption=pixels, edge_energy_ev=edge, sigma_vacuum=sigma
    )
    status[~inside] = Status.MASKED_VACUUM
    tables = ChemistryOptions(preset="chantler")
    lowest, sigma_phase = float(spectra.energy_ev[0]), float(spectra.sigma_phase[0])
    maps = chemistry_maps(fit, status, spectra.phase[0], sigma_phase, lowest, absorber, tables)
    assert maps["edge_energy"].shape == shape
    return maps


@pytest.fixture(scope="module")
def manganese() -> Whole:
    """A particle of two states at the Mn K edge: truth, spectra, maps."""
    absorber = Absorber("Mn")
    simulation = simulate(SimulationOptions(seed=2, n_energies=14, n_states=2, n_grains=4, element="Mn", **SMALL))
    spectra = spectra_of(simulation, formula_of(simulation.specimen.states[0], absorber))
    return simulation, spectra, maps_of(spectra, absorber)


def test_any_edge_from_photons_to_maps(manganese: Whole) -> None:
    simulation, spectra, maps = manganese
    absorber = simulation.absorber
    assert spectra.kk_slope == pytest.approx(1, abs=0.1)
    labels = 1 + (maps["edge_energy"] > absorber.edge_energy_ev + 12.45).astype(int)
    found = assess(simulation, spectra.y_m, spectra.x_m, (spectra.absorption, spectra.phase), maps, labels)
    assert abs(found.edge_energy_off_ev) < 0.15
    assert found.edge_energy_sd_ev < 0.5
    assert abs(found.pre_edge_ratio_off_ev) < 0.25
    assert abs(found.n_absorber_ratio - 1) < 0.05
    assert abs(found.electron_ratio_off) < 1.5
    assert found.coverage > 0.65
    assert found.adjusted_rand > 0.5
    assert 0.5 < found.within_sigma["edge_energy"] < 0.8


def test_the_rim_does_not_explode_and_every_pixel_has_its_reason(manganese: Whole) -> None:
    """Where the particle thins out to nothing ratios would go anywhere; what is kept stays near the middle."""
    _, spectra, maps = manganese
    kept, status = maps["mask"], maps["status"]
    ratio = maps["electron_ratio"][kept]
    assert np.max(np.abs(ratio / np.median(ratio) - 1)) < 0.5
    assert (status[~spectra.sample_mask] == Status.MASKED_VACUUM).all()
    assert (status[spectra.sample_mask & ~kept] == Status.MASKED_JUMP).all()
    assert np.isnan(maps["electron_ratio"][~kept]).all()
    depth = np.abs(spectra.phase[0])
    rim = ndimage.binary_dilation(kept, iterations=3) & ~kept
    assert np.median(depth[rim]) < 0.6 * np.median(depth[kept])
    assert np.median(depth[spectra.sample_mask & ~kept]) < np.median(depth[kept])


def test_a_mixture_of_measured_oxides_is_mapped(oxide_mixture: Callable[..., Any]) -> None:
    """V2O3 on the left, V2O5 on the right, their powders' spectra: shares within 0.05 of the truth."""
    mixture = oxide_mixture(seed=1, n_energies=20, **SMALL)
    spectra = spectra_of(mixture.measured, "V2O3")
    true, inside = mixture.share(spectra.y_m, spectra.x_m, spectra.phase[0])
    absorber = mixture.measured.absorber
    pixels = at_edge_wavelength(spectra.energy_ev, spectra.absorption[:, inside], absorber.edge_energy_ev)
    found = linear_combination(spectra.energy_ev, pixels, prepare(mixture.references, absorber))
    error = found.fraction[1] - true[inside]
    assert abs(np.median(error)) < 0.02
    assert np.sqrt(np.mean(error**2)) < 0.05
    assert np.mean(np.abs(error) < 0.05) > 0.9
