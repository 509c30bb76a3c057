"""Eq. 1 fitted to absorption and phase together: the phase follows the Kramers-Kronig partner of eq. 1, plus the columns T.

The projection of `tasks.coupling.projection` moves any spectrum to the nearest Kramers-Kronig pair; here the pair is eq. 1's from
the start. Amounts of the columns T are no parameters: the phase is looked at off their span.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.errors import InvalidOptionError
from tasks.xanes.bounds import bounds
from tasks.xanes.fit import SpectrumFit, Status, fit_spectra
from tasks.xanes.model import PARAMETERS, eq1, pre_edge_ratio
from tasks.xanes.partner import eq1_partner
from tasks.xanes.prior import Prior

Array = NDArray[np.float64]

BLOCK: Final = 2048
MAX_ITERATIONS: Final = 60
TOLERANCE: Final = 1e-7
N: Final = len(PARAMETERS)


@dataclass(frozen=True)
class Pairs:
    """Spectra of n pixels at one wavelength, and how far each is to be trusted.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    absorption, electrons : (E, n) float arrays
        Absorption, and minus the phase, both times E / E_edge (`tasks.xanes.fit.at_edge_wavelength`).
    sigma_absorption, sigma_phase : (E,) float64 arrays
        Standard errors of both, in the same unit.
    columns : (E, C) float64 array
        T of `tasks.coupling.kkr.outside_columns`, in any unit.
    """

    energy_ev: Array
    absorption: NDArray[np.floating]
    electrons: NDArray[np.floating]
    sigma_absorption: Array
    sigma_phase: Array
    columns: Array


def fit_pairs(pairs: Pairs, edge_energy_ev: float, prior: Prior | None = None) -> SpectrumFit:
    """Fit eq. 1 and its partner to n pixels by bounded least squares, from where the fit of the absorption alone ended.

    ``residual`` is that of the absorption; errors are scaled by the misfit of both.

    Raises
    ------
    EnergyGridError, InvalidOptionError
    """
    if np.shape(pairs.electrons) != np.shape(pairs.absorption):
        raise InvalidOptionError(
            f"absorption and phase must have one shape, got {np.shape(pairs.absorption)}, {np.shape(pairs.electrons)}"
        )
    alone = fit_spectra(pairs.energy_ev, pairs.absorption, pairs.sigma_absorption, edge_energy_ev, prior)
    fitted = np.isin(alone.status, (Status.OK, Status.AT_BOUND, Status.NOT_CONVERGED))
    fitted &= np.all(np.isfinite(pairs.electrons), axis=0)
    indices = np.flatnonzero(fitted)
    found = replace(alone, **{name: getattr(alone, name).copy() for name in SpectrumFit.__dataclass_fields__})
    found.status[~fitted & (alone.status < Status.MASKED_VACUUM)] = Status.MASKED_NOT_FINITE
    for first in range(0, len(indices), BLOCK):
        _fit_block(pairs, indices[first : first + BLOCK], edge_energy_ev, prior, found)
    return found


def _fit_block(pairs: Pairs, block: NDArray[np.int64], edge_energy_ev: float, prior: Prior | None, found: SpectrumFit) -> None:
    """Refine the parameters of one block of pixels in ``found``, in place."""
    lower, upper = bounds(edge_energy_ev)
    whitener = _Whitener(pairs, prior)
    data = whitener.data(block)
    p = np.clip(found.parameters[:, block].T, lower, upper)
    residual, jacobian = whitener.misfit(p, data)
    cost, damping = np.sum(residual**2, axis=1), np.full(len(p), 1e-2)
    active = np.ones(len(p), bool)
    for _ in range(MAX_ITERATIONS):
        at = np.flatnonzero(active)
        if not at.size:
            break
        trial = _step(p[at], residual[at], jacobian[at], damping[at], lower, upper)
        new_residual, new_jacobian = whitener.misfit(trial, data[at])
        new_cost = np.sum(new_residual**2, axis=1)
        better = new_cost <= cost[at]
        # a step that gains next to nothing ends the fit, as does one that no damping makes gain
        ended = (better & (cost[at] - new_cost <= TOLERANCE * cost[at])) | (damping[at] > 1e12)
        good = at[better]
        p[good], residual[good], jacobian[good] = trial[better], new_residual[better], new_jacobian[better]
        cost[good] = new_cost[better]
        damping[at] = np.where(better, np.maximum(damping[at] / 5, 1e-9), damping[at] * 7)
        active[at[ended]] = False
    at_bound = np.any((p <= lower) | (p >= upper), axis=1)
    found.parameters[:, block] = p.T
    found.status[block] = np.where(active, Status.NOT_CONVERGED, np.where(at_bound, Status.AT_BOUND, Status.OK))
    found.chi2[block] = cost
    _report(pairs, block, jacobian, cost, np.sum((p > lower) & (p < upper), axis=1), found)


class _Whitener:
    """Absorption, phase off the columns T, and what the prior says, as one vector of unit errors."""

    def __init__(self, pairs: Pairs, prior: Prior | None) -> None:
        self.pairs = pairs
        self.centre = np.zeros(N) if prior is None else prior.centre
        self.pull = np.zeros(N) if prior is None else prior.noise / prior.sd
        self.basis, _ = np.linalg.qr(pairs.columns / pairs.sigma_phase[:, None])

    def data(self, block: NDArray[np.int64]) -> Array:
        """(n, 2E + 10)."""
        pairs = self.pairs
        seen = pairs.absorption[:, block].T / pairs.sigma_absorption
        phase = pairs.electrons[:, block].T / pairs.sigma_phase
        drawn = np.broadcast_to(self.centre * self.pull, (len(seen), N))
        return np.concatenate([seen, phase - phase @ self.basis @ self.basis.T, drawn], axis=1)

    def misfit(self, p: Array, data: Array) -> tuple[Array, Array]:
        """Residuals (n, 2E + 10) and their derivatives (n, 2E + 10, 10)."""
        pairs = self.pairs
        partner, by_parameter = eq1_partner(pairs.energy_ev, p)
        partner = partner / pairs.sigma_phase
        partner -= partner @ self.basis @ self.basis.T
        by_parameter /= pairs.sigma_phase[:, None]
        by_parameter -= self.basis @ (self.basis.T @ by_parameter)
        model = eq1(pairs.energy_ev, p.T).T / pairs.sigma_absorption
        own = _jacobians(pairs.energy_ev, p) / pairs.sigma_absorption[:, None]
        pull = np.broadcast_to(np.diag(self.pull), (len(p), N, N))
        residual = np.concatenate([model, partner, p * self.pull], axis=1) - data
        return residual, np.concatenate([own, by_parameter, pull], axis=1)


def _jacobians(energy_ev: Array, parameters: Array) -> Array:
    """(n, E, 10) derivatives of eq. 1; `tasks.xanes.model.jacobian` for many spectra at once."""
    p = parameters[:, None, :]
    u = (energy_ev - p[..., 2]) / p[..., 3]
    unit = np.zeros((N, *u.shape[:1]))
    unit[1], unit[2:] = 1.0, parameters.T[2:]
    unit[4], unit[7] = 0.0, 0.0
    bell = -p[..., 1] * np.exp(-u * u) / (np.sqrt(np.pi) * p[..., 3])
    columns = [np.ones_like(u), eq1(energy_ev, unit).T, bell, bell * u]
    for i in (4, 7):
        t = (energy_ev - p[..., i + 1]) / p[..., i + 2]
        peak = 1 / (1 + t * t)
        slope = 2 * p[..., i] * peak * peak * t / p[..., i + 2]
        columns += [peak, slope, slope * t]
    return np.stack(columns, axis=-1)


def _step(p: Array, residual: Array, jacobian: Array, damping: Array, lower: Array, upper: Array) -> Array:
    """Levenberg-Marquardt steps (n, 10) within the box; a parameter pressed against its wall stays there."""
    gradient = np.einsum("nei,ne->ni", jacobian, residual)
    normal = np.matmul(jacobian.transpose(0, 2, 1), jacobian)
    held = ((p <= lower) & (gradient > 0)) | ((p >= upper) & (gradient < 0))
    free = ~held
    scale = np.sqrt(np.einsum("nii->ni", normal))
    scale = np.where(free & (scale > 0), scale, 1.0)
    normal = np.where(free[:, :, None] & free[:, None, :], normal / (scale[:, :, None] * scale[:, None, :]), 0.0)
    normal[:, range(N), range(N)] = 1 + damping[:, None]
    moved = np.linalg.solve(normal, np.where(free, gradient / scale, 0.0)[..., None])[..., 0] / scale
    return np.clip(p - moved, lower, upper)


def _report(
    pairs: Pairs, block: NDArray[np.int64], jacobian: Array, cost: Array, n_free: NDArray[np.int64], found: SpectrumFit
) -> None:
    """Standard errors, scaled by the misfit, and the absorption's residual of one block, into ``found``."""
    p = found.parameters[:, block]
    freedom = np.maximum(2 * pairs.energy_ev.size - pairs.columns.shape[1] - n_free, 1)
    scale = np.sqrt(np.maximum(np.einsum("nei,nei->ni", jacobian, jacobian), 1e-100))
    correlation = np.matmul((jacobian / scale[:, None]).transpose(0, 2, 1), jacobian / scale[:, None])
    covariance = np.linalg.pinv(correlation, rcond=1e-13, hermitian=True) / (scale[:, :, None] * scale[:, None, :])
    covariance *= (cost / freedom)[:, None, None]
    found.sigma[:, block] = np.sqrt(np.einsum("nii->in", covariance))
    found.sigma[:, block][scale.T < 1e-40] = np.inf
    area = np.zeros((len(block), N))
    area[:, 4], area[:, 6] = np.pi * p[6], np.pi * p[4]
    jump = np.where(p[1] > 0, p[1], np.nan)
    ratio = area / jump[:, None]
    ratio[:, 1] = -pre_edge_ratio(p) / jump
    found.pre_edge_area_sigma[block] = np.sqrt(np.einsum("ni,nij,nj->n", area, covariance, area))
    found.pre_edge_ratio_sigma[block] = np.sqrt(np.einsum("ni,nij,nj->n", ratio, covariance, ratio))
    left = eq1(pairs.energy_ev, p) - pairs.absorption[:, block]
    found.residual[block] = np.sqrt(np.sum(left**2, axis=0) / np.maximum(pairs.energy_ev.size - n_free, 1))
