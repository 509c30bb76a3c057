"""How far the reconstruction and the maps are from what their photons allow: errors over the Cramer-Rao bound.

A small simulated particle, 64 positions of 32 x 32 (`limit` needs the information matrix of all its pixels), forty energies by
the defaults. Of the images: A and the phase of single energies in the interior, before they are coupled. Of the maps: from
images as they are (A alone bounds them) and after the Kramers-Kronig constraint (A and the phase together do), every pixel
fitted alone and with the prior, which knows more than the bound. "Scatter" is what remains of an error from one drawing of the
photons to the next: it is noise, the rest repeats::

    python tests/benchmarks/bench_limit.py --seeds 601 602 --photons 1e8 1e7 1e6
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from bench_warm_start import AUTO, Specimen
from limit import Bound, Mask, Measurement, cramer_rao
from numpy.typing import NDArray
from scipy import ndimage

from tasks.arrays import robust_sd
from tasks.chemistry import chemistry_maps
from tasks.coupling.kkr import outside_columns, window_matrix
from tasks.coupling.projection import off_columns_basis
from tasks.coupling.spectra import Spectra, align, impose
from tasks.options.coupling import AlignOptions, KKROptions
from tasks.options.spectra import ChemistryOptions, FitOptions
from tasks.ptycho.probe import ProbeSpec, kb_profile
from tasks.ptycho.scan import illumination
from tasks.ptycho.state import State
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import absorption_jump, electrons_per_formula, formula_of
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate, transmission_at
from tasks.simulation.truth import Truth, assess, true_maps
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import Status, at_edge_wavelength, find_prior, fit_spectra
from tasks.xanes.mask import mask_pixels
from tasks.xanes.model import jacobian

Array = NDArray[np.float64]
Errors = tuple[float, float, float]
"""Of edge energy [eV], PE/dmu [eV] and electrons per absorber."""

PARTICLE = SimulationOptions(
    n_energies=40, n_positions_side=8, n_pixels=32, pixel_size_m=27e-9, radius_m=0.27e-6, step_m=100e-9, n_grains=6,
    probe=ProbeSpec(defocus_m=200e-6, apodisation=0.9),
)  # fmt: skip
REFERENCE = 26
"""Index of the energy that the others start from, behind the edge; its images are the ones compared."""


@dataclass(frozen=True)
class Limits:
    """The bound of one energy's images, and the truth at the same pixels (K,)."""

    images: Bound
    truth: Truth
    inside: Mask


def limits(simulation: Simulation, energy: int) -> Limits:
    """The Cramer-Rao bound of the particle's interior at one energy, in the gauge of the vacuum around it."""
    scan, options = simulation.scans[energy], simulation.options
    n, pixel_m = scan.n_pixels, scan.pixel_size_m
    positions_px = (scan.positions_m - simulation.drift_m[energy]) / pixel_m
    whole = np.rint(positions_px).astype(int)
    first = whole.min(axis=0) - n // 2
    y_m, x_m = (np.arange(first[k], whole[:, k].max() + n - n // 2) * pixel_m for k in (0, 1))
    electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev, simulation.absorber)[energy]
    image = transmission_at(simulation.specimen, electrons, y_m, x_m, scan.energy_ev).astype(complex)
    profile = kb_profile(options.probe, scan.energy_ev, np.asarray((np.arange(n) - n // 2) * pixel_m, dtype=float))
    probe = np.outer(profile, profile) * np.sqrt(scan.mean_photons) / np.linalg.norm(profile) ** 2
    measurement = Measurement(image, probe, whole - n // 2 - first, positions_px - whole, scan.mask)
    particle = simulation.specimen.thickness(*np.meshgrid(y_m, x_m, indexing="ij")) > 0
    around = ndimage.binary_dilation(particle, iterations=7) & ~ndimage.binary_dilation(particle, iterations=2)
    truth = true_maps(simulation, y_m, x_m)
    inside = ndimage.binary_erosion(truth.particle, iterations=3)
    return Limits(cramer_rao(measurement, around, inside), truth, inside)


def least_errors(simulation: Simulation, known: Limits, with_phase: bool) -> Errors:
    """Robust standard deviations of the maps if every energy's A, and phase, had the bound's errors and nothing else."""
    energies, absorber = simulation.energies_ev, simulation.absorber
    edge_ev, inside = absorber.edge_energy_ev, known.inside
    amount = known.truth.n_absorber[inside] * float(electrons_per_absorption(np.array([edge_ev]))[0])
    formula = formula_of(simulation.specimen.states[0], absorber)
    off = off_columns_basis(outside_columns(energies, absorber, formula)).T
    jump = absorption_jump(absorber)
    errors = np.empty((3, inside.sum()))
    for state, its in enumerate(simulation.specimen.states):
        p = its.parameters(jump, edge_ev)
        slopes = jacobian(energies, p)
        partner = off @ window_matrix(energies) @ slopes
        ratio = np.zeros(10)
        ratio[[1, 4, 6]] = np.pi * np.array([-p[4] * p[6] / p[1] ** 2, p[6] / p[1], p[4] / p[1]])
        for k in np.flatnonzero(known.truth.state[inside] == state):
            information = slopes.T @ slopes / (known.images.absorption[k] / amount[k]) ** 2
            if with_phase:
                information += partner.T @ partner / (known.images.phase[k] / amount[k]) ** 2
            covariance = np.linalg.inv(information)
            electrons = known.truth.electron_ratio[inside][k]
            of_phase = known.images.phase[k] / (amount[k] * electrons)
            relative = np.hypot(np.sqrt(covariance[1, 1]) / jump, of_phase)
            errors[:, k] = np.sqrt(covariance[2, 2]), np.sqrt(ratio @ covariance @ ratio), electrons * relative
    edge, pre_edge, electron = (robust(each) for each in errors)
    return edge, pre_edge, electron


def robust(standard_errors: Array) -> float:
    """Robust standard deviation of normal errors with these standard errors (K,), one a pixel."""
    drawn = standard_errors * np.random.default_rng(0).normal(size=(400, len(standard_errors)))
    return robust_sd(drawn.ravel())


@dataclass(frozen=True)
class Analysis:
    """One simulation through the default analysis: every energy's final state, and the spectra that follow."""

    specimen: Specimen
    states: list[State]

    @classmethod
    def of(cls, simulation: Simulation) -> "Analysis":
        """Reconstruct every energy, from the reference where that is another."""
        specimen = Specimen(simulation)
        _, start = specimen.reference(REFERENCE)
        energies = range(len(simulation.scans))
        return cls(specimen, [specimen.reconstruct(e, AUTO, None if e == REFERENCE else start) for e in energies])

    def image_errors(self) -> NDArray[np.float64]:
        """Errors (2, K) of A and of the phase [rad] at the reference and two energies on each side."""
        return np.hstack([self.specimen.errors(e, self.states[e]) for e in range(REFERENCE - 2, REFERENCE + 3)])

    def spectra(self, mode: Literal["off", "joint"]) -> Spectra:
        """Spectra of all energies without or with the constraint."""
        simulation, states = self.specimen.simulation, self.states
        canvases = [self.specimen.canvas(e) for e in range(len(states))]
        scans = zip(canvases, simulation.scans, states, strict=True)
        doses = [illumination(canvas, scan.positions_m, state.probe) for canvas, scan, state in scans]
        objects, formula = [state.object for state in states], formula_of(simulation.specimen.states[0], simulation.absorber)
        aligned = align(objects, doses, canvases, simulation.energies_ev, AlignOptions())
        return impose(aligned, canvases, simulation.absorber, formula, KKROptions(mode=mode))[0]


def redrawn(simulation: Simulation, seed: int) -> Simulation:
    """The same measurement with its photons drawn anew about the counts that were seen."""
    rng = np.random.default_rng(seed)
    scans = [replace(scan, counts=rng.poisson(scan.counts).astype(np.uint32)) for scan in simulation.scans]
    return replace(simulation, scans=scans)


def maps_of(absorber: Absorber, spectra: Spectra, prior: bool) -> dict[str, Array]:
    """State maps (Y, X) of the specimen's pixels."""
    edge_ev, inside = absorber.edge_energy_ev, spectra.sample_mask.ravel()
    energies, options = spectra.energy_ev, FitOptions(prior="population" if prior else "none")
    pixels = at_edge_wavelength(energies, spectra.absorption, edge_ev).reshape(len(energies), -1)
    pixels = np.where(inside, pixels, np.nan)
    known = find_prior(energies, pixels[:, inside], spectra.sigma_absorption, edge_ev, options)
    fit = fit_spectra(energies, pixels, spectra.sigma_absorption, edge_ev, known)
    sigma = float(np.sqrt(np.mean(spectra.sigma_absorption**2)))
    status = mask_pixels(fit, options, energy_ev=energies, absorption=pixels, edge_energy_ev=edge_ev, sigma_vacuum=sigma)
    status[~inside] = Status.MASKED_VACUUM
    lowest, sigma_phase = float(energies[0]), float(spectra.sigma_phase[0])
    return chemistry_maps(fit, status, spectra.phase[0], sigma_phase, lowest, absorber, ChemistryOptions(preset="chantler"))


def map_errors(simulation: Simulation, spectra: Spectra, prior: bool) -> Errors:
    """Robust standard deviations of the maps of these spectra against the truth."""
    maps = maps_of(simulation.absorber, spectra, prior)
    pair, labels = (spectra.absorption, spectra.phase), np.ones(spectra.sample_mask.shape, int)
    found = assess(simulation, spectra.y_m, spectra.x_m, pair, maps, labels)
    return found.edge_energy_sd_ev, found.pre_edge_ratio_sd_ev, found.electron_ratio_sd


def map_scatter(absorber: Absorber, pair: list[Spectra], prior: bool) -> Errors:
    """Robust standard deviations of the maps about their mean, from two analyses of redrawn photons."""
    first, second = (maps_of(absorber, spectra, prior) for spectra in pair)
    kept = ndimage.binary_erosion(np.asarray(first["mask"] * second["mask"], bool), iterations=3)
    names = ("edge_energy", "pre_edge_ratio", "electron_ratio")
    edge, pre_edge, electron = (robust_sd((first[name] - second[name])[kept]) / np.sqrt(2) for name in names)
    return edge, pre_edge, electron


def print_specimen(seed: int, photons: float) -> None:
    """The lines of one specimen."""
    simulation = simulate(replace(PARTICLE, seed=seed, photons=photons))
    absorber, known = simulation.absorber, limits(simulation, REFERENCE)
    analysis, others = Analysis.of(simulation), [Analysis.of(redrawn(simulation, k)) for k in range(2)]
    line = f"{photons:8.0e} {seed:5d}  {{:34}}"
    bound = tuple(robust(each) for each in (known.images.absorption, known.images.phase))
    scatter = (others[0].image_errors() - others[1].image_errors()) / np.sqrt(2)
    for words, errors in (("images: A, 1e-3; phase, mrad", analysis.image_errors()), ("  their scatter", scatter)):
        print(line.format(words), *cells(tuple(robust_sd(error) for error in errors), bound, 1e3), flush=True)
    modes: tuple[Literal["off", "joint"], ...] = ("off", "joint")
    for mode in modes:
        spectra, redone = analysis.spectra(mode), [other.spectra(mode) for other in others]
        least = least_errors(simulation, known, mode == "joint")
        for prior in (False, True):
            words = f"constraint {mode}, {'with' if prior else 'no'} prior: E0, PE, e"
            print(line.format(words), *cells(map_errors(simulation, spectra, prior), least), flush=True)
            print(line.format("  their scatter"), *cells(map_scatter(absorber, redone, prior), least), flush=True)


def cells(found: tuple[float, ...], bound: tuple[float, ...], factor: float = 1.0) -> list[str]:
    """Found, bound and their ratio, of each."""
    return [f"{factor * f:7.3f} {factor * b:7.3f} {f / b:5.2f}" for f, b in zip(found, bound, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[601, 602])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8, 1e7, 1e6])
    chosen = parser.parse_args()
    print(f"{'photons':>8} {'seed':>5}  {'what':34} found, bound, ratio of each")
    for photons in chosen.photons:
        for seed in chosen.seeds:
            print_specimen(seed, photons)


if __name__ == "__main__":
    main()
