"""What the vacuum tells of the error of the edge jump: absorption is known to be zero there."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.fit import SpectrumFit, at_edge_wavelength
from tasks.xanes.model import PARAMETERS, edge_step, lorentzian

Array = NDArray[np.float64]

PEAKS: Final = ("pre_edge", "white_line")
LEAST_PIXELS: Final = 30
"""Fewer pixels of vacuum tell no variance."""
MOST_PIXELS: Final = 20_000
"""Of more, every second, third ... is taken."""


def jump_variance_in_common(
    energy_ev: Array,
    absorption: NDArray[np.floating],
    vacuum: NDArray[np.bool_],
    parameters: Array,
    edge_energy_ev: float,
) -> float:
    """Variance of the edge jump that the scatter of a pixel's spectrum about its fit does not show.

    Energies that start from one reference inherit its noise, and slow waves of the image end alike at neighbouring energies.
    Such errors pass for absorption: eq. 1 follows them. In vacuum they are seen. The typical spectrum's step, its peaks and a
    constant are fitted to every empty pixel by linear least squares; the mean square of the step, which should be zero, less what
    the scatter of the pixels about that fit explains, is what energies have in common.

    Parameters
    ----------
    energy_ev : (E,) float64 array [eV]
    absorption : (E, Y, X) float array
        Amplitude absorption.
    vacuum : (Y, X) bool array
        Where the field is empty at every energy.
    parameters : (10, n) float64 array
        Fits of eq. 1 to the specimen's pixels; shapes are their medians, and peaks that no pixel has are left out.
    edge_energy_ev : float
        The tabulated edge, at whose wavelength the jump is stated [eV].

    Returns
    -------
    float
        In the square of the absorption's unit, which is 1; 0 where vacuum or energies are too few to tell.
    """
    shapes = _typical_shapes(energy_ev, parameters)
    freedom = energy_ev.size - shapes.shape[1]
    pixels = np.flatnonzero(vacuum)
    pixels = pixels[:: 1 + pixels.size // MOST_PIXELS]
    empty = absorption.reshape(energy_ev.size, -1)[:, pixels].astype(np.float64)
    spectra = at_edge_wavelength(energy_ev, empty[:, np.isfinite(empty).all(axis=0)], edge_energy_ev)
    if freedom < 1 or spectra.shape[1] < LEAST_PIXELS or not np.isfinite(shapes).all():
        return 0.0
    inverse = np.linalg.pinv(shapes)
    amounts = inverse @ spectra
    scatter = np.sum((spectra - shapes @ amounts) ** 2, axis=0) / freedom
    explained = scatter * np.sum(inverse[1] ** 2)
    return max(float(np.mean(amounts[1] ** 2 - explained)), 0.0)


def with_jump_variance(fit: SpectrumFit, variance: float) -> SpectrumFit:
    """The fits of n spectra, ``variance``, in the square of the absorption's unit, added to that of every edge jump."""
    jump = PARAMETERS.index("edge_jump")
    sigma = fit.sigma.copy()
    sigma[jump] = np.hypot(sigma[jump], np.sqrt(variance))
    return replace(fit, sigma=sigma)


def _typical_shapes(energy_ev: Array, parameters: Array) -> Array:
    """(E, 2 to 4) float64: a constant, the step, and the peaks of the median of the fits (10, n)."""
    fitted = parameters[:, np.isfinite(parameters[PARAMETERS.index("edge_energy")])]
    typical = {name: _median(values) for name, values in zip(PARAMETERS, fitted, strict=True)}
    width_ev = typical["edge_width"] if typical["edge_width"] > 0 else float(np.median(np.diff(energy_ev)))
    step = edge_step(energy_ev, typical["edge_energy"], width_ev)
    peaks = [lorentzian(energy_ev, typical[f"{peak}_energy"], typical[f"{peak}_width"]) for peak in PEAKS]
    return np.stack([np.ones_like(energy_ev), step, *(peak for peak in peaks if np.isfinite(peak).all())], axis=1)


def _median(values: Array) -> float:
    """Of what is finite; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
