"""Chemical states of known spectra, and what an atom in each of them scatters: what simulated specimens are made of.

Absorption follows eq. 1 of the paper in the window and the Chantler tables far from it; the phase is its Kramers-Kronig
partner.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.coupling.kkr import table_energies, transform_matrix
from tasks.errors import FormulaError
from tasks.formula import composition
from tasks.scattering import LOWEST_EV, Absorber, relativistic_charge, tabulated_f2, tabulated_step
from tasks.xanes.model import eq1

Array = NDArray[np.float64]

ABSORPTION_JUMP = 3.53
"""Step of f'' at the V K edge [electrons], the paper's."""

EQ1_WITHIN_EV, WITHIN_OF_ENERGY, WITHIN_OF_GAP = 120.0, 0.4, 0.6
"""f'' is eq. 1 as far as this from the edge [eV], or these shares of the edge's energy and of the gap to the next if less."""
FADE_EV, FADE_OF_ENERGY, FADE_OF_GAP = 200.0, 0.4, 0.3
"""Beyond, it fades into the tables over this much more, in the same units."""

FLOOR_BELOW_EV, FLOOR_BELOW_SHARE = 60.0, 0.1
"""Eq. 1 stands on the tables' f'' so far below the edge [eV], or this share of the edge's energy where that is less."""
NODE_STEP_EV = 0.1
"""Distance of the nodes between which f'' is straight about the edge, for its transform [eV]."""


@dataclass(frozen=True)
class ChemicalState:
    """One state a domain can be in: the parameters of eq. 1 in electrons, relative to the edge, and the formula."""

    formula: str
    edge_ev: float
    """b2 above the tabulated edge energy [eV]."""
    pre_edge_height: float
    """c11 [electrons]."""
    edge_width_ev: float = 3.2
    pre_edge_ev: float = 4.6
    pre_edge_width_ev: float = 1.1
    white_line_height: float = 1.3
    white_line_ev: float = 19.0
    white_line_width_ev: float = 4.0

    def parameters(self, jump: float, edge_energy_ev: float = 0.0, offset: float = 0.0) -> Array:
        """Parameters (10,) of eq. 1 [electrons, eV], for a step ``jump`` of f'' and a tabulated edge ``edge_energy_ev``."""
        return np.array([
            offset, jump, edge_energy_ev + self.edge_ev, self.edge_width_ev,
            self.pre_edge_height, edge_energy_ev + self.pre_edge_ev, self.pre_edge_width_ev,
            self.white_line_height, edge_energy_ev + self.white_line_ev, self.white_line_width_ev,
        ])  # fmt: skip


STATES = (
    ChemicalState("LiVO2", 12.0, 0.45),
    ChemicalState("Li10/7V6/7O2", 12.9, 1.10, white_line_height=1.2),
    ChemicalState("LiVO3", 14.6, 2.10, pre_edge_ev=5.0, white_line_height=1.0, white_line_ev=20.5),
    ChemicalState("Li1/2VO2", 13.7, 0.75, white_line_height=1.45, white_line_ev=20.0),
    ChemicalState("V2O5", 15.4, 1.55, pre_edge_ev=5.2, white_line_ev=21.0),
    ChemicalState("V2O3", 11.3, 0.80, pre_edge_ev=4.4, white_line_ev=18.0),
)
"""The states specimens are made of, in the order they are used.

Their parameters are chosen, not measured: the edge lies the higher the higher vanadium's valence, as it does in its oxides.
"""


def scattering_factors(states: tuple[ChemicalState, ...], energy_ev: Array, absorber: Absorber) -> NDArray[np.complex128]:
    """(E, S) complex128: ``(Z + f') + i f''`` of one absorber atom in each state [electrons].

    f'' is eq. 1 within 120 eV of the edge and fades into the tables over the next 200 eV, sooner where a neighbouring edge or
    low energies are near; f' is its transform over all energies.

    Raises
    ------
    EnergyGridError
        An energy below the tables.
    FormulaError
        Another edge of the absorber lies among the energies, where eq. 1 is not its spectrum.
    """
    require_lone_edge(energy_ev, absorber)
    edge = absorber.edge_energy_ev
    fine = np.arange(max(edge - FLOOR_BELOW_EV, LOWEST_EV), edge + EQ1_WITHIN_EV, NODE_STEP_EV)
    nodes = np.unique(np.concatenate([table_energies(energy_ev), fine, energy_ev]))
    near = _share_of_eq1(nodes, absorber)
    table = tabulated_f2(absorber.element, nodes)
    below = min(FLOOR_BELOW_EV, FLOOR_BELOW_SHARE * edge)
    floor = float(tabulated_f2(absorber.element, np.array([edge - below]))[0])
    jump = absorption_jump(absorber)
    f2 = np.stack([near * (floor + eq1_in_electrons(state, nodes - edge, jump)) + (1 - near) * table for state in states], axis=1)
    f1 = relativistic_charge(absorber.element) + transform_matrix(energy_ev, nodes) @ f2
    at = np.searchsorted(nodes, energy_ev)
    return f1 + 1j * f2[at]


def _share_of_eq1(energy_ev: Array, absorber: Absorber) -> Array:
    """Share of eq. 1 in f'' at each energy, the rest being the tables': 1 about the edge, 0 from before the next edges on."""
    edge = absorber.edge_energy_ev
    gap = np.where(energy_ev < edge, edge - absorber.neighbours_ev[0], absorber.neighbours_ev[1] - edge)
    inner = np.minimum(min(EQ1_WITHIN_EV, WITHIN_OF_ENERGY * edge), WITHIN_OF_GAP * gap)
    fade = np.minimum(min(FADE_EV, FADE_OF_ENERGY * edge), FADE_OF_GAP * gap)
    return np.asarray(np.clip(1 - (np.abs(energy_ev - edge) - inner) / fade, 0, 1))


def require_lone_edge(energy_ev: Array, absorber: Absorber) -> None:
    """Raise `FormulaError` where another edge of the absorber lies among the energies (E,) [eV]."""
    previous, following = absorber.neighbours_ev
    inside = [edge for edge in (previous, following) if energy_ev[0] <= edge <= energy_ev[-1]]
    if inside:
        raise FormulaError(
            f"eq. 1 describes one edge, but the energies from {energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV about the "
            f"{absorber.element} {absorber.edge} edge ({absorber.edge_energy_ev:.1f} eV) hold another of {absorber.element} "
            f"at {inside[0]:.1f} eV. Choose a narrower window or another edge"
        )


def absorption_jump(absorber: Absorber) -> float:
    """Step of f'' that specimens of this absorber have [electrons]: the paper's for V K, else the tables'."""
    return ABSORPTION_JUMP if absorber == Absorber() else tabulated_step(absorber)


def eq1_in_electrons(state: ChemicalState, offset_ev: Array, jump: float = ABSORPTION_JUMP) -> Array:
    """The edge and the two peaks of eq. 1, ``offset_ev`` above the tabulated edge [electrons]."""
    return eq1(offset_ev, state.parameters(jump))


def formula_of(state: ChemicalState, absorber: Absorber) -> str:
    """The state's formula with the absorber in vanadium's place."""
    return state.formula.replace("V", absorber.element)


def reference_text(state: ChemicalState, absorber: Absorber) -> str:
    """The XDI file of a pure powder of this state, measured in transmission from 150 eV before the edge to 400 eV after it."""
    offset_ev = np.concatenate([np.arange(-150.0, -20.0, 5.0), np.arange(-20.0, 60.0, 0.25), np.arange(60.0, 401.0, 2.0)])
    mu = 0.4 + eq1_in_electrons(state, offset_ev, absorption_jump(absorber))
    head = [
        "#XDI/1.0 ptyxas", f"# Element.symbol: {absorber.element}", f"# Element.edge: {absorber.edge}",
        f"# Sample.name: {formula_of(state, absorber)}", "# Column.1: energy eV", "# Column.2: mutrans", "#---",
    ]  # fmt: skip
    rows = [f"{absorber.edge_energy_ev + e:.2f} {m:.6f}" for e, m in zip(offset_ev, mu, strict=True)]
    return "\n".join([*head, *rows])


def electrons_per_formula(states: tuple[ChemicalState, ...], energy_ev: Array, absorber: Absorber) -> NDArray[np.complex128]:
    """(E, S) complex128: ``sum_j n_j (Z_j + f'_j + i f''_j)`` per absorber atom, light elements included [electrons]."""
    total = scattering_factors(states, energy_ev, absorber)
    nodes = np.unique(np.concatenate([table_energies(energy_ev), energy_ev]))
    matrix, at = transform_matrix(energy_ev, nodes), np.searchsorted(nodes, energy_ev)
    for s, state in enumerate(states):
        atoms = composition(formula_of(state, absorber))
        for element, amount in atoms.items():
            if element != absorber.element:
                f2 = tabulated_f2(element, nodes)
                total[:, s] += amount / atoms[absorber.element] * (relativistic_charge(element) + matrix @ f2 + 1j * f2[at])
    return total
