"""Which energies to measure: those that promise the least errors of chosen descriptors, before anything is measured.

What a spectrum will tell follows from eq. 1, from its Kramers-Kronig partner where the phase is used too, and from the
photons that get through. Where the edge will lie is not known beforehand: the energies must serve all states a specimen
may be in, and all places of its edge within an uncertainty, so the criterion is a mean over these cases.
"""

from dataclasses import astuple, dataclass, replace
from typing import Annotated, Final, Literal, get_args

import numpy as np
import xraydb
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.chemistry import theoretical_electron_ratio
from tasks.coupling.kkr import outside_columns, residual, transform_matrix, window_corners, window_matrix
from tasks.errors import FormulaError
from tasks.formula import composition
from tasks.options.config import CONFIG
from tasks.options.spectra import ChemistryOptions, Formula
from tasks.planning.design import Criterion, Experiment, allocate, choose, covariance
from tasks.scattering import LOWEST_EV, Absorber, tabulated_f2
from tasks.simulation.chemical_states import STATES, ChemicalState, absorption_jump, require_lone_edge, scattering_factors
from tasks.simulation.energies import energy_grid
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import MIN_ENERGIES
from tasks.xanes.model import PARAMETERS, eq1, jacobian
from tasks.xanes.partner import eq1_partner

Array = NDArray[np.float64]

AVOGADRO: Final = 6.02214076e23
"""Atoms in a mole [1/mol]."""
OFFSET_BELOW_EV: Final = 15.0
"""The spectrum's offset is that of the tables so far below the lowest candidate [eV]."""
REFERENCE_ENERGIES: Final = 40
"""Energies of the grid that plans are compared with, the measurement's of the paper."""

DEPARTURE: Final = 1.5
"""How far a spectrum may depart from eq. 1, over the noise of one of its points: no more would be seen."""
NODES_EV: Final = (-45, -30, -15, -5, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 33, 40, 50, 62, 75)
"""Energies about the edge between which departures from eq. 1 are straight."""

PlannedDescriptor = Literal["edge_energy", "pre_edge_ratio", "edge_jump", "electron_ratio"]
DESCRIPTORS: Final[tuple[PlannedDescriptor, ...]] = get_args(PlannedDescriptor)


@pydantic_dataclass(frozen=True, config=CONFIG)
class PlanOptions:
    """What is to be measured, and what for."""

    element: str = "V"
    """Absorbing element."""
    edge: str = "K"
    """Its absorption edge."""
    formula: Formula | None = None
    """Chemical formula of the specimen; LiVO2 with the absorber in vanadium's place where not given."""
    thickness_um: Annotated[float, Field(gt=0, le=1000)] = 1.4
    """Thickness of the specimen [um]."""
    density_g_cm3: Annotated[float, Field(gt=0, le=30)] = 3.6
    """Density of the specimen [g/cm3]."""
    energies: Annotated[int, Field(ge=MIN_ENERGIES, le=200)] = 20
    """Number of energies to choose."""
    photons: Annotated[float, Field(gt=0)] = 4e6
    """Photons on each object pixel, all energies together: 40 frames of 1e7 photons, 15 nm pixels and 150 nm steps."""
    excess: Annotated[float, Field(ge=1)] = 1.6
    """Noise of the reconstructed absorption over that of the photons alone."""
    phase_noise: Annotated[float, Field(gt=0)] = 2.0
    """Error of the phase over that of the absorption; the larger, the less the phase is counted on (1000: not at all)."""
    descriptors: Annotated[tuple[PlannedDescriptor, ...], Field(min_length=1)] = ("edge_energy", "pre_edge_ratio", "edge_jump")
    """What is wanted; errors are weighed relative to those of the usual grid of forty energies."""
    criterion: Criterion = "A"
    """Least mean variance of the descriptors (A), or least volume of their error ellipsoid (D)."""
    dose: Literal["equal", "split"] = "equal"
    """Equal photons at every energy, or split between them as serves best; the sum is the same."""
    below_ev: Annotated[float, Field(gt=0, le=200)] = 45.0
    """Lowest energy that may be chosen, below the tabulated edge [eV]."""
    above_ev: Annotated[float, Field(ge=40, le=400)] = 75.0
    """Highest energy that may be chosen, above the tabulated edge [eV]."""
    step_ev: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Candidates lie this far apart [eV]: no two chosen energies are nearer, so take the width of the monochromator's band."""
    uncertainty_ev: Annotated[float, Field(ge=0, le=10)] = 1.0
    """How far the edge of each expected state may lie from where it is expected, or the energy axis be off [eV]."""

    @property
    def absorber(self) -> Absorber:
        """Element and edge."""
        return Absorber(self.element, self.edge)

    @property
    def compound(self) -> str:
        """The formula, given or not."""
        return self.formula or f"Li{self.element}O2"


@dataclass(frozen=True)
class Errors:
    """Standard errors to expect of one pixel, the root of the mean square over the states and places of the edge."""

    edge_energy_ev: float
    pre_edge_ratio_ev: float
    """Of PE / dmu."""
    edge_jump: float
    """Relative; N_absorber has the same."""
    electron_ratio: float
    """Electrons per absorber atom."""


@dataclass(frozen=True)
class EnergyPlan:
    """Energies to measure, and what to expect of them.

    Parameters
    ----------
    options : PlanOptions
    energy_ev : (n,) float64 array [eV]
        Ascending, lowest and highest of which bound the window.
    share : (n,) float64 array
        Of all photons; sums to 1.
    errors, reference : Errors
        With these energies, and with the usual grid of forty at the same total of photons.
    kk_rms : float
        What the Kramers-Kronig matrix leaves unexplained on these energies, rms over states [electrons per absorber].
    """

    options: PlanOptions
    energy_ev: Array
    share: Array
    errors: Errors
    reference: Errors
    kk_rms: float


def plan_energies(options: PlanOptions) -> EnergyPlan:
    """Choose the energies, share out the photons, and say what to expect.

    Raises
    ------
    FormulaError
        Element, edge or formula cannot be, or another edge of the element lies among the candidates.
    EnergyGridError
        A candidate lies below the tables.
    InvalidOptionError
        More energies than candidates.
    """
    absorber = options.absorber
    edge = absorber.edge_energy_ev
    candidates = edge + np.arange(-options.below_ev, options.above_ev + 1e-9, options.step_ev)
    require_lone_edge(candidates, absorber)
    usual = energy_grid(REFERENCE_ENERGIES, edge)
    usual = usual[(usual >= candidates[0]) & (usual <= candidates[-1])]
    everything = np.unique(np.concatenate([candidates, usual]))
    whole = experiment(options, everything)
    effort = np.isin(everything, usual) / len(usual)
    reference = _errors(whole, effort)
    names = [DESCRIPTORS.index(name) for name in options.descriptors]
    unit = np.array(astuple(reference))
    at = np.flatnonzero(np.isin(everything, candidates))
    wanted = with_departures(options, candidates, whole.rows[:, at], whole.wanted[:, names] / unit[names][:, None])
    # thousands of small products: BLAS' threads only wait for each other
    with threadpool_limits(1):
        chosen = choose(wanted, options.energies, options.criterion, fixed=(0, len(candidates) - 1))
        share = np.full(len(chosen), 1 / len(chosen))
        if options.dose == "split":
            share = allocate(wanted, chosen, options.criterion)
    effort = np.zeros(len(everything))
    effort[at[chosen]] = share
    energy = candidates[chosen]
    kk_rms = kramers_kronig_error(energy, absorber, options.compound)
    return EnergyPlan(options, energy, share, _errors(whole, effort), reference, kk_rms)


def expected_cases(options: PlanOptions) -> list[ChemicalState]:
    """States the specimen may be in, each with its whole spectrum also displaced by the uncertainty, up and down."""
    by = (-options.uncertainty_ev, 0.0, options.uncertainty_ev) if options.uncertainty_ev else (0.0,)
    return [
        replace(s, edge_ev=s.edge_ev + d, pre_edge_ev=s.pre_edge_ev + d, white_line_ev=s.white_line_ev + d)
        for s in STATES
        for d in by
    ]


def absorbers_per_area(options: PlanOptions) -> float:
    """Absorber atoms in the thickness of the specimen [m^-2]."""
    atoms = composition(options.compound)
    if not atoms.get(options.element):
        raise FormulaError(f"{options.compound!r} must contain the absorber {options.element}, got atoms of {', '.join(atoms)}")
    mass_g = sum(amount * float(xraydb.atomic_mass(element)) for element, amount in atoms.items())
    return options.density_g_cm3 * 1e6 / mass_g * AVOGADRO * atoms[options.element] * options.thickness_um * 1e-6


def expected_parameters(state: ChemicalState, options: PlanOptions) -> Array:
    """(10,) parameters of eq. 1 [electrons per absorber atom, eV]; the offset is the tables' of the whole formula."""
    absorber = options.absorber
    edge, atoms = absorber.edge_energy_ev, composition(options.compound)
    below = np.array([max(edge - options.below_ev - OFFSET_BELOW_EV, LOWEST_EV)])
    offset = sum(n / atoms[options.element] * float(tabulated_f2(element, below)[0]) for element, n in atoms.items())
    return state.parameters(absorption_jump(absorber), edge, offset)


def noise_per_absorber(options: PlanOptions, parameters: Array, energy_ev: Array) -> Array:
    """(E,) standard error of f'' of one absorber atom [electrons], were each energy given all photons.

    n photons that get through tell a logarithm of the amplitude to ``1 / (2 sqrt(n))``; the thicker the specimen, the
    larger the signal and the fewer the photons.
    """
    per_electron = electrons_per_absorption(energy_ev) * absorbers_per_area(options)
    transmitted = np.exp(-per_electron * eq1(energy_ev, parameters))
    return np.asarray(options.excess / (2 * np.sqrt(options.photons) * transmitted) / per_electron)


def experiment(options: PlanOptions, energy_ev: Array) -> Experiment:
    """What each energy (E,) would tell, were it given all photons, in each case; `DESCRIPTORS` are wanted.

    Parameters are those of eq. 1 in electrons per absorber atom, and the amounts of the columns T.
    """
    absorber = options.absorber
    columns = outside_columns(energy_ev, absorber, options.compound)
    electrons = theoretical_electron_ratio(options.compound, float(energy_ev[0]), absorber, ChemistryOptions(preset="chantler"))
    rows, wanted = [], []
    for case in expected_cases(options):
        p = expected_parameters(case, options)
        sigma = noise_per_absorber(options, p, energy_ev)[:, None]
        partner = eq1_partner(energy_ev, p[None])[1][0]
        absorption = np.hstack([jacobian(energy_ev, p), np.zeros_like(columns)]) / sigma
        phase = np.hstack([partner, columns]) / (options.phase_noise * sigma)
        rows.append(np.stack([absorption, phase], axis=1))
        wanted.append(_gradients(p, np.append(partner[0], columns[0]), electrons))
    return Experiment(np.stack(rows), np.stack(wanted))


def with_departures(options: PlanOptions, energy_ev: Array, rows: Array, wanted: Array) -> Experiment:
    """The experiment were f'' eq. 1 plus something unknown, small and broken at `NODES_EV`, and f' the partner of both.

    Were eq. 1 exact, energies would be repeated where a parameter is best seen. No real spectrum follows it, and the
    Kramers-Kronig matrix wants to know f'' all over the window: this is what spreads them.
    """
    absorber = options.absorber
    nodes = absorber.edge_energy_ev + np.array(NODES_EV, dtype=float)
    hats = np.stack([np.interp(energy_ev, nodes, one) for one in np.eye(nodes.size)], axis=1)
    corners = window_corners(energy_ev)
    ends = np.concatenate([corners[:1], energy_ev, corners[-1:]])
    partners = transform_matrix(energy_ev, ends)[:, 1:-1] @ hats
    more = np.empty((*rows.shape[:3], nodes.size))
    prior = np.zeros((len(rows), *2 * (rows.shape[-1] + nodes.size,)))
    for one, case in zip(more, expected_cases(options), strict=True):
        sigma = noise_per_absorber(options, expected_parameters(case, options), energy_ev)[:, None]
        one[:, 0], one[:, 1] = hats / sigma, partners / (options.phase_noise * sigma)
        departure = DEPARTURE * float(np.median(sigma)) * np.sqrt(options.energies)
        prior[..., range(-nodes.size, 0), range(-nodes.size, 0)] = 1 / departure**2
    indifferent = np.zeros((*wanted.shape[:2], nodes.size))
    return Experiment(np.concatenate([rows, more], axis=-1), np.concatenate([wanted, indifferent], axis=-1), prior)


def _gradients(p: Array, lowest_phase: Array, electrons: float) -> Array:
    """(4, P) derivatives of the `DESCRIPTORS` by the parameters; the jump relative, the phase at the lowest energy."""
    jump, height, width = (PARAMETERS.index(name) for name in ("edge_jump", "pre_edge_height", "pre_edge_width"))
    found = np.zeros((len(DESCRIPTORS), lowest_phase.size))
    found[0, PARAMETERS.index("edge_energy")] = 1.0
    found[1, [height, width]] = np.pi * p[width] / p[jump], np.pi * p[height] / p[jump]
    found[1, jump] = -np.pi * p[height] * p[width] / p[jump] ** 2
    found[2, jump] = 1 / p[jump]
    found[3] = lowest_phase
    found[3, jump] -= electrons / p[jump]
    return found


def _errors(whole: Experiment, effort: Array) -> Errors:
    variances = np.einsum("sdd->sd", covariance(whole, effort)).mean(axis=0)
    return Errors(*(float(one) for one in np.sqrt(variances)))


def kramers_kronig_error(energy_ev: Array, absorber: Absorber, formula: str) -> float:
    """Rms of ``g' - K g'' - T c`` over the energies and states [electrons per absorber], were nothing noisy."""
    truth = scattering_factors(STATES, energy_ev, absorber)
    K, T = window_matrix(energy_ev), outside_columns(energy_ev, absorber, formula)
    return float(np.sqrt(np.mean(residual(K, T, truth.imag, truth.real) ** 2)))
