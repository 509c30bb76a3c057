"""How the reconstruction of every energy went, side by side: what an energy has less of is NaN, of modes no power."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from tasks.ptycho.probe import power_fractions

Array = NDArray[Any]

STATE_ARRAYS = ("errors", "positions_m", "displacement_px", "scale", "probe")


def course(desk: StageContext, keys: Sequence[str]) -> dict[str, Array]:
    """Of the energies whose last rounds have these keys, by the names of the results store.

    ``error`` (E, C), ``noise_error`` and ``cycles`` (E,), ``mode_power`` (E, M) and ``positions`` (E, P, 2) always;
    ``displacement_rms`` (E,) [px] and ``frame_flux`` (E, P) where positions or flux were corrected.
    """
    states = [desk.read(key, *STATE_ARRAYS) for key in keys]
    found = {
        "error": padded([state["errors"] for state in states]),
        "noise_error": np.array([desk.units.attrs(key)["noise_error"] for key in keys], np.float32),
        "cycles": np.array([len(state["errors"]) for state in states], np.int32),
        "mode_power": padded([power_fractions(state["probe"]).astype(np.float32) for state in states], 0),
        "positions": padded([state["positions_m"] for state in states]),
    }
    if all(len(state["scale"]) for state in states):
        rms = [np.sqrt(np.mean(np.sum(state["displacement_px"] ** 2, axis=1))) for state in states]
        found["displacement_rms"] = np.array(rms, np.float32)
        found["frame_flux"] = padded([state["scale"].astype(np.float32) ** 2 for state in states])
    return found


def padded(arrays: Sequence[Array], behind: float = np.nan) -> Array:
    """(E, L, ...) of E arrays (L_e, ...), L the longest; ``behind`` the end of the shorter ones."""
    whole = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), behind, arrays[0].dtype)
    for row, values in zip(whole, arrays, strict=True):
        row[: len(values)] = values
    return whole


def course_coordinates(found: Mapping[str, Array]) -> dict[str, Array]:
    """Coordinates of the arrays of a `course`."""
    return {
        "cycle": np.arange(1, found["error"].shape[1] + 1),
        "position": np.arange(found["positions"].shape[1]),
        "axis": np.array(["y", "x"]),
    }
