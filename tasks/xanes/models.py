"""Models of a spectrum beside eq. 1: steps and peaks for edges that it does not describe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xraydb
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.scattering import Absorber
from tasks.xanes.model import edge_step, lorentzian

Array = NDArray[np.float64]

EXTRA: Final = (
    "pre_edge_2_height", "pre_edge_2_energy", "pre_edge_2_width",
    "edge_2_jump", "edge_2_energy", "edge_2_width",
    "white_line_2_height", "white_line_2_energy", "white_line_2_width",
)  # fmt: skip
"""Parameters that eq. 1 does not have: a second pre-edge peak, and the step and the white line of the L2 edge."""

STEP_WIDTH_EV: Final = (0.3, 15.0)
PEAK_WIDTH_EV: Final = (0.3, 20.0)
EDGE_EV: Final = (-10.0, 30.0)
PRE_EDGE_EV: Final = (-10.0, 10.0)
WHITE_LINE_EV: Final = (-8.0, 45.0)
L_LINE_EV: Final = (-6.0, 10.0)
"""Where steps and peaks may lie and how wide they may be [eV]; energies are relative to the tabulated edge.

A white line may lie at the edge itself, where eq. 1 expects a pre-edge peak."""


@dataclass(frozen=True)
class SpectrumModel:
    """An offset, steps and peaks: ``offset + sum jump * step(E) + sum height * lorentzian(E)``.

    Parameters
    ----------
    steps, peaks : mapping of str to (2,) tuple of float
        Energies [eV, absolute] between which each feature may lie, by its name.
    """

    steps: Mapping[str, tuple[float, float]]
    peaks: Mapping[str, tuple[float, float]]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the P parameters, as those of eq. 1: ``offset``, then amplitude, energy and width of each feature."""
        amplitudes = [(name, "jump") for name in self.steps] + [(name, "height") for name in self.peaks]
        return ("offset", *(f"{name}_{part}" for name, first in amplitudes for part in (first, "energy", "width")))

    def bounds(self) -> tuple[Array, Array]:
        """Lower and upper bounds of the parameters, (P,) each."""
        limits: list[tuple[float, float]] = [(-np.inf, np.inf)]
        for place, width in [(p, STEP_WIDTH_EV) for p in self.steps.values()] + [(p, PEAK_WIDTH_EV) for p in self.peaks.values()]:
            limits += [(0.0, np.inf), place, width]
        lower, upper = np.array(limits).T
        return lower, upper

    def shapes(self, energy_ev: Array, parameters: Array) -> Array:
        """Constant, steps and peaks of height 1, (n, F, E), at the energies (E,) for parameters (n, P)."""
        p, n_steps = parameters[:, 1:].reshape(len(parameters), -1, 3, 1), len(self.steps)
        steps = edge_step(energy_ev, p[:, :n_steps, 1], p[:, :n_steps, 2])
        peaks = lorentzian(energy_ev, p[:, n_steps:, 1], p[:, n_steps:, 2])
        return np.concatenate([np.ones((len(p), 1, energy_ev.size)), steps, peaks], axis=1)

    def evaluate(self, energy_ev: Array, parameters: Array) -> tuple[Array, Array]:
        """Absorption (n, E) and its derivatives (n, P, E) by each parameter, for parameters (n, P)."""
        shapes = self.shapes(energy_ev, parameters)
        features = parameters[:, 1:].reshape(len(parameters), -1, 3, 1)
        amplitude, centre, width = features[:, :, 0], features[:, :, 1], features[:, :, 2]
        t, n_steps = (energy_ev - centre) / width, len(self.steps)
        bell = -amplitude[:, :n_steps] * np.exp(-(t[:, :n_steps] ** 2)) / (np.sqrt(np.pi) * width[:, :n_steps])
        peak = 2 * amplitude[:, n_steps:] * shapes[:, 1 + n_steps :] ** 2 * t[:, n_steps:] / width[:, n_steps:]
        slope = np.concatenate([bell, peak], axis=1)
        derivatives = np.stack([shapes[:, 1:], slope, slope * t], axis=2).reshape(len(parameters), -1, energy_ev.size)
        value = shapes[:, 0] * parameters[:, :1] + np.sum(amplitude * shapes[:, 1:], axis=1)
        return value, np.concatenate([shapes[:, :1], derivatives], axis=1)


def spectrum_model(name: str, absorber: Absorber) -> SpectrumModel:
    """The model that ``fit.model`` names, at the absorber's edge.

    ``no_pre_edge`` is a step and a white line, ``two_pre_edges`` eq. 1 with another pre-edge peak, and ``l3_l2`` has a step
    and a white line at the L3 and at the L2 edge each.

    Raises
    ------
    InvalidOptionError
        ``l3_l2`` for another edge than L3.
    """
    at = absorber.edge_energy_ev
    edge, white_line = {"edge": _around(at, EDGE_EV)}, {"white_line": _around(at, WHITE_LINE_EV)}
    if name == "no_pre_edge":
        return SpectrumModel(edge, white_line)
    if name == "two_pre_edges":
        pre_edges = {"pre_edge": _around(at, PRE_EDGE_EV), "pre_edge_2": _around(at, PRE_EDGE_EV)}
        return SpectrumModel(edge, pre_edges | white_line)
    if absorber.edge != "L3":
        raise InvalidOptionError(f'fit.model "l3_l2" is for the edge L3; the absorber is {absorber.element} {absorber.edge}')
    second = float(xraydb.xray_edge(absorber.element, "L2").energy)
    # each line keeps to its side of the middle between the two edges
    reach = min(L_LINE_EV[1], (second - at) / 2)
    places = [(centre + max(L_LINE_EV[0], -(second - at) / 2), centre + reach) for centre in (at, second)]
    return SpectrumModel({"edge": places[0], "edge_2": places[1]}, {"white_line": places[0], "white_line_2": places[1]})


def check_model_energies(energy_ev: Array, model: SpectrumModel) -> None:
    """Raise `EnergyGridError` unless the energies (E,) can determine the model."""
    n_parameters = len(model.parameters)
    if energy_ev.size < n_parameters:
        raise EnergyGridError(
            f"this fit.model needs at least {n_parameters} energies, one for each parameter; got {energy_ev.size}"
        )
    for name, (low, high) in model.steps.items():
        if energy_ev[0] >= high or energy_ev[-1] <= (low + high) / 2:
            raise EnergyGridError(
                f"energies must lie on both sides of the {name.replace('_', ' ')} between {low:.1f} and {high:.1f} eV; got "
                f"{energy_ev[0]:.1f} to {energy_ev[-1]:.1f} eV. Is it another element or edge, or another fit.model?"
            )


def _around(centre: float, limits: tuple[float, float]) -> tuple[float, float]:
    return centre + limits[0], centre + limits[1]


def by_name(model: SpectrumModel, rows: Array, names: tuple[str, ...]) -> NDArray[Any]:
    """Rows (P, n) of the model's parameters in the order of ``names``; NaN for those that it does not have."""
    own = dict(zip(model.parameters, rows, strict=True))
    return np.stack([own.get(name, np.full(rows.shape[1], np.nan)) for name in names])
