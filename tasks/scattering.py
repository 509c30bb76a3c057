"""Matter as X-rays see it: scattering factors, absorption edges, and the complex object as absorption and phase."""

from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.errors import FormulaError
from tasks.options.config import CONFIG
from tasks.units import electrons_per_absorption

LOWEST_EV: Final = 30.0
"""Least energy at which the tables are used [eV]."""

STEP_WINDOW_EV: Final = 200.0
CLEAR_BELOW_EV: Final = 40.0
CLEAR_ABOVE_EV: Final = 25.0
"""Tabulated f'' is extended to an edge from `STEP_WINDOW_EV` on either side; this near to an edge the tables hold a broadened
step. Where another edge is near, or the energy low, the distances shrink with the gap and with the energy."""

LEAST_GAP_EV: Final = 3.0
"""Edges nearer to each other than this [eV] are one step in the tables, which cannot be divided between them."""

STEP_TOLERANCE: Final = 0.05
"""Most that tabulated f'' may depart from a power of the energy in a window, over the step that is taken from it."""


def _tables() -> ModuleType:
    """The module ``xraydb``, loaded when its tables are first needed: it takes a second, and an `Absorber` none."""
    import xraydb

    tables: ModuleType = xraydb
    return tables


@dataclass(frozen=True, config=CONFIG)
class Absorber:
    """The element whose absorption edge is scanned."""

    element: str = Field(default="V", max_length=40, examples=["V", "Fe", "Mn"])
    """Chemical symbol."""
    edge: str = Field(default="K", max_length=40, examples=["K", "L3"])
    """Absorption edge, in Siegbahn's notation."""

    @property
    def edge_energy_ev(self) -> float:
        """Tabulated energy of the edge [eV] (Elam, Ravel & Sieber 2002, by xraydb)."""
        try:
            edges = _edges(self.element)
        except ValueError as error:
            raise FormulaError(f"absorber.element must be a chemical symbol, got {self.element!r}") from error
        if self.edge not in edges:
            known = ", ".join(edges) or "none"
            raise FormulaError(f"absorber.edge must be an edge of {self.element} ({known}), got {self.edge!r}")
        return float(edges[self.edge].energy)

    @property
    def neighbours_ev(self) -> tuple[float, float]:
        """Energies of the element's nearest edges below and above this one [eV]; 0 and infinity where there is none."""
        edge = self.edge_energy_ev
        energies = [float(other.energy) for other in _edges(self.element).values()]
        return max((e for e in energies if e < edge), default=0.0), min((e for e in energies if e > edge), default=np.inf)

    @property
    def gap_ev(self) -> float:
        """Distance to the element's nearest other edge [eV], 0 where one has the same energy; infinity where there is none."""
        edge, edges = self.edge_energy_ev, _edges(self.element)
        return min((abs(float(other.energy) - edge) for name, other in edges.items() if name != self.edge), default=np.inf)

    @property
    def lone_range_ev(self) -> tuple[float, float]:
        """Energies [eV] between which this is the only edge of its element: what the tables broaden at the others is left out."""
        edge, (previous, following) = self.edge_energy_ev, self.neighbours_ev
        low = previous + _clear(CLEAR_ABOVE_EV, 0.4, edge - previous, previous)
        return max(low, LOWEST_EV), following - _clear(CLEAR_BELOW_EV, 0.2, following - edge, following)


@cache
def _edges(element: str) -> dict[str, Any]:
    """The tabulated edges of an element, by their names in Siegbahn's notation."""
    return dict(_tables().xray_edges(element))


def relativistic_charge(element: str) -> float:
    """``Z* = Z - (Z / 82.5)^2.37`` [electrons]: what Z + f' tends to at high energy (Henke, Gullikson & Davis 1993)."""
    z = _tables().atomic_number(element)
    return float(z - (z / 82.5) ** 2.37)


def tabulated_f2(element: str, energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """f'' of an atom [electrons] from the Chantler tables (by xraydb), shape of ``energy_ev`` [eV]."""
    return np.reshape(_tables().f2_chantler(element, np.asarray(energy_ev, dtype=float)), np.shape(energy_ev)).astype(float)


def clear_windows(absorber: Absorber) -> tuple[tuple[float, float], tuple[float, float]]:
    """Windows [eV] below and above an edge where f'' is that of the free atom, far enough from this edge and its neighbours.

    A window may be empty, its end below its beginning, where edges are too close.
    """
    edge = absorber.edge_energy_ev
    previous, following = absorber.neighbours_ev
    reach = min(STEP_WINDOW_EV, 0.2 * edge)
    low, high = absorber.lone_range_ev
    return (
        (max(edge - reach, low), edge - _clear(CLEAR_BELOW_EV, 0.2, edge - previous, edge)),
        (edge + _clear(CLEAR_ABOVE_EV, 0.4, following - edge, edge), min(edge + reach, high)),
    )


def _clear(most_ev: float, share: float, gap_ev: float, edge_ev: float) -> float:
    """Distance from an edge [eV] at which the tables' step is over: ``share`` of the gap to its neighbour, 5 % of its energy."""
    return min(most_ev, share * gap_ev, 0.05 * edge_ev)


def tabulated_step(absorber: Absorber) -> float:
    """Step of f'' across the absorber's edge [electrons]: the tables on either side, extended to it as powers of the energy.

    Raises
    ------
    FormulaError
        An edge below the tables, or so close to the next that no f'' of this edge alone is left between them.
    """
    edge = absorber.edge_energy_ev
    (below, below_departs), (above, above_departs) = (_extended_f2(absorber.element, edge, w) for w in clear_windows(absorber))
    step = above - below
    if not max(below_departs, above_departs) < STEP_TOLERANCE * step or absorber.gap_ev < LEAST_GAP_EV:
        previous, following = absorber.neighbours_ev
        raise FormulaError(
            f"the step of f'' at the {absorber.element} {absorber.edge} edge ({edge:.1f} eV) cannot be taken from the tables: "
            f"the element's next edges lie at {previous:.1f} and {following:.1f} eV, the tables begin at {LOWEST_EV:g} eV. "
            "Choose an edge that stands alone"
        )
    return step


def _extended_f2(element: str, edge_ev: float, window_ev: tuple[float, float]) -> tuple[float, float]:
    """f'' at the edge of the power law through the tabulated values in a window, and how far they depart from it [electrons]."""
    if not window_ev[0] < window_ev[1]:
        return 0.0, np.inf
    logarithm = np.log(np.linspace(*window_ev, 40) / edge_ev)
    values = np.log(tabulated_f2(element, edge_ev * np.exp(logarithm)))
    slope, at_edge = np.polyfit(logarithm, values, 1)
    f2 = float(np.exp(at_edge))
    return f2, f2 * float(np.max(np.abs(values - at_edge - slope * logarithm)))


def tabulated_f1(element: str, energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """f' of an atom [electrons] from the Chantler tables (by xraydb), shape of ``energy_ev`` [eV]."""
    return np.reshape(_tables().f1_chantler(element, np.asarray(energy_ev, dtype=float)), np.shape(energy_ev)).astype(float)


def transmission(absorption: NDArray[np.floating], phase: NDArray[np.floating]) -> NDArray[np.complex64]:
    """``O = exp(-A + i phi)``."""
    return np.exp(-absorption + 1j * phase).astype(np.complex64)


def electron_densities(
    absorption: NDArray[np.floating], phase: NDArray[np.floating], energy_ev: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``g'' = A / (r_e lambda)`` and ``g' = -phi / (r_e lambda)`` [e- m^-2].

    Parameters
    ----------
    absorption, phase : (E, ...) arrays
    energy_ev : (E,) float64 array [eV]
    """
    per_energy = electrons_per_absorption(energy_ev).reshape((-1,) + (1,) * (absorption.ndim - 1))
    return absorption / per_energy, -phase / per_energy
