"""Matter as X-rays see it: scattering factors, formulas, and the complex object as absorption and phase."""

import re
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.errors import FormulaError
from tasks.options import CONFIG
from tasks.units import electrons_per_absorption

FRACTION = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")


BELOW_EV: Final = (-200.0, -40.0)
ABOVE_EV: Final = (25.0, 200.0)
"""Windows about the edge [eV] whose tabulated f'' is extended to it; between them the tables hold a broadened step."""


def _tables() -> ModuleType:
    """The module ``xraydb``, loaded when its tables are first needed: it takes a second, and an `Absorber` none."""
    import xraydb

    return xraydb


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
            edges = _tables().xray_edges(self.element)
        except ValueError as error:
            raise FormulaError(f"absorber.element must be a chemical symbol, got {self.element!r}") from error
        if self.edge not in edges:
            known = ", ".join(edges) or "none"
            raise FormulaError(f"absorber.edge must be an edge of {self.element} ({known}), got {self.edge!r}")
        return float(edges[self.edge].energy)


@lru_cache(maxsize=256)
def composition(formula: str) -> dict[str, float]:
    """Atoms of each element in one formula unit; fractions such as ``Li10/7V6/7O2`` are understood.

    Raises
    ------
    FormulaError
        The formula cannot be read, or names an unknown element.
    """
    decimals = FRACTION.sub(lambda m: f"{float(Fraction(m[1]) / Fraction(m[2])):.12f}", formula)
    try:
        parsed = _tables().chemparse(decimals)
    except ValueError as error:
        raise FormulaError(f"a formula must be element symbols and amounts, such as LiVO2, got {formula!r}") from error
    if not parsed:
        raise FormulaError(f"a formula must name at least one element, got {formula!r}")
    return {element: float(amount) for element, amount in parsed.items()}


def relativistic_charge(element: str) -> float:
    """``Z* = Z - (Z / 82.5)^2.37`` [electrons]: what Z + f' tends to at high energy (Henke, Gullikson & Davis 1993)."""
    z = _tables().atomic_number(element)
    return float(z - (z / 82.5) ** 2.37)


def tabulated_f2(element: str, energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """f'' of an atom [electrons] from the Chantler tables (by xraydb), shape of ``energy_ev`` [eV]."""
    return np.reshape(_tables().f2_chantler(element, np.asarray(energy_ev, dtype=float)), np.shape(energy_ev)).astype(float)


def tabulated_step(absorber: Absorber) -> float:
    """Step of f'' across the absorber's edge [electrons]: the tables on either side, extended to it as powers of the energy."""
    edge = absorber.edge_energy_ev
    above, below = (_extended_f2(absorber.element, edge, window) for window in (ABOVE_EV, BELOW_EV))
    return above - below


def _extended_f2(element: str, edge_ev: float, window_ev: tuple[float, float]) -> float:
    """f'' at the edge [electrons] of the power law through the tabulated values in a window about it."""
    energy = edge_ev + np.linspace(*window_ev, 40)
    return float(np.exp(np.polyfit(np.log(energy / edge_ev), np.log(tabulated_f2(element, energy)), 1)[1]))


def tabulated_f1(element: str, energy_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    """f' of an atom [electrons] from the Chantler tables (by xraydb), shape of ``energy_ev`` [eV]."""
    return np.reshape(_tables().f1_chantler(element, np.asarray(energy_ev, dtype=float)), np.shape(energy_ev)).astype(float)


def absorption_and_phase(image: NDArray[np.complex64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``A = -ln|O|`` and ``phi = arg O`` [rad, wrapped to (-pi, pi]] of a complex object of any shape."""
    magnitude = np.maximum(np.abs(image), np.finfo(np.float32).tiny)
    return -np.log(magnitude).astype(np.float32), np.angle(image).astype(np.float32)


def transmission(absorption: NDArray[np.floating], phase: NDArray[np.floating]) -> NDArray[np.complex64]:
    """``O = exp(-A + i phi)``, the inverse of `absorption_and_phase`."""
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
