"""Which pixels carry a spectrum that can be trusted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, InvalidOptionError
from tasks.options.spectra import FitOptions
from tasks.xanes.fit import SpectrumFit, Status
from tasks.xanes.model import PARAMETERS

MIN_PRE_EDGE_POINTS = 3
"""Fewest energies before the edge from which mode ``paper`` can tell the noise."""


def mask_pixels(
    fit: SpectrumFit,
    options: FitOptions,
    *,
    energy_ev: NDArray[np.float64],
    absorption: NDArray[np.floating],
    edge_energy_ev: float,
    sigma_vacuum: float = 0.0,
) -> NDArray[np.int8]:
    """Status of n pixels, with those added to the masked whose edge jump is too small for its noise.

    Mode ``jump`` keeps a pixel whose jump is at least ``min_jump_to_sigma`` times the noise of one of its data points,
    the larger of the residual of its fit and the standard deviation in vacuum. At L edges, whose white lines are many times
    as high as their steps, the L3 white line counts where it is the higher one (``options.model`` "l3_l2"). Mode ``paper``
    keeps it where the jump is at least the standard deviation of its points before the edge; there 77 % of edge energies are off
    by over 1 eV.

    Parameters
    ----------
    fit : SpectrumFit
        Of these n spectra.
    options : FitOptions
    energy_ev : (E,) float64 array [eV]
    absorption : (E, n) float array
    edge_energy_ev : float
        Tabulated edge of the absorber [eV].
    sigma_vacuum : float
        Standard deviation of the absorption in vacuum.

    Returns
    -------
    (n,) int8 array
        `Status`; the kept are those below ``Status.MASKED_VACUUM`` (`kept`).

    Raises
    ------
    EnergyGridError
        Mode ``paper`` with fewer than three energies before the edge.
    """
    status = fit.status.copy()
    jump = _signal(fit, options)
    fitted = kept(status)
    if options.mask == "paper":
        small = ~(jump >= pre_edge_noise(energy_ev, absorption, edge_energy_ev))
    else:
        small = ~(jump >= options.min_jump_to_sigma * np.fmax(fit.residual, sigma_vacuum))
    small |= ~(jump > 0)
    status[fitted & small] = Status.MASKED_JUMP
    return status


def _signal(fit: SpectrumFit, options: FitOptions) -> NDArray[np.float64]:
    """What shows the absorber in each of n spectra: the edge jump, or the white line of an L edge."""
    jump, white_line = (fit.parameters[PARAMETERS.index(name)] for name in ("edge_jump", "white_line_height"))
    return np.asarray(np.fmax(jump, white_line) if options.model == "l3_l2" else jump)


def kept(status: NDArray[np.int8]) -> NDArray[np.bool_]:
    """True where a pixel was fitted and not masked."""
    return np.asarray(status) < Status.MASKED_VACUUM


def require_kept(statuses: Sequence[NDArray[np.int8]], n_needed: int) -> None:
    """See that enough pixels of all specimens together, whose statuses (`Status`) are given, are kept.

    Raises
    ------
    InvalidOptionError
        Fewer than ``n_needed`` are; it says why the others are not.
    """
    pooled = np.concatenate([np.ravel(status) for status in statuses])
    inside = pooled[pooled != Status.MASKED_VACUUM]
    n_kept = int(np.count_nonzero(kept(inside)))
    if n_kept < n_needed:
        small, lost = (int(np.count_nonzero(inside == reason)) for reason in (Status.MASKED_JUMP, Status.MASKED_NOT_FINITE))
        raise InvalidOptionError(
            f"domains need at least {n_needed} pixels with a spectrum that can be trusted; of the {inside.size} of the specimens "
            f"{n_kept} are kept, {small} have an edge jump too small for its noise (fit.mask, fit.min_jump_to_sigma), and "
            f"{lost} are not finite at some energy. Is the dose too low, is the absorber another element, or do the energies end "
            "before the absorption has risen?"
        )


def pre_edge_noise(
    energy_ev: NDArray[np.float64], absorption: NDArray[np.floating], edge_energy_ev: float
) -> NDArray[np.float64]:
    """sigma_noise of the paper: standard deviation (n,) of each spectrum's points before the edge."""
    before = np.asarray(energy_ev) < edge_energy_ev
    if before.sum() < MIN_PRE_EDGE_POINTS:
        raise EnergyGridError(
            f'mask "paper" takes its noise from at least {MIN_PRE_EDGE_POINTS} energies before the edge at '
            f'{edge_energy_ev:.1f} eV; got {int(before.sum())}. Use mask "jump"'
        )
    return np.asarray(np.std(absorption[before], axis=0, ddof=1, dtype=np.float64))
