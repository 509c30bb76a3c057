"""A specimen of known chemistry and what a detector would see of it: the demo's data and the tests' ground truth.

The specimen is an irregular particle of a vanadium oxide, grown together from domains; each domain is in one of
several states (`tasks.simulation.chemical_states`). Nothing here is taken from the reconstruction but the meaning of a scan:
probes are displaced analytically, the specimen is averaged within a pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from tasks.options.config import CONFIG
from tasks.ptycho.probe import ProbeSpec, kb_profile, pixel_coordinates
from tasks.ptycho.scan import Scan
from tasks.scattering import Absorber, transmission
from tasks.simulation.chemical_states import STATES, ChemicalState, electrons_per_formula
from tasks.simulation.energies import energy_grid
from tasks.units import electrons_per_absorption, object_pixel_size_m

Array = NDArray[np.float64]

DETECTOR_PIXEL_M = 75e-6
"""Pixel of the detector, an EIGER's [m]."""
DENSITY_V_M3 = 2.4e28
"""Vanadium atoms a cubic metre, about that of LiVO2; of another absorber in its place as many."""
SUPERSAMPLING = 3
"""Parts along each side of an object pixel over which the transmission is averaged."""
LEAST_FLUX = 0.2
"""Least flux of an energy, relative to the mean, however wide its spread is."""


@pydantic_dataclass(frozen=True, config=CONFIG)
class SimulationOptions:
    """What specimen, measured how."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random: outline, domains, drift, flux, jitter and photons."""
    n_energies: Annotated[int, Field(ge=1, le=400)] = 40
    """Number of energies between 45 eV below and 75 eV above the edge."""
    energies_ev: tuple[float, ...] | None = None
    """These energies, ascending, in their place."""
    n_positions_side: Annotated[int, Field(ge=2, le=200)] = 12
    """Scan positions along each side of the raster."""
    n_pixels: Annotated[int, Field(ge=16, le=2048)] = 96
    """Side of a frame."""
    photons: Annotated[float, Field(gt=0)] = 1e8
    """Photons in a frame, on average over energies."""
    n_states: Annotated[int, Field(ge=1, le=len(STATES))] = 4
    """Number of chemical states."""
    n_grains: Annotated[int, Field(ge=1)] = 14
    """Number of domains grown together."""
    state_weights: tuple[float, ...] | None = None
    """Relative share of grains in each state; equal where not given."""
    radius_m: Annotated[float, Field(gt=0)] = 0.62e-6
    """Mean radius of the particle."""
    thickness_m: Annotated[float, Field(gt=0)] = 1.4e-6
    """Thickness in the middle."""
    step_m: Annotated[float, Field(gt=0)] = 150e-9
    """Raster step."""
    pixel_size_m: Annotated[float, Field(gt=0)] = 15e-9
    """Object pixel at the lowest energy; it sets the detector's distance."""
    drift_m: Annotated[float, Field(ge=0)] = 20e-9
    """Standard deviation of the unknown displacement of the specimen at each energy."""
    flux_spread: Annotated[float, Field(ge=0, lt=1)] = 0.08
    """Relative standard deviation of the flux over energies."""
    probe: ProbeSpec = Field(default_factory=lambda: ProbeSpec(defocus_m=400e-6, apodisation=0.9))
    """The true probe."""
    element: str = "V"
    """The element whose edge is scanned; it takes vanadium's place in the formulas."""
    edge: str = "K"
    """Its absorption edge."""


@dataclass(frozen=True)
class Specimen:
    """Where the particle is, how thick, and which state each place is in."""

    states: tuple[ChemicalState, ...]
    harmonics: Array
    """(K, 2): cosine and sine amplitude of the outline's harmonics 2..K+1, relative to the radius."""
    ripples: Array
    """(R, 4): wave vector (y, x) [1/m], phase [rad] and amplitude of the thickness' ripples."""
    grain_centres_m: Array
    """(G, 2)."""
    grain_states: NDArray[np.int64]
    """(G,) index into states."""
    radius_m: float
    thickness_m: float

    @property
    def reach_m(self) -> float:
        """Distance from the origin beyond which the particle has no part, whatever the direction [m]."""
        return self.radius_m * (1 + float(np.abs(self.harmonics).sum()))

    def thickness(self, y_m: Array, x_m: Array) -> Array:
        """Thickness [m] at points of any shape; zero outside the particle."""
        angle = np.arctan2(y_m, x_m)
        order = np.arange(2, len(self.harmonics) + 2)[:, None]
        waves = self.harmonics[:, :1] * np.cos(order * angle.ravel()) + self.harmonics[:, 1:] * np.sin(order * angle.ravel())
        outline = self.radius_m * (1 + waves.sum(axis=0).reshape(angle.shape))
        dome = np.sqrt(np.clip(1 - (np.hypot(y_m, x_m) / outline) ** 4, 0, None))
        ripple = sum(a * np.cos(2 * np.pi * (ky * y_m + kx * x_m) + phase) for ky, kx, phase, a in self.ripples)
        return np.asarray(self.thickness_m * dome * (1 + ripple))

    def state(self, y_m: Array, x_m: Array) -> NDArray[np.int64]:
        """Index of the state at points of any shape, also outside the particle: that of the nearest grain."""
        least = np.full(np.broadcast(y_m, x_m).shape, np.inf)
        nearest = np.zeros(least.shape, np.int64)
        for grain, (centre_y, centre_x) in enumerate(self.grain_centres_m):  # one grain at a time, to need little memory
            distance = (y_m - centre_y) ** 2 + (x_m - centre_x) ** 2
            is_nearer = distance < least
            least[is_nearer], nearest[is_nearer] = distance[is_nearer], grain
        return np.asarray(self.grain_states[nearest])


@dataclass(frozen=True)
class Simulation:
    """Scans at every energy, and the truth behind them."""

    options: SimulationOptions
    specimen: Specimen
    absorber: Absorber
    scans: list[Scan]
    probe_guess: ProbeSpec
    """What the beamline believes of its optics: the focus' width, but a nominal defocus and a sharp aperture."""
    drift_m: Array
    """(E, 2) displacement of the specimen at each energy."""

    @property
    def energies_ev(self) -> Array:
        """(E,) ascending."""
        return np.array([scan.energy_ev for scan in self.scans])


def grow_specimen(options: SimulationOptions) -> Specimen:
    """The particle of ``options.seed``; every state holds at least one grain.

    The outline is a circle with four harmonics of falling random amplitude, 2 to 6 % of the radius; the thickness a dome with
    four ripples of 2 to 5 % and 0.7 to 1.7 um.
    """
    rng = np.random.default_rng([options.seed, 1])
    harmonics = rng.normal(0, [[0.06], [0.05], [0.03], [0.02]], (4, 2))
    direction = rng.uniform(0, 2 * np.pi, 4)
    wave = rng.uniform(0.6e6, 1.4e6, 4)
    ripples = np.stack(
        [wave * np.sin(direction), wave * np.cos(direction), rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.02, 0.05, 4)], axis=1
    )
    n_grains = max(options.n_grains, options.n_states)
    centres = _spread_points(rng, n_grains, 0.95 * options.radius_m)
    weights = np.asarray(options.state_weights if options.state_weights else np.ones(options.n_states), dtype=float)
    states = np.concatenate(
        [np.arange(options.n_states), rng.choice(options.n_states, n_grains - options.n_states, p=weights / weights.sum())]
    )
    return Specimen(
        STATES[: options.n_states], harmonics, ripples, centres, rng.permutation(states), options.radius_m, options.thickness_m
    )


def _spread_points(rng: np.random.Generator, n: int, radius: float) -> Array:
    """(n, 2) points in a disc, each the farthest of a few from those before it, so that grains are of like size."""
    points = np.empty((0, 2))
    while len(points) < n:
        angle, distance = rng.uniform(0, 2 * np.pi, 12), radius * np.sqrt(rng.uniform(0, 1, 12))
        trial = np.stack([distance * np.sin(angle), distance * np.cos(angle)], axis=1)
        apart = np.linalg.norm(trial[:, None] - points[None], axis=2).min(axis=1) if len(points) else distance
        points = np.vstack([points, trial[np.argmax(apart)]])
    return points


def simulate(
    options: SimulationOptions | None = None,
    absorber: Absorber | None = None,
    keep: Callable[[Scan], Scan] = lambda scan: scan,
) -> Simulation:
    """Grow the specimen and measure it at every energy.

    ``keep`` is called with every scan as it is measured, and returns what the simulation holds of it: a caller that writes
    scans to disk may drop their counts, so that no more than one energy is in memory.
    """
    options = options or SimulationOptions()
    absorber = absorber or Absorber(options.element, options.edge)
    rng = np.random.default_rng([options.seed, 2])
    specimen = grow_specimen(options)
    energies = energy_grid(options.n_energies, absorber.edge_energy_ev)
    if options.energies_ev is not None:
        energies = np.array(options.energies_ev)
    electrons = electrons_per_formula(specimen.states, energies, absorber)
    pixel_at_1_m = object_pixel_size_m(energies[0], 1.0, options.n_pixels, DETECTOR_PIXEL_M)
    distance = options.pixel_size_m / pixel_at_1_m
    drift = rng.normal(0, options.drift_m, (len(energies), 2))
    flux = options.photons * np.clip(rng.normal(1, options.flux_spread, len(energies)), LEAST_FLUX, None)
    mask = bad_pixels(rng, options.n_pixels)
    scans = []
    for e, energy in enumerate(energies):
        positions = raster(rng, options.n_positions_side, options.step_m)
        pixel = object_pixel_size_m(energy, distance, options.n_pixels, DETECTOR_PIXEL_M)
        intensity = diffract(specimen, electrons[e], positions - drift[e], float(energy), pixel, options)
        counts = rng.poisson(intensity * flux[e]) * mask
        scans.append(keep(Scan(counts.astype(np.uint32), positions, mask, float(energy), distance, DETECTOR_PIXEL_M)))
    guess = ProbeSpec(kind="kb", fwhm_m=options.probe.fwhm_m, defocus_m=0.5 * options.probe.defocus_m)
    return Simulation(options, specimen, absorber, scans, guess, drift)


def raster(rng: np.random.Generator, side: int, step_m: float) -> Array:
    """(side^2, 2) positions [m] about the origin, each off the raster by up to a fifth of a step."""
    axis = (np.arange(side) - (side - 1) / 2) * step_m
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return grid + rng.uniform(-0.2, 0.2, grid.shape) * step_m


def bad_pixels(rng: np.random.Generator, n_pixels: int) -> NDArray[np.bool_]:
    """(N, N) bool, True where good: half a percent dead, and a dead row off the beam."""
    mask = rng.uniform(size=(n_pixels, n_pixels)) > 0.005
    mask[n_pixels // 2 + n_pixels // 5] = False
    return mask


def diffract(
    specimen: Specimen,
    electrons: NDArray[np.complex128],
    positions_m: Array,
    energy_ev: float,
    pixel_size_m: float,
    options: SimulationOptions,
) -> Array:
    """(P, N, N) float64: mean photons in each detector pixel for one photon in the probe, beam centre in the middle."""
    n = options.n_pixels
    whole = np.rint(positions_m / pixel_size_m).astype(int)
    first = whole.min(axis=0) - n // 2
    y_m, x_m = (np.arange(first[k], whole[:, k].max() + n - n // 2) * pixel_size_m for k in (0, 1))
    image = transmission_at(specimen, electrons, y_m, x_m, energy_ev)
    axis_m = pixel_coordinates(n) * pixel_size_m
    offsets_m = positions_m - whole * pixel_size_m
    profiles = kb_profile(options.probe, energy_ev, axis_m, offsets_m)
    profiles /= np.linalg.norm(profiles, axis=2, keepdims=True)
    frames = np.empty((len(positions_m), n, n))
    for frame, (along_y, along_x), (row, column) in zip(frames, profiles, whole - n // 2 - first, strict=True):
        patch = image[row : row + n, column : column + n]
        wave = np.fft.fft2(along_y[:, None] * along_x[None, :] * patch, norm="ortho")
        frame[:] = np.fft.fftshift(wave.real**2 + wave.imag**2)
    return frames


def transmission_at(
    specimen: Specimen, electrons: NDArray[np.complex128], y_m: Array, x_m: Array, energy_ev: float
) -> NDArray[np.complex64]:
    """(Y, X) complex64: O averaged within each pixel of a regular grid with these centres."""
    fine_y, fine_x = supersample(y_m), supersample(x_m)
    y, x = np.meshgrid(fine_y, fine_x, indexing="ij")
    near = np.hypot(y, x) <= specimen.reach_m
    density = DENSITY_V_M3 * specimen.thickness(y[near], x[near])
    factor = electrons[specimen.state(y[near], x[near])] * electrons_per_absorption(energy_ev)
    image = np.ones(y.shape, np.complex64)
    image[near] = transmission(density * factor.imag, -density * factor.real)
    return bin_down(image).astype(np.complex64)


def supersample(axis_m: Array) -> Array:
    """Centres of `SUPERSAMPLING` parts of every pixel of a regular axis [m]."""
    step = (axis_m[1] - axis_m[0]) / SUPERSAMPLING
    parts = (np.arange(SUPERSAMPLING) - (SUPERSAMPLING - 1) / 2) * step
    return np.asarray((axis_m[:, None] + parts[None, :]).ravel())


def bin_down(image: NDArray[Any]) -> NDArray[Any]:
    """Mean over the `SUPERSAMPLING`^2 parts of every pixel."""
    height, width = (side // SUPERSAMPLING for side in image.shape)
    return np.asarray(image.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING).mean(axis=(1, 3)))
