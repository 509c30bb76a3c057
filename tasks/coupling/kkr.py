"""The Kramers-Kronig relation between absorption and phase, on the energies that were measured.

``f'(E) = -2/pi P int_0^inf x f''(x) / (x^2 - E^2) dx`` is linear, so on a fixed set of energies it is one matrix.
Spectra are cut into straight segments, each integrated in closed form (Watts, Opt. Express 22, 23628 (2014), has the
polynomial generalisation); outside the measured window the tables of the elements take over through a linear taper.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from tasks.errors import EnergyGridError
from tasks.formula import composition
from tasks.scattering import LOWEST_EV, Absorber, relativistic_charge, tabulated_f2

Array = NDArray[np.float64]

TAPER_EV = 60.0
"""Width beyond each end of the window over which measured spectra hand over to the tables [eV]; below soft X-rays less."""

KNOT_STEP_EV = 0.25
KNOT_GAP = 0.3
KNOT_GRADING = 0.19
"""Steps between knots of a spline below `KNOT_STEP_EV` [eV] are at least `KNOT_GAP` of the narrower and `KNOT_GRADING` of the
wider step beside them."""

SECTION_RATIO = 10.0
"""Where a step is this many times the one beside it, one spline ends and another begins."""

SEGMENTS_PER_STEP = 8
"""Straight segments between two measured energies."""

LEAST_GAIN = 0.1
"""Spectra that K turns into less than this share of what it makes of the best one keep their g'' in `phase_to_absorption`.

Inverted they would take the noise of g' over K's gain, which is 2.8 for the best of 40 energies: at a tenth of that it pays where
g' is four times as precise as g''. There 0.436 of the noise of g'' is left with any share from 0.06 to 0.13, between which no
singular value lies, and 0.49 with 0.03 or 0.2. Of 20 energies 0.51 is left instead of 0.49 (0.06) or 0.59 (0.2), of 80 0.432
instead of 0.445 or 0.460."""


def transform_matrix(targets_ev: Array, nodes_ev: Array) -> Array:
    """Matrix (T, n) taking f'' at the nodes to f' at the targets, f'' linear between nodes and zero outside them.

    Parameters
    ----------
    targets_ev : (T,) float64 array [eV]
    nodes_ev : (n,) float64 array [eV], ascending

    Notes
    -----
    For ``y = p + s x`` from x1 to x2 the principal value is ``s dx + (p + s E)/2 ln|(x2 - E)/(x1 - E)| +
    (p - s E)/2 ln((x2 + E)/(x1 + E))``, times -2/pi. The logarithms are gathered by node: at a target that is a node
    the two neighbours' poles carry equal and opposite weights, so the term is dropped.
    """
    if nodes_ev.size < 2 or np.any(np.diff(nodes_ev) <= 0):
        raise EnergyGridError("the Kramers-Kronig nodes must be at least two ascending energies; are two of them equal?")
    if np.isin(targets_ev, nodes_ev[[0, -1]]).any():
        raise EnergyGridError("f' diverges at the ends of a truncated spectrum: keep targets inside the nodes")
    width = np.diff(nodes_ev)
    energy = targets_ev[:, None]
    below = nodes_ev[None, :] - energy
    log_minus = np.log(np.abs(np.where(below == 0, 1.0, below)))
    log_plus = np.log(nodes_ev[None, :] + energy)
    # weights of the left and right node of each segment: y = left (x2 - x)/dx + right (x - x1)/dx
    minus, plus = np.diff(log_minus, axis=1), np.diff(log_plus, axis=1)
    x1, x2 = nodes_ev[None, :-1], nodes_ev[None, 1:]
    left = -1.0 + ((x2 - energy) * minus + (x2 + energy) * plus) / (2 * width)
    right = 1.0 + ((energy - x1) * minus - (energy + x1) * plus) / (2 * width)
    matrix = np.zeros((targets_ev.size, nodes_ev.size))
    matrix[:, :-1] += left
    matrix[:, 1:] += right
    return -2 / np.pi * matrix


def window_matrix(energy_ev: Array) -> Array:
    """K (E, E): f'' at the measured energies to its share of f' there, tapered to zero beyond both ends (`window_corners`).

    Between the measured energies f'' follows the natural cubic spline, cut into `SEGMENTS_PER_STEP` linear pieces:
    with straight lines alone the steps of 0.5-1 eV leave 0.014 e- rms, the spline 0.002 e-. Energies much closer to each
    other than to the next are one knot (`spline_knots`), and a spline ends where steps change much (`spline_sections`).
    """
    knots, means = spline_knots(energy_ev)
    steps = [np.linspace(low, high, SEGMENTS_PER_STEP, endpoint=False) for low, high in pairwise(knots)]
    fine = np.concatenate([*steps, knots[-1:]])
    spline = np.empty((fine.size, energy_ev.size))
    for first, last in spline_sections(knots):
        inside = slice(first * SEGMENTS_PER_STEP, last * SEGMENTS_PER_STEP + 1)
        section = slice(first, last + 1)
        spline[inside] = CubicSpline(knots[section], means[section], bc_type="natural")(fine[inside])
    corners = window_corners(energy_ev)
    nodes = np.concatenate([corners[:1], fine, corners[-1:]])
    return np.asarray(transform_matrix(energy_ev, nodes)[:, 1:-1] @ spline)


def spline_sections(knots_ev: Array) -> list[tuple[int, int]]:
    """First and last knots of the splines that make up the spectrum, cut where one step is many times the next.

    One spline throughout would carry the slope between energies 0.3 eV apart, which is mostly noise, over the 15 eV beside
    them. A section of two knots is a straight line.
    """
    step = np.diff(knots_ev)
    unlike = SECTION_RATIO * np.minimum(step[1:], step[:-1]) < np.maximum(step[1:], step[:-1])
    return list(pairwise([0, *(np.flatnonzero(unlike) + 1).tolist(), knots_ev.size - 1]))


def spline_knots(energy_ev: Array) -> tuple[Array, Array]:
    """Knots (M,) [eV] of the spline through spectra at ``energy_ev`` (E,), and the matrix (M, E) of means that it goes through.

    A spline carries the slope between two points on to the next: noise of two energies 0.02 eV apart would be multiplied by
    the 1 eV beside them over 0.02 eV. Energies too close for what is beside them are replaced by their mean.
    """
    knots, sizes = list(energy_ev), [1] * energy_ev.size
    while len(knots) > 2:
        gaps = np.diff(knots)
        beside = np.stack([np.append(gaps[:1], gaps[:-1]), np.append(gaps[1:], gaps[-1:])])
        beside[0, 0], beside[1, -1] = beside[1, 0], beside[0, -1]
        least = np.maximum(KNOT_GAP * beside.min(axis=0), KNOT_GRADING * beside.max(axis=0))
        excess = gaps / np.minimum(least, KNOT_STEP_EV)
        i = int(np.argmin(excess))
        if excess[i] >= 1:
            break
        n, m = sizes[i], sizes[i + 1]
        knots[i : i + 2] = [(n * knots[i] + m * knots[i + 1]) / (n + m)]
        sizes[i : i + 2] = [n + m]
    owner = np.repeat(np.arange(len(knots)), sizes)
    return np.array(knots), (owner == np.arange(len(knots))[:, None]) / np.array(sizes)[:, None]


def tabulated_column(element: str, energy_ev: Array) -> Array:
    """T (E,): Z* plus the share of f' that comes from tabulated f'' outside the measured window [electrons per atom].

    The tables' own f' is not used: near the edge it belongs to another f'' than ours (it is broadened differently),
    while the integral over the outside is smooth within the window.
    """
    nodes = table_energies(energy_ev)
    outside = 1 - np.interp(nodes, window_corners(energy_ev), [0, 1, 1, 0])
    f2 = tabulated_f2(element, nodes) * outside
    return relativistic_charge(element) + transform_matrix(energy_ev, nodes) @ f2


def table_energies(energy_ev: Array) -> Array:
    """Energies [eV] that resolve the tables, from 30 eV to 400 keV, the window's four corners among them."""
    corners = window_corners(energy_ev)
    near = np.arange(max(corners[0] - 600, LOWEST_EV), corners[-1] + 600, 1.0)
    wide = np.geomspace(LOWEST_EV, 400e3, 6000)
    wide = wide[(wide < near[0]) | (wide > near[-1])]
    return np.unique(np.concatenate([wide, near, corners]))


def window_corners(energy_ev: Array) -> Array:
    """(4,) energies [eV] between which spectra hand over to the tables: from the first to the second, from the third to the last.

    Raises
    ------
    EnergyGridError
        The window reaches down to where the tables begin.
    """
    if not energy_ev[0] > LOWEST_EV:
        raise EnergyGridError(
            f"energies must lie above {LOWEST_EV:g} eV, where the tables of scattering factors begin; got {energy_ev[0]:.1f} eV. "
            "Are they in eV?"
        )
    lower = min(TAPER_EV, (energy_ev[0] - LOWEST_EV) / 2)
    return np.array([energy_ev[0] - lower, energy_ev[0], energy_ev[-1], energy_ev[-1] + TAPER_EV])


def outside_columns(energy_ev: Array, absorber: Absorber, formula: str) -> Array:
    """The two columns T (E, 2) of the constraint: one absorber atom, and the formula's other atoms per absorber.

    A formula of the absorber alone has one column (E, 1).
    """
    atoms = composition(formula)
    columns = [tabulated_column(absorber.element, energy_ev)]
    others = {element: amount for element, amount in atoms.items() if element != absorber.element}
    if others:
        total = sum(others.values())
        shares = [amount / total * tabulated_column(element, energy_ev) for element, amount in others.items()]
        columns.append(np.sum(shares, axis=0))
    return np.stack(columns, axis=1)


def joint_projection(K: Array, T: Array, sigma_absorption: Array, sigma_phase: Array) -> Array:
    """The weighted least-squares projection onto Kramers-Kronig pairs, one idempotent (2E, 2E) matrix for all pixels.

    Minimises ``|(g'' - x)/s_A|^2 + |(g' - K x - T c)/s_phi|^2`` over x and c and returns the map of ``(g'', g')``
    to ``(x, K x + T c)``.

    Parameters
    ----------
    K : (E, E) array
        Window matrix.
    T : (E, C) array
        Columns of the outside.
    sigma_absorption, sigma_phase : (E,) arrays
        Standard errors of g'' and g' [any common unit]; only their ratios matter.
    """
    n_energies, n_columns = T.shape
    model = np.block([[np.eye(n_energies), np.zeros((n_energies, n_columns))], [K, T]])
    weight = 1 / np.concatenate([sigma_absorption, sigma_phase])
    basis, _ = np.linalg.qr(model * weight[:, None])
    return (basis / weight[:, None]) @ (basis.T * weight[None, :])


def absorption_to_phase(K: Array, T: Array) -> Array:
    """One way: g'' is kept, g' becomes ``K g'' + T c`` with the c that fits g' best; (2E, 2E), idempotent."""
    n = len(K)
    onto_columns = T @ np.linalg.pinv(T)
    return np.block([[np.eye(n), np.zeros((n, n))], [K - onto_columns @ K, onto_columns]])


def phase_to_absorption(K: Array, T: Array) -> Array:
    """The other way: g' is kept, g'' moves as little as possible to become its partner; (2E, 2E), idempotent.

    ``x = g'' + (R K)^+ R (g' - K g'')`` with R the projection off the columns T. Spectra that K hardly turns into phase
    (singular values below `LEAST_GAIN` of the largest) are left as measured: inverting them would only amplify noise.
    """
    n = len(K)
    off_columns = np.eye(n) - T @ np.linalg.pinv(T)
    inverse = np.linalg.pinv(off_columns @ K, rcond=LEAST_GAIN) @ off_columns
    return np.block([[np.eye(n) - inverse @ K, inverse], [np.zeros((n, n)), np.eye(n)]])


def residual(K: Array, T: Array, g2: Array, g1: Array) -> Array:
    """What the relation leaves unexplained, ``g' - K g'' - T c`` with the best c; shapes (E, n), [e- m^-2]."""
    difference = g1 - K @ g2
    return difference - T @ (np.linalg.pinv(T) @ difference)


def partners(K: Array, T: Array, g2: Array, g1: Array) -> tuple[Array, Array]:
    """``g' - T c`` as measured and ``K g''`` as the absorption predicts it, with the best c; shapes (E, n), [e- m^-2]."""
    predicted = K @ g2
    return predicted + residual(K, T, g2, g1), predicted


def slope(K: Array, T: Array, g2: Array, g1: Array) -> float:
    """Slope of ``g' - T c`` on ``K g''``: about 1; 0.5 tells intensity taken for amplitude, -1 a wrong sign of phi."""
    onto_columns = T @ np.linalg.pinv(T)
    expected = K @ g2 - onto_columns @ (K @ g2)
    seen = g1 - onto_columns @ g1
    return float(np.sum(expected * seen) / np.sum(expected * expected))
