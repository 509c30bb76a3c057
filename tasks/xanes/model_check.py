"""Whether a model of the spectrum holds: signs in the fits of a specimen that it describes something else."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.scattering import Absorber
from tasks.xanes.bounds import LIMITS, bounds
from tasks.xanes.fit import SpectrumFit, Status
from tasks.xanes.mask import kept
from tasks.xanes.model import PARAMETERS

LEAST_PIXELS: Final = 10
"""Fewer pixels tell nothing of the model."""

CLEAR_JUMP: Final = 10.0
"""Pixels are judged whose edge jump is this many times the noise in vacuum; of a misfit, which may mask them, regardless."""

LARGEST_PRE_EDGE: Final = 1.0
"""Height of a pre-edge peak in edge jumps: V2O5, whose 1s -> 3d peak is the strongest of the oxides, has about 0.8."""

BESIDE_EDGE_EV: Final = 1.0
"""A peak less than this below the edge is a white line; pre-edges of 3d metals lie 4 eV and more below it."""

MOST_AT_BOUND: Final = 0.5
"""Share of the pixels that may lie on a bound of one parameter."""

NOTABLE_PEAK: Final = 0.05
"""A peak lower than this many edge jumps says nothing of its own place and width."""

FAR_FROM_NOISE: Final = 5.0
NOTABLE_RESIDUAL: Final = 0.02
"""The misfit is the model's where the residual is more than `FAR_FROM_NOISE` times the noise in vacuum and more than this many
edge jumps."""

ADVICE: Final = "eq. 1 describes K edges of 3d metals; here the maps that come from the fit may mean something else"
"""What follows from it, at the end of every sentence."""


def model_warnings(fit: SpectrumFit, status: NDArray[np.int8], sigma_vacuum: float, edge_energy_ev: float) -> list[str]:
    """Sentences that say why the model does not hold in a specimen; none where it does.

    Parameters
    ----------
    fit : SpectrumFit
        Of n spectra. Parameters that the model lacks are NaN.
    status : (n,) int8 array
        From `tasks.xanes.mask.mask_pixels`; the pixels that were fitted are judged, also those masked for their jump.
    sigma_vacuum : float
        Standard deviation of the absorption in vacuum, in the unit of the absorption.
    edge_energy_ev : float
        Tabulated edge of the absorber [eV], which bounds are relative to.
    """
    fitted = kept(status) | (status == Status.MASKED_JUMP)
    jump = fit.parameters[PARAMETERS.index("edge_jump")]
    judged = fitted & (jump > CLEAR_JUMP * sigma_vacuum) & (jump > 0)
    n_pixels = int(np.count_nonzero(judged))
    if n_pixels < LEAST_PIXELS:
        return []
    parameters = dict(zip(PARAMETERS, fit.parameters[:, judged], strict=True))
    found = _pre_edge(parameters) + _at_bounds(parameters, edge_energy_ev)
    found += _residual(fit.residual[judged], parameters["edge_jump"], sigma_vacuum)
    n_failed = int(np.count_nonzero(status[judged] == Status.NOT_CONVERGED))
    if n_failed > MOST_AT_BOUND * n_pixels:
        found.append(f"the fit did not converge in {n_failed / n_pixels:.0%} of the pixels")
    return [f"{sentence} (of {n_pixels} pixels): {ADVICE}" for sentence in found]


def neighbour_warnings(energy_ev: NDArray[np.float64], absorber: Absorber, model: str) -> list[str]:
    """One sentence where another edge of the absorber was measured too, for which ``fit.model`` has no step of its own."""
    modelled = 2 if model == "l3_l2" else 1
    beside = [edge_ev for edge_ev in absorber.neighbours_ev if energy_ev[0] < edge_ev < energy_ev[-1]]
    if len(beside) < modelled:
        return []
    places = " and ".join(f"{edge_ev:.1f} eV" for edge_ev in beside)
    advice = "take fit.model l3_l2" if absorber.edge == "L3" and modelled == 1 else "leave out the energies beyond it"
    return [
        f"the measured energies hold another edge of {absorber.element} at {places}: the jump, and the densities that follow "
        f"from it, may be those of both edges together: {advice}"
    ]


def _pre_edge(parameters: dict[str, NDArray[np.float64]]) -> list[str]:
    """A pre-edge peak that is no pre-edge peak."""
    height = parameters["pre_edge_height"] / parameters["edge_jump"]
    if not np.isfinite(height).any():
        return []
    typical = float(np.median(height))
    if typical > LARGEST_PRE_EDGE:
        return [f"the pre-edge peak is {typical:.1f} edge jumps high, as only a white line is"]
    above = (parameters["pre_edge_energy"] > parameters["edge_energy"] - BESIDE_EDGE_EV) & (height > NOTABLE_PEAK)
    share = float(np.mean(above))
    return [f"the pre-edge peak lies on the edge or above it in {share:.0%} of the pixels"] if share > MOST_AT_BOUND else []


def _at_bounds(parameters: dict[str, NDArray[np.float64]], edge_energy_ev: float) -> list[str]:
    """Parameters that lie on a bound in most pixels; not those of a peak that is not there."""
    lower, upper = bounds(edge_energy_ev)
    shares = {}
    for name, low, high in zip(PARAMETERS, lower, upper, strict=True):
        if low == LIMITS["edge_jump"][0]:  # no peak, or no step, is an answer
            continue
        feature = name.rpartition("_")[0]
        height = parameters.get(f"{feature}_height", parameters["edge_jump"])
        there = height > NOTABLE_PEAK * parameters["edge_jump"]
        on_bound = (parameters[name] <= low) | (parameters[name] >= high)
        shares[name] = float(np.mean(on_bound & there))
    binding = [f"{name.replace('_', ' ')} ({share:.0%})" for name, share in shares.items() if share > MOST_AT_BOUND]
    return [f"most pixels lie on a bound of the fit: {', '.join(binding)}"] if binding else []


def _residual(residual: NDArray[np.float64], jump: NDArray[np.float64], sigma_vacuum: float) -> list[str]:
    """A residual far above the noise."""
    typical, relative = float(np.median(residual)), float(np.median(residual / jump))
    if not (sigma_vacuum > 0 and typical > FAR_FROM_NOISE * sigma_vacuum and relative > NOTABLE_RESIDUAL):
        return []
    return [f"the fit misses the spectra by {typical / sigma_vacuum:.0f} times the noise, {relative:.1%} of the edge jump"]
