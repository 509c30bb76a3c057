"""Resolution of every energy of a spectrum: what each reconstruction explains, and what it has in common with the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.coupling.registration import Grid
from tasks.coupling.spectra import Aligned
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
        From `tasks.ptycho.agreement.Agreement.prtf`.
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
    aligned: Aligned, canvases: Sequence[Canvas], prtfs: Sequence[Array], n_pixels: Sequence[int]
) -> dict[str, Array]:
    """Transfer of every energy, correlation with the next one, and the full periods they stand for, on one frequency axis.

    The objects are those before the last Kramers-Kronig constraint, which shares noise between energies. Constraints
    between rounds have shared some already.

    Parameters
    ----------
    aligned : Aligned
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
    grid = aligned.grid
    rings = Rings.of(aligned.sample, max(n_pixels), grid)
    curves = neighbour_frc(aligned.images, rings.window, grid.pixel_size_m, rings.frequency_per_m)
    return rings.correlations(curves) | transfers(rings.frequency_per_m, prtfs, n_pixels, canvases)


def transfers(frequency: Array, prtfs: Sequence[Array], n_pixels: Sequence[int], canvases: Sequence[Canvas]) -> dict[str, Array]:
    """Transfer ``prtf`` (E, F) of every energy at the same frequencies (F,), and ``prtf_resolution_m`` (E,).

    Parameters
    ----------
    frequency : (F,) array [1/m]
    prtfs : E arrays (F_e,) float32
    n_pixels : E int
    canvases : E Canvas
    """
    curves = [energy_resolution(prtf, n, canvas.pixel_size_m) for prtf, n, canvas in zip(prtfs, n_pixels, canvases, strict=True)]
    transfer = [np.interp(frequency, curve["frequency_per_m"], curve["prtf"][0], right=np.nan) for curve in curves]
    return {
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
        As `Rings.correlations`.
    """
    rings = Rings.of(specimen, min(grid.shape), grid)
    return rings.correlations(neighbour_frc(images, rings.window, grid.pixel_size_m, rings.frequency_per_m))


@dataclass(frozen=True)
class Rings:
    """The rings of frequencies in which images are correlated, and the window around the specimen."""

    window: Array
    """(Y, X)."""
    frequency_per_m: Array
    """(F,)."""
    pixel_size_m: float

    @classmethod
    def of(cls, specimen: NDArray[np.bool_], n_pixels: int, grid: Grid) -> "Rings":
        """Rings of frames of ``n_pixels``, about the specimen (Y, X) or, where that is nowhere, about all."""
        inside = specimen if specimen.any() else np.ones_like(specimen)
        return cls(soft_window(inside), detector_frequencies(n_pixels, grid.pixel_size_m), grid.pixel_size_m)

    def correlations(self, curves: Array) -> dict[str, Array]:
        """All that follows from the correlation (E - 1, F) of each energy with the next.

        Returns
        -------
        dict of array
            ``frequency_per_m`` and ``half_bit`` (F,), ``frc`` (E, F), whose last is the one before, and ``resolution_m`` (E,).
        """
        threshold = half_bit(self.window, self.pixel_size_m, self.frequency_per_m)
        curves = np.concatenate([curves, curves[-1:]])
        return {
            "frequency_per_m": self.frequency_per_m,
            "frc": curves,
            "half_bit": threshold,
            "resolution_m": np.array([resolved_period_m(self.frequency_per_m, curve, threshold) for curve in curves]),
        }
