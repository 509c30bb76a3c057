"""Figure of a plan: the chosen energies on the spectra to expect, and what each energy is sensitive to."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.figures.panel import formula_text
from tasks.figures.style import AREA_COLOURS, FAINT, INK, draw_png, new_figure
from tasks.planning.plan import EnergyPlan, expected_parameters
from tasks.simulation.chemical_states import STATES
from tasks.xanes.model import PARAMETERS, eq1, jacobian

SENSITIVITIES = {
    "edge energy": "edge_energy",
    "pre-edge height": "pre_edge_height",
    "edge jump": "edge_jump",
}
"""Label and parameter of eq. 1 whose derivatives are shown."""


def plan_png(plan: EnergyPlan) -> bytes:
    """PNG of `plan_figure`."""
    return draw_png("Chosen energies", plan_figure, plan)


def plan_figure(plan: EnergyPlan) -> Figure:
    """Expected spectra with the chosen energies above, sensitivities below."""
    figure = new_figure(120, 95)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    edge = plan.options.absorber.edge_energy_ev
    fine = edge + np.arange(-plan.options.below_ev - 3, plan.options.above_ev + 3.001, 0.1)
    parameters = np.stack([expected_parameters(state, plan.options) for state in STATES], axis=1)
    _draw_spectra(above, plan, fine, parameters)
    _draw_sensitivities(below, plan, fine, parameters)
    return figure


def _draw_spectra(axes: Axes, plan: EnergyPlan, fine: np.ndarray, parameters: np.ndarray) -> None:
    spectra = eq1(fine, parameters)
    mean = spectra.mean(axis=1)
    axes.plot(fine, spectra[:, 0], color=FAINT, linewidth=0.6, label="states to expect")
    axes.plot(fine, spectra[:, 1:], color=FAINT, linewidth=0.6)
    axes.plot(fine, mean, color=INK, linewidth=0.9, label="their mean")
    at = np.interp(plan.energy_ev, fine, mean)
    axes.vlines(plan.energy_ev, 0, at, color=AREA_COLOURS[1], linewidth=0.5, alpha=0.6)
    size = 18 * plan.share * len(plan.share)
    label = f"{len(at)} chosen energies" + (", area: photons" if plan.options.dose == "split" else "")
    axes.scatter(plan.energy_ev, at, s=size, color=AREA_COLOURS[1], edgecolor="white", linewidth=0.4, zorder=3, label=label)
    axes.set_ylim(0, 1.08 * spectra.max())
    axes.set_ylabel("$f\\,''$ (electrons per absorber)")
    axes.legend(loc="upper left")
    options = plan.options
    axes.set_title(
        f"{options.element} {options.edge} edge, {formula_text(options.compound)}, {options.thickness_um:g} µm: edge energy of a "
        f"pixel to {plan.errors.edge_energy_ev:.2f} eV",
        loc="left",
    )


def _draw_sensitivities(axes: Axes, plan: EnergyPlan, fine: np.ndarray, parameters: np.ndarray) -> None:
    slopes = np.mean([jacobian(fine, p) for p in parameters.T], axis=0)
    for (label, name), colour in zip(SENSITIVITIES.items(), AREA_COLOURS, strict=False):
        slope = np.abs(slopes[:, PARAMETERS.index(name)])
        axes.plot(fine, slope / slope.max(), color=colour, label=label)
    axes.plot(plan.energy_ev, np.full(plan.energy_ev.size, -0.06), "|", color=INK, markersize=5)
    axes.set_ylim(-0.12, 1.08)
    axes.set_ylabel("Sensitivity to (a.u.)")
    axes.set_xlabel("Energy (eV)")
    axes.legend(loc="upper left")
