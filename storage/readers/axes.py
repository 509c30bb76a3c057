"""Positions that a file has as two arrays: those of every frame, or the axes of a raster."""

import numpy as np
from numpy.typing import NDArray

from storage.readers.fields import LENGTH, Fields
from storage.readers.record import Node


def positions_of_axes(
    fields: Fields, y_path: str, x_path: str, frames: Node | None, unstated: float = 1.0, *, are_axes: bool = False
) -> NDArray[np.float64] | None:
    """Read probe positions as (P, 2) float64 (y, x) [m].

    Parameters
    ----------
    fields : Fields
        Its `fault` is told of what is wrong.
    y_path, x_path : str
        Arrays of equal shapes with one value a frame, row by row; or the rows (A,) and the columns (B,) of a raster whose
        fast axis is x.
    frames : Node, optional
        (P, ny, nx); the arrays are axes where they have P values together only as A times B.
    unstated : float
        Metres of the unit that is meant where the file states none.
    are_axes : bool
        The arrays are always axes: a scan that was ended after its first row has as many frames as a square's axes values.
    """
    y, x = (fields.quantities("positions_m", LENGTH, path, unstated=unstated) for path in (y_path, x_path))
    if y is None or x is None:
        return None
    n_frames = len(y.ravel()) if frames is None else int(frames.shape[0])
    y, x = (np.atleast_1d(np.squeeze(axis)) for axis in (y, x))
    is_raster = y.ndim == x.ndim == 1 and y.size * x.size == n_frames and not y.size == x.size == n_frames > 1
    if is_raster:
        y, x = np.meshgrid(y, x, indexing="ij")
    if y.shape != x.shape or (are_axes and not is_raster):
        fields.fault(
            "positions_m",
            f"x and y must have a value for each of the {n_frames} frames, or be the axes of a raster of so many, got "
            f"{x.shape} and {y.shape}",
        )
        return None
    return fields.finite_positions(np.stack([y.ravel(), x.ravel()], axis=1))
