"""How far maps are from the truth of a simulated specimen: the figures a demonstration ends with and tests hold to."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.arrays import robust_sd
from tasks.coupling.registration import FixedImage, coarse_shift
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import absorption_jump, electrons_per_formula
from tasks.simulation.specimen import DENSITY_V_M3, Simulation, Specimen
from tasks.units import electrons_per_absorption

Array = NDArray[np.float64]

RIM_PX = 3
"""The interior keeps this far from the particle's outline, where a pixel is part vacuum."""
PARTICLE_THICKNESS = 0.1
"""The particle is where it is thicker than this share of its middle."""
NEAR_PX = 6
"""Pixels about the particle that take part in finding where it is."""
N_REGISTRATIONS = 4
"""Times that the specimen is registered, each from where the last one found it."""
SEARCHED_RADII = 1.6
"""The particle has no part further from the origin, in mean radii."""

STATES: Final = ("edge_energy", "pre_edge_ratio", "electron_ratio")
"""Maps whose errors are assessed."""


@dataclass(frozen=True)
class Truth:
    """The maps that a perfect measurement would give, (Y, X) each."""

    phase: Array
    """[rad], at the lowest energy."""
    edge_energy: Array
    """[eV]."""
    pre_edge_ratio: Array
    """PE / dmu [eV]."""
    n_absorber: Array
    """[m^-2]."""
    electron_ratio: Array
    """Electrons per absorber atom, at the lowest energy."""
    state: NDArray[np.int64]
    particle: NDArray[np.bool_]


@dataclass(frozen=True)
class Assessment:
    """Errors of a run's maps; robust standard deviations are those of `tasks.arrays.robust_sd`."""

    edge_energy_off_ev: float
    """Median error over the interior."""
    edge_energy_sd_ev: float
    pre_edge_ratio_off_ev: float
    pre_edge_ratio_sd_ev: float
    n_absorber_ratio: float
    """Sum found over sum true."""
    electron_ratio_off: float
    electron_ratio_sd: float
    adjusted_rand: float
    """Agreement of the domains with the true states: 1 perfect, 0 chance."""
    coverage: float
    """Share of the particle that was kept."""
    absorption_sd: float
    """Of a pixel at one energy, rms over energies."""
    phase_sd_rad: float
    """The same."""
    within_sigma: dict[str, float]
    """Share of the interior that is off by less than one standard error, by the name of the map; normal errors: 0.68."""


def true_maps(simulation: Simulation, y_m: Array, x_m: Array) -> Truth:
    """The truth at the centres ``y_m`` (Y,), ``x_m`` (X,) [m] in the specimen's own frame."""
    specimen, absorber = simulation.specimen, simulation.absorber
    y, x = np.meshgrid(y_m, x_m, indexing="ij")
    thickness, state = specimen.thickness(y, x), specimen.state(y, x)
    lowest = simulation.energies_ev[:1]
    electrons = electrons_per_formula(specimen.states, lowest, absorber)[0].real
    density = DENSITY_V_M3 * thickness
    edges = np.array([absorber.edge_energy_ev + s.edge_ev for s in specimen.states])
    return Truth(
        phase=-density * electrons[state] * float(electrons_per_absorption(lowest)[0]),
        edge_energy=edges[state],
        pre_edge_ratio=pre_edge_ratios(specimen, absorber)[state],
        n_absorber=density,
        electron_ratio=electrons[state],
        state=state,
        particle=thickness > PARTICLE_THICKNESS * specimen.thickness_m,
    )


def true_spectra(simulation: Simulation, y_m: Array, x_m: Array) -> tuple[Array, Array]:
    """Absorption and phase (E, Y, X) at the centres ``y_m`` (Y,), ``x_m`` (X,) [m] in the specimen's own frame."""
    specimen, energies = simulation.specimen, simulation.energies_ev
    y, x = np.meshgrid(y_m, x_m, indexing="ij")
    amount = DENSITY_V_M3 * specimen.thickness(y, x) * electrons_per_absorption(energies)[:, None, None]
    electrons = electrons_per_formula(specimen.states, energies, simulation.absorber)[:, specimen.state(y, x)]
    return amount * electrons.imag, -amount * electrons.real


def pre_edge_ratios(specimen: Specimen, absorber: Absorber) -> Array:
    """(S,) PE / dmu = pi c11 c13 / b1 of each state [eV]."""
    jump = absorption_jump(absorber)
    return np.array([np.pi * s.pre_edge_height * s.pre_edge_width_ev / jump for s in specimen.states])


def state_shares(simulation: Simulation, step_m: float = 10e-9) -> Array:
    """(S,) share of the particle's absorber in each state, in ascending order of edge energy, as domains are numbered."""
    reach = SEARCHED_RADII * simulation.specimen.radius_m
    axis_m = np.arange(-reach, reach, step_m)
    truth = true_maps(simulation, axis_m, axis_m)
    inside = truth.particle
    order = np.argsort([state.edge_ev for state in simulation.specimen.states])
    amount = np.bincount(truth.state[inside], truth.n_absorber[inside], len(order))[order]
    return np.asarray(amount / amount.sum())


def find_offset(simulation: Simulation, y_m: Array, x_m: Array, phase: Array) -> Array:
    """(2,) displacement [m] of the specimen in a run's frame, found on the phase image (Y, X) of the lowest energy.

    Object and probe may be displaced together without a trace in the data, so maps are compared after registration.
    """
    pixel = float(y_m[1] - y_m[0])
    seen = np.nan_to_num(np.asarray(phase, dtype=float))
    offset = coarse_shift(true_maps(simulation, y_m, x_m).phase, seen, np.ones(seen.shape)) * pixel
    for _ in range(N_REGISTRATIONS):
        truth = true_maps(simulation, y_m - offset[0], x_m - offset[1])
        near = ndimage.binary_dilation(truth.particle, iterations=NEAR_PX).astype(float)
        offset += FixedImage(truth.phase, near).shift_of(seen) * pixel
    return offset


def assess(
    simulation: Simulation,
    y_m: Array,
    x_m: Array,
    spectra: tuple[NDArray[np.floating], NDArray[np.floating]],
    maps: dict[str, Array],
    labels: NDArray[np.integer[Any]],
) -> Assessment:
    """Compare a run's spectra, maps and domains with the truth.

    Parameters
    ----------
    simulation : Simulation
    y_m, x_m : (Y,), (X,) float64 arrays
        Pixel centres of the maps.
    spectra : two (E, Y, X) arrays
        Absorption, and phase [rad].
    maps : dict of (Y, X) arrays
        ``n_absorber``, ``mask``, and `STATES` with their ``<name>_sigma``, as the results store names them.
    labels : (Y, X) int array
        Domains, 0 outside.
    """
    # takes a second to load, which nothing else here needs
    from sklearn.metrics import adjusted_rand_score

    offset = find_offset(simulation, y_m, x_m, spectra[1][0])
    truth = true_maps(simulation, y_m - offset[0], x_m - offset[1])
    kept = np.asarray(maps["mask"], bool)
    inside = ndimage.binary_erosion(truth.particle, iterations=RIM_PX) & kept
    errors = {name: (maps[name] - getattr(truth, name))[inside] for name in STATES}
    labelled = inside & (labels > 0)
    true = true_spectra(simulation, y_m - offset[0], x_m - offset[1])
    absorption_sd, phase_sd = (_mean_sd((seen - so)[:, inside]) for seen, so in zip(spectra, true, strict=True))
    return Assessment(
        edge_energy_off_ev=_median(errors["edge_energy"]),
        edge_energy_sd_ev=robust_sd(errors["edge_energy"]),
        pre_edge_ratio_off_ev=_median(errors["pre_edge_ratio"]),
        pre_edge_ratio_sd_ev=robust_sd(errors["pre_edge_ratio"]),
        n_absorber_ratio=float(np.sum(maps["n_absorber"][inside]) / np.sum(truth.n_absorber[inside])),
        electron_ratio_off=_median(errors["electron_ratio"]),
        electron_ratio_sd=robust_sd(errors["electron_ratio"]),
        adjusted_rand=float(adjusted_rand_score(truth.state[labelled], labels[labelled])),
        coverage=float((kept & truth.particle).sum() / truth.particle.sum()),
        absorption_sd=absorption_sd,
        phase_sd_rad=phase_sd,
        within_sigma={name: float(np.mean(np.abs(errors[name]) < maps[f"{name}_sigma"][inside])) for name in STATES},
    )


def _median(values: Array) -> float:
    return float(np.median(values))


def _mean_sd(errors: Array) -> float:
    """Rms over energies of the robust standard deviation of errors (E, n)."""
    return float(np.sqrt(np.mean([robust_sd(of_energy) ** 2 for of_energy in errors])))
