"""The Kramers-Kronig partner of eq. 1 and its derivatives for one spectrum, compiled (plain form: `tasks.xanes.partner`)."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import dawsn

from tasks.xanes.compiled.compilation import FAST, compiled
from tasks.xanes.compiled.curve import N_PARAMETERS
from tasks.xanes.partner import LAST_U, background_partner, mean_logarithm, window_end

NODES_PER_UNIT: Final = 32
N_ORDERS: Final = 7

Array = NDArray[np.float64]


class PhaseTerms(NamedTuple):
    """What the partner needs beside eq. 1's parameters: the phase's weights and what does not depend on the spectrum.

    Parameters
    ----------
    weight : (F,) float64 array
        1 / standard error of the phase at each energy.
    background, window_end : (F,) float64 arrays
        `tasks.xanes.partner.background_partner` and `tasks.xanes.partner.window_end` at the energies.
    columns : (C, F) float64 array
        Orthonormal rows that span the weighted columns T; the phase is compared off their span.
    """

    weight: Array
    background: Array
    window_end: Array
    columns: Array


def phase_terms(energy_ev: Array, sigma: Array, columns: Array) -> PhaseTerms:
    """Terms for energies (E,) [eV], standard errors of the phase (E,) and columns T (E, C)."""
    basis, _ = np.linalg.qr(columns / sigma[:, None])
    return PhaseTerms(1.0 / sigma, background_partner(energy_ev), window_end(energy_ev), np.ascontiguousarray(basis.T))


def _logarithm_nodes() -> Array:
    """Taylor coefficients 0..6 of `mean_logarithm` about nodes 1/32 apart on [0, 12]: (385, 7).

    Its derivative is 2/pi times Dawson's integral D, whose own derivatives follow ``D(k+1) = -2 u D(k) - 2 k D(k-1)``.
    """
    u = np.arange(0.0, LAST_U + 0.5 / NODES_PER_UNIT, 1.0 / NODES_PER_UNIT)
    nodes = np.empty((u.size, N_ORDERS))
    nodes[:, 0] = mean_logarithm(u)
    before, derivative = dawsn(u), 1.0 - 2.0 * u * dawsn(u)
    nodes[:, 1] = 2 / np.pi * before
    for k in range(2, N_ORDERS):
        nodes[:, k] = 2 / np.pi * derivative / math.factorial(k)
        before, derivative = derivative, -2.0 * u * derivative - 2.0 * (k - 1) * before
    return nodes


LOGARITHM_NODES: Final = _logarithm_nodes()


@compiled(*FAST)
def _logarithm_and_slope(u: float) -> tuple[float, float]:
    """`mean_logarithm` at u, and its derivative."""
    distance = abs(u)
    if distance < LAST_U:
        node = int(distance * NODES_PER_UNIT + 0.5)
        d = distance - node / NODES_PER_UNIT
        a = LOGARITHM_NODES[node]
        value = a[0] + d * (a[1] + d * (a[2] + d * (a[3] + d * (a[4] + d * (a[5] + d * a[6])))))
        slope = a[1] + d * (2.0 * a[2] + d * (3.0 * a[3] + d * (4.0 * a[4] + d * (5.0 * a[5] + d * 6.0 * a[6]))))
    else:
        square = 1.0 / (distance * distance)
        value = (math.log(distance) - square * (0.25 + 0.1875 * square)) / math.pi
        slope = (1.0 + square * (0.5 + square * (0.75 + 1.875 * square))) / (math.pi * distance)
    return value, slope if u >= 0.0 else -slope


@compiled(*FAST)
def evaluate_partner(energy: Array, data: Array, terms: PhaseTerms, p: Array, pieces: Array, residual: Array) -> float:
    """Sum of squared weighted residuals of the partner, off the columns T.

    Parameters
    ----------
    energy : (F,) float64 array
    data : (F,) float64 array
        Minus the phase times E / E_edge and the weights, its share in ``terms.columns`` taken off.
    p : (10,) float64 array
    pieces : (7, F) float64 array
        Filled with the step's partner, its derivative by u, u; of either peak its value and t (`curve.evaluate`).
    residual : (F,) float64 array
        Filled.
    """
    log_width = math.log(p[3]) / math.pi
    for e in range(energy.size):
        u = (energy[e] - p[2]) / p[3]
        t1 = (energy[e] - p[5]) / p[6]
        t2 = (energy[e] - p[8]) / p[9]
        logarithm, slope = _logarithm_and_slope(u)
        pieces[0, e] = logarithm + log_width - terms.window_end[e]
        pieces[1, e] = slope
        pieces[2, e] = u
        pieces[3, e] = 1.0 / (1.0 + t1 * t1)
        pieces[4, e] = t1
        pieces[5, e] = 1.0 / (1.0 + t2 * t2)
        pieces[6, e] = t2
        partner = p[0] * terms.background[e] + p[1] * pieces[0, e] + p[4] * t1 * pieces[3, e] + p[7] * t2 * pieces[5, e]
        residual[e] = terms.weight[e] * partner
    _off_columns(terms.columns, residual)
    chi2 = 0.0
    for e in range(energy.size):
        residual[e] -= data[e]
        chi2 += residual[e] * residual[e]
    return chi2


@compiled(*FAST)
def differentiate_partner(terms: PhaseTerms, p: Array, pieces: Array, jacobian: Array) -> None:
    """Weighted derivatives (10, F) of the partner by the parameters, off the columns T, from `evaluate_partner`'s pieces."""
    per_width = p[1] / p[3]
    for e in range(terms.weight.size):
        w = terms.weight[e]
        q1, t1, q2, t2 = pieces[3, e], pieces[4, e], pieces[5, e], pieces[6, e]
        slope1 = -w * p[4] * (1.0 - t1 * t1) * q1 * q1 / p[6]
        slope2 = -w * p[7] * (1.0 - t2 * t2) * q2 * q2 / p[9]
        jacobian[0, e] = w * terms.background[e]
        jacobian[1, e] = w * pieces[0, e]
        jacobian[2, e] = -w * per_width * pieces[1, e]
        jacobian[3, e] = w * per_width * (1.0 / math.pi - pieces[2, e] * pieces[1, e])
        jacobian[4, e] = w * t1 * q1
        jacobian[5, e] = slope1
        jacobian[6, e] = slope1 * t1
        jacobian[7, e] = w * t2 * q2
        jacobian[8, e] = slope2
        jacobian[9, e] = slope2 * t2
    for i in range(N_PARAMETERS):
        _off_columns(terms.columns, jacobian[i])


@compiled(*FAST)
def _off_columns(columns: Array, values: Array) -> None:
    """Take the share of ``values`` (F,) in orthonormal ``columns`` (C, F) off, in place."""
    for c in range(columns.shape[0]):
        share = 0.0
        for e in range(values.size):
            share += columns[c, e] * values[e]
        for e in range(values.size):
            values[e] -= share * columns[c, e]
