"""Where the fit of a spectrum begins: the best of a table of shapes, each with its heights fitted exactly.

Eq. 1 is linear in the offset, the jump and the two heights, so a shape (the other six parameters) is scored by a small
linear least-squares problem whose inverse Gram matrix depends on the energies only. The table covers the bounds, is
built once a tile, and is searched for every spectrum: no start depends on neighbours, on the tile or on the axis.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from tasks.xanes.bounds import LIMITS
from tasks.xanes.model import lorentzian

EDGE_STEP_EV: Final = 1.5
"""Distance between the edge energies that are tried."""

EDGE_WIDTHS_EV: Final = (1.2, 2.6, 5.0)
PRE_EDGE_BELOW_EDGE_EV: Final = (4.0, 6.5, 9.0, 12.0)
PRE_EDGE_WIDTHS_EV: Final = (0.9, 2.2)
WHITE_LINE_ABOVE_EDGE_EV: Final = (1.5, 5.0, 9.0, 15.0)
WHITE_LINE_WIDTHS_EV: Final = (2.5, 6.0, 14.0)

MIN_CONDITION: Final = 1e-4
"""Smallest eigenvalue of a shape's normalised Gram matrix; shapes below it cannot be told apart on this grid."""


@dataclass(frozen=True)
class ShapeTable:
    """The shapes that are tried on one energy grid.

    Parameters
    ----------
    basis : (M, E) float64 array
        Steps and peaks, weighted, the weighted constant projected out.
    members : (K, 3) int32 array
        Rows of ``basis`` of each shape: step, pre-edge, white line; -1 where the shape has no such peak.
    inverse : (K, 6) float64 array
        Upper triangle of the inverse Gram matrix of the members, zero for a missing one.
    shape : (K, 6) float64 array [eV]
        edge energy and width, pre-edge energy and width, white-line energy and width; energies from the tabulated edge.
    """

    basis: NDArray[np.float64]
    members: NDArray[np.int32]
    inverse: NDArray[np.float64]
    shape: NDArray[np.float64]


def shape_table(relative_ev: NDArray[np.float64], weight: NDArray[np.float64]) -> ShapeTable:
    """Build the table for energies ``relative_ev`` (E,) [eV from the tabulated edge] and weights (E,) (1/sigma)."""
    shapes, keys = _shapes(relative_ev)
    rows: dict[tuple[str, float, float], int] = {}
    for key in (k for triple in keys for k in triple if k is not None):
        rows.setdefault(key, len(rows))
    basis = np.stack([_member(key, relative_ev) for key in rows]) * weight
    unit = weight / np.linalg.norm(weight)
    basis -= np.outer(basis @ unit, unit)
    members = np.array([[-1 if k is None else rows[k] for k in triple] for triple in keys], dtype=np.int32)
    inverse, usable = _inverse_gram(basis @ basis.T, members)
    return ShapeTable(
        np.ascontiguousarray(basis),
        np.ascontiguousarray(members[usable]),
        np.ascontiguousarray(inverse[usable]),
        np.ascontiguousarray(np.array(shapes)[usable]),
    )


Key = tuple[str, float, float]


def _shapes(relative_ev: NDArray[np.float64]) -> tuple[list[tuple[float, ...]], list[tuple[Key | None, ...]]]:
    """Every shape within the bounds, with and without its peaks."""
    low, high = LIMITS["edge_energy"]
    low, high = max(low, relative_ev[0]), min(high, relative_ev[-1])
    shapes: list[tuple[float, ...]] = []
    keys: list[tuple[Key | None, ...]] = []
    for edge, width in product(np.arange(low, high + 1e-9, EDGE_STEP_EV), EDGE_WIDTHS_EV):
        pre = _around("pre_edge", [edge - d for d in PRE_EDGE_BELOW_EDGE_EV], PRE_EDGE_WIDTHS_EV)
        white = _around("white_line", [edge + d for d in WHITE_LINE_ABOVE_EDGE_EV], WHITE_LINE_WIDTHS_EV)
        for (p, p_on), (w, w_on) in product(
            [*((p, True) for p in pre), (pre[0], False)], [*((w, True) for w in white), (white[0], False)]
        ):
            shapes.append((edge, width, *p, *w))
            keys.append((("step", edge, width), ("peak", *p) if p_on else None, ("peak", *w) if w_on else None))
    return shapes, keys


def _around(peak: str, centres: list[float], widths: tuple[float, ...]) -> list[tuple[float, float]]:
    """Centre and width of the peaks to try, centres moved into the bounds."""
    low, high = LIMITS[f"{peak}_energy"]
    return list(dict.fromkeys(product(np.clip(centres, low, high).tolist(), widths)))


def _member(key: Key, relative_ev: NDArray[np.float64]) -> NDArray[np.float64]:
    kind, centre, width = key
    if kind == "step":
        return 0.5 * (1.0 + erf((relative_ev - centre) / width))
    return lorentzian(relative_ev, centre, width)


def _inverse_gram(
    gram: NDArray[np.float64], members: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Inverse Gram matrices (K, 6) of the members, and which of them (K,) are well conditioned."""
    norm = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    present = members >= 0
    blocks = gram[members[:, :, None], members[:, None, :]]
    both = present[:, :, None] & present[:, None, :]
    scale = np.where(present, norm[members], 1.0)
    blocks = np.where(both, blocks / (scale[:, :, None] * scale[:, None, :]), np.eye(3))
    usable = np.linalg.eigvalsh(blocks)[:, 0] > MIN_CONDITION
    usable &= np.all(np.where(present, norm[members] > 1e-6 * norm.max(), True), axis=1)
    blocks[~usable] = np.eye(3)
    inverse = np.linalg.inv(blocks) / (scale[:, :, None] * scale[:, None, :])
    inverse = np.where(both, inverse, 0.0)
    upper = np.triu_indices(3)
    return inverse[:, upper[0], upper[1]], usable


@numba.njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"})
def best_shapes(
    spectrum: NDArray[np.float64],
    basis: NDArray[np.float64],
    members: NDArray[np.int32],
    inverse: NDArray[np.float64],
    product_: NDArray[np.float64],
    gain: NDArray[np.float64],
) -> None:
    """Score every shape by the chi2 it removes from one weighted spectrum (E,), into ``gain`` (K,).

    Shapes that would need a negative step or peak score zero. ``product_`` (M + 1,) is room to work in.
    """
    n_basis, n_energies = basis.shape
    for m in range(n_basis):
        total = 0.0
        for e in range(n_energies):
            total += basis[m, e] * spectrum[e]
        product_[m] = total
    product_[n_basis] = 0.0
    for k in range(members.shape[0]):
        r0 = product_[members[k, 0]]
        r1 = product_[members[k, 1]]
        r2 = product_[members[k, 2]]
        c0 = inverse[k, 0] * r0 + inverse[k, 1] * r1 + inverse[k, 2] * r2
        c1 = inverse[k, 1] * r0 + inverse[k, 3] * r1 + inverse[k, 4] * r2
        c2 = inverse[k, 2] * r0 + inverse[k, 4] * r1 + inverse[k, 5] * r2
        feasible = (c0 >= 0.0) & (c1 >= 0.0) & (c2 >= 0.0)
        gain[k] = c0 * r0 + c1 * r1 + c2 * r2 if feasible else 0.0
