"""Where the fit of a spectrum begins: the best of a table of shapes, each with its heights fitted exactly.

Eq. 1 is linear in the offset, the jump and the two heights, so a shape (the other six parameters) is scored by a small
linear least-squares problem whose inverse Gram matrix depends on the energies only. The table covers the bounds, is
built once a tile, and is searched for every spectrum: no start depends on neighbours, on the tile or on the axis.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.bounds import LIMITS
from tasks.xanes.compiled.compilation import FAST, compiled
from tasks.xanes.compiled.curve import evaluate
from tasks.xanes.model import edge_step, lorentzian

EDGE_STEP_EV: Final = 1.5
"""Distance between the edge energies that are tried; at 3 eV, one start in fifteen ends in another minimum."""

EDGE_WIDTHS_EV: Final = (1.8, 4.5)
PRE_EDGE_BELOW_EDGE_EV: Final = (4.5, 7.5, 10.5)
PRE_EDGE_WIDTHS_EV: Final = (0.9, 2.2)
WHITE_LINE_ABOVE_EDGE_EV: Final = (3.0, 8.0, 15.0)
WHITE_LINE_WIDTHS_EV: Final = (2.5, 6.0, 14.0)

MIN_EIGENVALUE: Final = 1e-4
"""Of a shape's normalised Gram matrix; below it its members cannot be told apart on this grid."""

N_EDGE_WIDTHS: Final = len(EDGE_WIDTHS_EV)

Array = NDArray[np.float64]


class ShapeTable(NamedTuple):
    """The shapes that are tried on one energy grid: every step with each white line (or none) and pre-edge (or none).

    Parameters
    ----------
    basis : (E, M + 1) float32 array
        Weighted columns with the weighted constant projected out: S steps, then peaks; the last is zero, an absent peak.
    pre_edges, white_lines : (S, K) int32 arrays
        Columns of ``basis`` that make up the K shapes of each step.
    inverse : (S, 6, K) float32 array
        Upper triangle of the inverse Gram matrix of step, pre-edge and white line; zero for an absent one, and all zero
        for a shape that is not tried.
    shape : (M + 1, 2) float64 array [eV]
        Centre, from the tabulated edge, and width of each column of ``basis``.
    """

    basis: NDArray[np.float32]
    pre_edges: NDArray[np.int32]
    white_lines: NDArray[np.int32]
    inverse: NDArray[np.float32]
    shape: Array


def shape_table(relative_ev: Array, weight: Array) -> ShapeTable:
    """Build the table for energies ``relative_ev`` (E,) [eV from the tabulated edge] and weights (E,) (1/sigma)."""
    low, high = LIMITS["edge_energy"]
    edges = np.arange(max(low, relative_ev[0]), min(high, relative_ev[-1]) + 1e-9, EDGE_STEP_EV)
    steps = [(float(edge), width) for edge in edges for width in EDGE_WIDTHS_EV]
    pre = [_around(e, "pre_edge", [-d for d in PRE_EDGE_BELOW_EDGE_EV], PRE_EDGE_WIDTHS_EV) for e, _ in steps]
    white = [_around(e, "white_line", WHITE_LINE_ABOVE_EDGE_EV, WHITE_LINE_WIDTHS_EV) for e, _ in steps]
    peaks = sorted({peak for found in (*pre, *white) for peak in found})
    row = {peak: len(steps) + i for i, peak in enumerate(peaks)}
    absent = len(steps) + len(peaks)
    members = np.array(
        [
            [(s, p, w) for p in (*map(row.__getitem__, pre[s]), absent) for w in (*map(row.__getitem__, white[s]), absent)]
            for s in range(len(steps))
        ],
        dtype=np.int32,
    )
    shape = np.array([*steps, *peaks, (np.nan, np.nan)])
    basis = _basis(shape, len(steps), relative_ev, weight)
    inverse = _inverse_gram(basis.T @ basis, members, absent)
    return ShapeTable(
        basis=np.ascontiguousarray(basis, dtype=np.float32),
        pre_edges=np.ascontiguousarray(members[..., 1]),
        white_lines=np.ascontiguousarray(members[..., 2]),
        inverse=np.ascontiguousarray(np.moveaxis(inverse, -1, 1), dtype=np.float32),
        shape=shape,
    )


def _around(
    edge: float, peak: str, offsets: list[float] | tuple[float, ...], widths: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Centre and width of the peaks to try with a step at ``edge``, moved into the bounds."""
    low, high = LIMITS[f"{peak}_energy"]
    return [(float(np.clip(edge + offset, low, high)), width) for offset in offsets for width in widths]


def _basis(shape: Array, n_steps: int, relative_ev: Array, weight: Array) -> Array:
    """Columns (E, M + 1) of the table: steps, peaks, and the absent one."""
    E = relative_ev[:, None]
    steps = edge_step(E, shape[:n_steps, 0], shape[:n_steps, 1])
    peaks = lorentzian(E, shape[n_steps:-1, 0], shape[n_steps:-1, 1])
    columns = np.concatenate([steps, peaks], axis=1) * weight[:, None]
    unit = weight / np.linalg.norm(weight)
    columns -= np.outer(unit, unit @ columns)
    return np.concatenate([columns, np.zeros((len(E), 1))], axis=1)


def _inverse_gram(gram: Array, members: NDArray[np.int32], absent: int) -> Array:
    """Upper triangles (..., 6) of the inverse Gram matrices of ``members`` (..., 3); zero where ill-conditioned."""
    norm = np.sqrt(np.diag(gram))
    present = members != absent
    both = present[..., :, None] & present[..., None, :]
    scale = np.where(present, norm[members], 1.0)
    # a member without a point under it has no norm to divide by
    seen = np.all(scale > 1e-6 * norm.max(), axis=-1)
    scale = np.where(scale > 0, scale, 1.0)
    products = scale[..., :, None] * scale[..., None, :]
    blocks = np.where(both, gram[members[..., :, None], members[..., None, :]] / products, np.eye(3))
    usable = seen & (np.linalg.eigvalsh(blocks)[..., 0] > MIN_EIGENVALUE)
    blocks[~usable] = np.eye(3)
    inverse = np.where(both & usable[..., None, None], np.linalg.inv(blocks) / products, 0.0)
    upper = np.triu_indices(3)
    return inverse[..., upper[0], upper[1]]


@compiled(*FAST)
def project(spectrum: Array, basis: NDArray[np.float32], products: NDArray[np.float32]) -> None:
    """Products (M + 1,) of a weighted spectrum (E,) with the columns of the table."""
    for m in range(products.size):
        products[m] = 0.0
    for e in range(spectrum.size):
        value = np.float32(spectrum[e])
        for m in range(products.size):
            products[m] += basis[e, m] * value


@compiled(*FAST)
def _removed(step: float, pre: NDArray[np.float32], white: NDArray[np.float32], inverse: NDArray[np.float32],
             removed: NDArray[np.float32]) -> None:  # fmt: skip
    """Chi2 that each of the K shapes of one step removes; none if its step or a peak would be negative."""
    zero = np.float32(0.0)
    i0, i1, i2, i3, i4, i5 = inverse[0], inverse[1], inverse[2], inverse[3], inverse[4], inverse[5]
    for k in range(removed.size):
        a, b = pre[k], white[k]
        c0 = i0[k] * step + i1[k] * a + i2[k] * b
        c1 = i1[k] * step + i3[k] * a + i4[k] * b
        c2 = i2[k] * step + i4[k] * a + i5[k] * b
        removed[k] = c0 * step + c1 * a + c2 * b if (c0 >= zero) & (c1 >= zero) & (c2 >= zero) else zero


@compiled(*FAST, "nnan")
def _greatest(values: NDArray[np.float32]) -> np.float32:
    best = np.float32(0.0)
    for k in range(values.size):
        best = values[k] if values[k] > best else best
    return best


@compiled()
def _gather(products: NDArray[np.float32], columns: NDArray[np.int32], out: NDArray[np.float32]) -> None:
    for k in range(out.size):
        out[k] = products[columns[k]]


@compiled()
def score(table: ShapeTable, products: NDArray[np.float32], gain: NDArray[np.float32], workspace: NDArray[np.float32]) -> None:
    """Most chi2 that a shape of each step removes, into ``gain`` (S,); ``workspace`` (3, K) is scratch.

    The loops are functions of their own because only so are they compiled to vector instructions.
    """
    for step in range(gain.size):
        if step % N_EDGE_WIDTHS == 0:
            _gather(products, table.pre_edges[step], workspace[0])
            _gather(products, table.white_lines[step], workspace[1])
        _removed(products[step], workspace[0], workspace[1], table.inverse[step], workspace[2])
        gain[step] = _greatest(workspace[2])


@compiled()
def begin(
    table: ShapeTable, energy: Array, spectrum: Array, weight: Array, step: int,
    products: NDArray[np.float32], workspace: NDArray[np.float32], p: Array, pieces: Array, residual: Array,
) -> None:  # fmt: skip
    """Fill ``p`` (10,) with the best shape of a step and its least-squares offset, jump and heights.

    An absent peak is put, with height zero, where one is usual. ``pieces`` (7, E) and ``residual`` (E,) are scratch.
    """
    _gather(products, table.pre_edges[step], workspace[0])
    _gather(products, table.white_lines[step], workspace[1])
    _removed(products[step], workspace[0], workspace[1], table.inverse[step], workspace[2])
    k = np.argmax(workspace[2])
    i = table.inverse[step]
    r0, r1, r2 = products[step], workspace[0, k], workspace[1, k]
    p[1] = i[0, k] * r0 + i[1, k] * r1 + i[2, k] * r2
    p[4] = i[1, k] * r0 + i[3, k] * r1 + i[4, k] * r2
    p[7] = i[2, k] * r0 + i[4, k] * r1 + i[5, k] * r2
    pre_edge, white_line = table.pre_edges[step, k], table.white_lines[step, k]
    p[2], p[3] = table.shape[step, 0], table.shape[step, 1]
    p[5], p[6] = table.shape[pre_edge, 0], table.shape[pre_edge, 1]
    p[8], p[9] = table.shape[white_line, 0], table.shape[white_line, 1]
    if math.isnan(p[5]):
        p[5], p[6] = p[2] - PRE_EDGE_BELOW_EDGE_EV[1], PRE_EDGE_WIDTHS_EV[0]
    if math.isnan(p[8]):
        p[8], p[9] = p[2] + WHITE_LINE_ABOVE_EDGE_EV[1], WHITE_LINE_WIDTHS_EV[1]
    p[0] = 0.0
    evaluate(energy, spectrum, weight, p, pieces, residual)
    total, norm = 0.0, 0.0
    for e in range(energy.size):
        total -= weight[e] * residual[e]
        norm += weight[e] * weight[e]
    p[0] = total / norm
