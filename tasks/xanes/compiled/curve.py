"""Eq. 1 and its derivatives for one spectrum, compiled: the inner loop of the fit."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.compiled.compilation import FAST, compiled
from tasks.xanes.model import PARAMETERS

N_PARAMETERS: Final = len(PARAMETERS)

NODES_PER_UNIT: Final = 32
LAST_NODE: Final = 6.0
"""erf differs from 1 by 2e-17 here."""

Array = NDArray[np.float64]


def _erf_nodes() -> Array:
    """Taylor coefficients 0..6 of erf about nodes 1/32 apart on [-6, 6]: (385, 7).

    Within 1/64 of a node the series is true to 1e-14, its derivative to 3e-12; libm's erf and exp took two thirds of
    the time of the fit.
    """
    x = np.arange(-LAST_NODE, LAST_NODE + 0.5 / NODES_PER_UNIT, 1.0 / NODES_PER_UNIT)
    nodes = np.empty((len(x), 7))
    nodes[:, 0] = [math.erf(value) for value in x]
    hermite, before = np.ones_like(x), np.zeros_like(x)
    bell = 2.0 / math.sqrt(math.pi) * np.exp(-x * x)
    for k in range(1, 7):
        nodes[:, k] = bell * hermite / math.factorial(k) * (-1.0) ** (k - 1)
        hermite, before = 2.0 * x * hermite - 2.0 * (k - 1) * before, hermite
    return nodes


ERF_NODES: Final = _erf_nodes()


@compiled(*FAST)
def evaluate(energy: Array, spectrum: Array, weight: Array, p: Array, pieces: Array, residual: Array) -> float:
    """Sum of squared weighted residuals of eq. 1.

    Fills ``residual`` (E,) and the ``pieces`` (7, E) its derivatives are made of: the step, its derivative by u, u; of
    either peak its value and t, where u and t are distances from the centre in widths.
    """
    edge, per_width = p[2], 1.0 / p[3]
    for e in range(energy.size):
        u = (energy[e] - edge) * per_width
        inside = min(max(u, -LAST_NODE), LAST_NODE)
        node = int(inside * NODES_PER_UNIT + (LAST_NODE * NODES_PER_UNIT + 0.5))
        d = inside + LAST_NODE - node / NODES_PER_UNIT
        a = ERF_NODES[node]
        pieces[0, e] = 0.5 + 0.5 * (
            a[0] + d * (a[1] + d * (a[2] + d * (a[3] + d * (a[4] + d * (a[5] + d * a[6])))))
        )  # fmt: skip
        pieces[1, e] = 0.5 * (a[1] + d * (2.0 * a[2] + d * (3.0 * a[3] + d * (4.0 * a[4] + d * (5.0 * a[5] + d * 6.0 * a[6])))))
        pieces[2, e] = inside
    chi2 = 0.0
    centre1, per_width1, centre2, per_width2 = p[5], 1.0 / p[6], p[8], 1.0 / p[9]
    offset, jump, height1, height2 = p[0], p[1], p[4], p[7]
    for e in range(energy.size):
        t1 = (energy[e] - centre1) * per_width1
        t2 = (energy[e] - centre2) * per_width2
        q1 = 1.0 / (1.0 + t1 * t1)
        q2 = 1.0 / (1.0 + t2 * t2)
        difference = weight[e] * (offset + jump * pieces[0, e] + height1 * q1 + height2 * q2 - spectrum[e])
        pieces[3, e] = q1
        pieces[4, e] = t1
        pieces[5, e] = q2
        pieces[6, e] = t2
        residual[e] = difference
        chi2 += difference * difference
    return chi2


@compiled(*FAST)
def differentiate(weight: Array, p: Array, pieces: Array, jacobian: Array) -> None:
    """Weighted derivatives (10, E) of eq. 1 by its parameters, from the ``pieces`` left by `evaluate`."""
    bell_scale = -p[1] / p[3]
    scale1 = 2.0 * p[4] / p[6]
    scale2 = 2.0 * p[7] / p[9]
    for e in range(weight.size):
        w = weight[e]
        bell = w * bell_scale * pieces[1, e]
        q1, t1, q2, t2 = pieces[3, e], pieces[4, e], pieces[5, e], pieces[6, e]
        slope1 = w * scale1 * q1 * q1 * t1
        slope2 = w * scale2 * q2 * q2 * t2
        jacobian[0, e] = w
        jacobian[1, e] = w * pieces[0, e]
        jacobian[2, e] = bell
        jacobian[3, e] = bell * pieces[2, e]
        jacobian[4, e] = w * q1
        jacobian[5, e] = slope1
        jacobian[6, e] = slope1 * t1
        jacobian[7, e] = w * q2
        jacobian[8, e] = slope2
        jacobian[9, e] = slope2 * t2


@compiled(*FAST)
def normal_equations(jacobian: Array, residual: Array, normal: Array, gradient: Array) -> None:
    """Lower triangle of J J^T (10, 10), and J r (10,), of a (10, E) Jacobian, two rows by two at a time."""
    for i in range(0, N_PARAMETERS, 2):
        a, b = jacobian[i], jacobian[i + 1]
        ar, br, aa, ba, bb = 0.0, 0.0, 0.0, 0.0, 0.0
        for e in range(residual.size):
            ar += a[e] * residual[e]
            br += b[e] * residual[e]
            aa += a[e] * a[e]
            ba += b[e] * a[e]
            bb += b[e] * b[e]
        gradient[i], gradient[i + 1] = ar, br
        normal[i, i], normal[i + 1, i], normal[i + 1, i + 1] = aa, ba, bb
        for j in range(0, i, 2):
            c, d = jacobian[j], jacobian[j + 1]
            ac, ad, bc, bd = 0.0, 0.0, 0.0, 0.0
            for e in range(residual.size):
                ac += a[e] * c[e]
                ad += a[e] * d[e]
                bc += b[e] * c[e]
                bd += b[e] * d[e]
            normal[i, j], normal[i, j + 1], normal[i + 1, j], normal[i + 1, j + 1] = ac, ad, bc, bd
