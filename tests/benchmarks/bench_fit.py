"""Fits of eq. 1, pixels a second of one core's time: ours against scipy's bounded curve_fit, on the same spectra in one run.

Run it as a script. The spectra are those of the simulated states on the forty energies of the measurement, varied, with
noise in units of the edge jump. ``best`` is the share of pixels whose chi2 is within 1e-6 of the least that either
program reached from its own start or the other's; ``in 1 sigma`` the share of edge energies within one of our standard
errors of the truth.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tasks.simulation.chemical_states import ABSORPTION_JUMP, STATES
from tasks.simulation.energies import GRID_OFFSETS_EV
from tasks.xanes.bounds import bounds
from tasks.xanes.fit import fit_spectra
from tasks.xanes.model import eq1, jacobian

EDGE_EV = 5465.0
ENERGY = EDGE_EV + np.array(GRID_OFFSETS_EV)
ROW = "{:>5} {:>12} {:>14} {:>16} {:>8} {:>12} {:>7} {:>11}"

Array = NDArray[np.float64]


def spectra(n: int, noise: float, seed: int) -> tuple[Array, Array]:
    """True parameters (10, n) and spectra (E, n)."""
    rng = np.random.default_rng(seed)
    p = np.stack([s.parameters(ABSORPTION_JUMP, EDGE_EV) for s in STATES], axis=1)[:, rng.integers(0, len(STATES), n)]
    p[[0, 1, 4, 7]] /= ABSORPTION_JUMP
    p[0] = 0.1
    p[2] += rng.normal(0, 0.3, n)
    thickness = rng.uniform(0.05, 0.15, n)
    p[[0, 1, 4, 7]] *= thickness
    clean = eq1(ENERGY, p)
    return p, clean + noise * thickness * rng.normal(size=clean.shape)


def by_hand(spectrum: Array) -> Array:
    """A careful user's start: half-step crossing, textbook widths."""
    low, high = spectrum[:4].mean(), spectrum[-6:].mean()
    edge = ENERGY[np.argmax(spectrum > (low + high) / 2)]
    jump = max(high - low, 1e-6)
    return np.array([low, jump, edge, 3, 0.2 * jump, edge - 8, 1.2, 0.3 * jump, max(edge + 8, EDGE_EV + 11), 5])


def scipy_fit(spectrum: Array, start: Array, analytic: bool, tight: bool = False) -> Array:
    """Parameters (10,) by curve_fit (trust-region reflective), from a start inside the bounds."""
    lower, upper = bounds(EDGE_EV)
    margin = 1e-9 * (1 + np.abs(start))
    options = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 2000} if tight else {"max_nfev": 5000}
    found, _ = curve_fit(
        lambda energy, *p: eq1(energy, np.array(p)),
        ENERGY,
        spectrum,
        np.clip(start, lower + margin, upper - margin),
        bounds=(lower, upper),
        jac=(lambda energy, *p: jacobian(energy, np.array(p))) if analytic else None,
        x_scale=np.where(np.arange(10) % 3 == 1, spectrum.std(), 1.0),
        **options,
    )
    return np.asarray(found)


def chi2(spectrum: Array, p: Array) -> float:
    return float(np.sum((eq1(ENERGY, p) - spectrum) ** 2))


def seconds_each(fit: Callable[[Array], Array], columns: Array) -> tuple[float, list[Array]]:
    start = time.process_time()
    found = [fit(column) for column in columns.T]
    return (time.process_time() - start) / columns.shape[1], found


def row(noise: float, n: int, n_scipy: int) -> str:
    truth, measured = spectra(n, noise, seed=1)
    ours_s = []
    for _ in range(3):
        start = time.process_time()
        ours = fit_spectra(ENERGY, measured, None, EDGE_EV)
        ours_s.append((time.process_time() - start) / n)
    few = measured[:, :n_scipy]
    plain_s, plain = seconds_each(lambda y: scipy_fit(y, by_hand(y), analytic=False), few)
    analytic_s, _ = seconds_each(lambda y: scipy_fit(y, by_hand(y), analytic=True), few)
    best = []
    for y, theirs, mine, own in zip(few.T, plain, ours.parameters.T, ours.chi2, strict=False):
        polished = min(chi2(y, scipy_fit(y, p, True, tight=True)) for p in (theirs, mine))
        best.append((own <= polished * (1 + 1e-6), chi2(y, theirs) <= min(own, polished) * (1 + 1e-6)))
    share, theirs_share = np.mean(best, axis=0)
    inside = np.mean(np.abs(ours.parameters - truth)[2] < ours.sigma[2])
    speed = 1 / min(ours_s)
    return ROW.format(
        f"{noise:.0%}", f"{speed:,.0f}", f"{1 / plain_s:,.0f}", f"{1 / analytic_s:,.0f}", f"{speed * plain_s:,.0f}",
        f"{share:.1%}", f"{theirs_share:.0%}", f"{inside:.1%}",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixels", type=int, default=20_000, help="spectra that we fit")
    parser.add_argument("--scipy-pixels", type=int, default=100, help="of them, those that scipy fits too")
    args = parser.parse_args()
    warnings.simplefilter("ignore", OptimizeWarning)
    fit_spectra(ENERGY, spectra(8, 0.01, seed=0)[1], None, EDGE_EV)
    print("eq. 1 fits on one core, pixels/s")
    print(ROW.format("noise", "ours", "curve_fit", "with Jacobian", "ratio", "ours best", "theirs", "in 1 sigma"))
    with threadpool_limits(1):
        for noise in (0.01, 0.03, 0.1):
            print(row(noise, args.pixels, args.scipy_pixels), flush=True)


if __name__ == "__main__":
    main()
