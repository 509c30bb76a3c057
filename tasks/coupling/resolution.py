"""Resolution of every energy of a spectrum: what each reconstruction explains, and what it has in common with the next."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.coupling.registration import Grid
from tasks.coupling.spectra import Spectra, resample
from tasks.gauge import Gauge
from tasks.ptycho.resolution import (
    PRTF_THRESHOLD,
    detector_frequencies,
    half_bit,
    neighbour_frc,
    resolved_period_m,
    soft_window,
)
from tasks.ptycho.scan import Canvas

Array = NDArray[Any]


def energy_resolution(prtf: Array, n_pixels: int, pixel_size_m: float) -> dict[str, Array]:
    """Resolution of a single energy by its phase retrieval transfer function.

    Parameters
    ----------
    prtf : (F,) float32 array
        From `tasks.ptycho.resolution.prtf`.
    n_pixels : int
        Side of a frame.
    pixel_size_m : float
        Pixel of the object.

    Returns
    -------
    dict of array
        ``frequency_per_m`` (F,), ``prtf`` (1, F) and ``prtf_resolution_m`` (1,).
    """
    frequency = detector_frequencies(n_pixels, pixel_size_m)
    period_m = resolved_period_m(frequency, prtf, PRTF_THRESHOLD)
    return {"frequency_per_m": frequency, "prtf": prtf[None], "prtf_resolution_m": np.array([period_m])}


def spectrum_resolution(
    spectra: Spectra,
    objects: Iterable[NDArray[np.complex64]],
    gauges: Sequence[Gauge],
    canvases: Sequence[Canvas],
    prtfs: Sequence[Array],
    n_pixels: Sequence[int],
) -> dict[str, Array]:
    """Transfer of every energy, correlation with the next one, and the full periods they stand for, on one frequency axis.

    The objects are those before the last Kramers-Kronig constraint, which shares noise between energies. Constraints
    between rounds have shared some already.

    Parameters
    ----------
    spectra : Spectra
        What the objects became.
    objects : E arrays (Yc, Xc) complex64
    gauges : E Gauge
        What brings each object to the common gauge.
    canvases : E Canvas
    prtfs : E arrays (F_e,) float32
    n_pixels : E int
        Side of each energy's frames.

    Returns
    -------
    dict of array
        ``frequency_per_m`` and ``half_bit`` (F,), ``prtf`` and ``frc`` (E, F), ``resolution_m`` and
        ``prtf_resolution_m`` (E,).
    """
    grid = spectra.grid
    frequency = detector_frequencies(max(n_pixels), grid.pixel_size_m)
    curves = [energy_resolution(prtf, n, canvas.pixel_size_m) for prtf, n, canvas in zip(prtfs, n_pixels, canvases, strict=True)]
    flat = [image * gauge.factor((image.shape[0], image.shape[1])) for image, gauge in zip(objects, gauges, strict=True)]
    images = resample(flat, canvases, grid, spectra.shift_px)
    transfer = [np.interp(frequency, curve["frequency_per_m"], curve["prtf"][0], right=np.nan) for curve in curves]
    inside = spectra.sample_mask if spectra.sample_mask.any() else np.isfinite(spectra.absorption[0])
    return {
        **correlations(images, soft_window(inside), grid.pixel_size_m, frequency),
        "prtf": np.stack(transfer).astype(np.float32),
        "prtf_resolution_m": np.concatenate([curve["prtf_resolution_m"] for curve in curves]),
    }


def image_resolution(images: Array, grid: Grid, specimen: NDArray[np.bool_]) -> dict[str, Array]:
    """Correlation of every energy's image with the next one, where there are no frames and so no transfer function.

    Parameters
    ----------
    images : (E, Y, X) array
        On ``grid``, the empty area at 1.
    grid : Grid
    specimen : (Y, X) bool array
        Where it is; everywhere where it is nowhere.

    Returns
    -------
    dict of array
        As `correlations`.
    """
    inside = specimen if specimen.any() else np.ones_like(specimen)
    frequency = detector_frequencies(min(grid.shape), grid.pixel_size_m)
    return correlations(images, soft_window(inside), grid.pixel_size_m, frequency)


def correlations(images: Array, window: Array, pixel_size_m: float, frequency: Array) -> dict[str, Array]:
    """``frequency_per_m`` and ``half_bit`` (F,), ``frc`` (E, F) of neighbouring images (E, Y, X) and ``resolution_m`` (E,)."""
    threshold = half_bit(window, pixel_size_m, frequency)
    curves = neighbour_frc(images, window, pixel_size_m, frequency)
    return {
        "frequency_per_m": frequency,
        "frc": curves,
        "half_bit": threshold,
        "resolution_m": np.array([resolved_period_m(frequency, curve, threshold) for curve in curves]),
    }
