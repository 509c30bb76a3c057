"""Cycles on the middle half of the detector: the object on pixels twice as large, the same slow waves, a quarter of the work.

The middle N/2 x N/2 pixels of a pattern are the far field of the exit wave without its upper frequencies. Where nearly all light
falls there, that is the product of an object and a probe without theirs, so that ePIE works on it as it is: what is wide settles
cheaply before cycles on the whole detector add what is fine. On the way back only what has changed is added, and the upper
frequencies stay as they were. (The idea is that of multigrid methods: Brandt, Math. Comp. 31, 333 (1977).)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.scan import Canvas, Scan
from tasks.ptycho.solver import CycleInputs, cycle_inputs
from tasks.ptycho.state import State

SMALLEST_FRAME_PX = 128
"""Side of the smallest frame for which the way there and back pays."""
MOST_LIGHT_OUTSIDE = 1e-3
"""Share of the light outside the middle half up to which that half is a measurement of its own. Simulated specimens of 15 nm
pixels have 4e-5, and R on the half is 1.05 to 1.2 of photon noise at 1e7 and 1e8 photons a frame; a Siemens star has 0.045."""
SHRINKING = 4
"""Pixels of the whole in one of the half."""
AXES = (-2, -1)
LEAST_WARM, UNTIL_WARM = 20, 60
"""Cycles from another energy, at least and at most, that see the middle half of the detector until slow waves have settled there;
the quick image before them does so too."""
FROM_COLD, UNTIL_COLD = 20, 300
"""Cycles from the optics between which the middle half is seen until slow waves have settled there. Fine details need tens of
cycles on the whole detector to appear, wherever those are."""

Phase: TypeAlias = Literal["quick image", "warm", "cold"]
"""Which cycle comes next: one of the quick image before a warm start, or of the schedule, from another energy or the optics."""


@dataclass(frozen=True)
class OnHalfDetector:
    """Where a reconstruction left the whole detector for its middle half."""

    whole: State
    inputs: CycleInputs
    """Of the whole detector."""
    begun: State
    """The state on the half before its first cycle there."""

    @classmethod
    def begin(cls, state: State, inputs: CycleInputs) -> "OnHalfDetector":
        """Leave the whole detector at this state."""
        return cls(state, inputs, halved(state))

    def back(self, state: State) -> State:
        """The state on the whole detector, with what has changed on the half."""
        return replace(
            state,
            object=self.object_back(state.object),
            probe=_added(self.whole.probe, state.probe, self.begun.probe, 0.5),
            probe_momentum_buffer=finer(state.probe_momentum_buffer, 0.5),
            object_momentum_buffer=finer(state.object_momentum_buffer),
        )

    def object_back(self, object_: ArrayLike) -> NDArray[np.complex64]:
        """(Y, X) complex64: an object (Y/2, X/2) on the half as it is on the whole, or an average of such."""
        return _added(self.whole.object, object_, self.begun.object)


class Detector(NamedTuple):
    """A reconstruction as it goes on after a change between the whole detector and its middle half."""

    state: State
    inputs: CycleInputs
    mapped: Callable[[ArrayLike], NDArray[np.complex64]]
    """Brings an object, or an average of such, to its pixels."""


class HalfDetector:
    """When a reconstruction sees the middle half of the detector, and the way there and back.

    Parameters
    ----------
    inputs : CycleInputs or None
        Those of the half (`half_inputs`); None where it is never seen.

    Attributes
    ----------
    is_settled : bool
        Whether slow waves have settled on the half.
    whole_since : int
        Cycle of the schedule since which the whole detector is seen again.
    changed_at : int or None
        Number of cycles before the last change of the detector.
    """

    def __init__(self, inputs: CycleInputs | None) -> None:
        self._inputs = inputs
        self._left: OnHalfDetector | None = None
        self.changed_at: int | None = None
        self.begin_schedule()

    @property
    def is_seen(self) -> bool:
        """Whether the middle half is what is seen now."""
        return self._left is not None

    def begin_schedule(self) -> None:
        """Forget what the cycles of an earlier schedule have settled."""
        self.is_settled, self.whole_since = False, 0

    def choose(self, state: State, inputs: CycleInputs, phase: Phase) -> Detector | None:
        """The way to the middle half, or back, where the next cycle belongs there; else None."""
        if self._inputs is None or self._is_due(state.scheduled_cycle, phase) == self.is_seen:
            return None
        if self.is_seen:
            return self.leave(state)
        self._left, self.changed_at = OnHalfDetector.begin(state, inputs), state.cycle
        return Detector(self._left.begun, self._inputs, coarser)

    def leave(self, state: State) -> Detector | None:
        """The way back to the whole detector; None where that is seen already."""
        if self._left is None:
            return None
        left, self._left = self._left, None
        self.changed_at, self.whole_since = state.cycle, state.scheduled_cycle
        return Detector(left.back(state), left.inputs, left.object_back)

    def _is_due(self, n_cycles: int, phase: Phase) -> bool:
        """Whether the cycle after ``n_cycles`` of the schedule belongs on the half."""
        if phase == "cold":
            return FROM_COLD <= n_cycles < UNTIL_COLD and not self.is_settled
        return phase == "quick image" or n_cycles < LEAST_WARM or (n_cycles < UNTIL_WARM and not self.is_settled)


def half_inputs(inputs: CycleInputs, state: State, options: ReconstructOptions) -> CycleInputs | None:
    """The inputs of the middle half of the detector; None where the options or the scan do not allow for cycles there.

    Frames must not be small, hold nearly no light outside their middle (`MOST_LIGHT_OUTSIDE`), and lie where they were measured.
    """
    fits = options.half_detector == "auto" and options.cycles == "auto" and options.probe_update == "cycle"
    is_placed = options.position_refinement == "none" and not options.frame_flux and not len(state.scale)
    if not (fits and is_placed and not options.stop_change and is_bright_in_the_middle(inputs.scan)):
        return None
    return cycle_inputs(half_scan(inputs.scan), half_canvas(inputs.canvas), state, options)


def is_bright_in_the_middle(scan: Scan) -> bool:
    """Whether frames are large enough to be halved and hold nearly all their light in the middle."""
    if scan.n_pixels < SMALLEST_FRAME_PX or scan.n_pixels % 4:
        return False
    mean, _ = scan.mean_pattern
    inside = float(np.sum(mean[_middle(scan.n_pixels), _middle(scan.n_pixels)]))
    return inside > 0 and float(np.sum(mean)) - inside < MOST_LIGHT_OUTSIDE * inside


def half_scan(scan: Scan) -> Scan:
    """The scan as the middle N/2 x N/2 pixels of its detector saw it; the counts are not copied."""
    middle = _middle(scan.n_pixels)
    return replace(scan, counts=scan.counts[:, middle, middle], mask=scan.mask[middle, middle])


def half_canvas(canvas: Canvas) -> Canvas:
    """The canvas (Y, X) with pixels twice as large, the first at the same place."""
    height, width = canvas.shape
    return Canvas((height // 2, width // 2), 2 * canvas.pixel_size_m, canvas.origin_m)


def halved(state: State) -> State:
    """The state on pixels twice as large: object, probe and momenta without their upper frequencies."""
    return replace(
        state,
        object=coarser(state.object),
        probe=coarser(state.probe, 2),
        probe_momentum_buffer=coarser(state.probe_momentum_buffer, 2),
        object_momentum_buffer=coarser(state.object_momentum_buffer),
    )


def coarser(values: ArrayLike, scale: float = 1.0) -> NDArray[np.complex64]:
    """(..., Y/2, X/2) complex64: every other pixel of the values (..., Y, X) without their upper frequencies, times ``scale``."""
    height, width = np.shape(values)[-2:]
    kept = np.fft.fftshift(np.fft.fft2(values), AXES)[..., _middle(height), _middle(width)]
    return _from_spectrum(_without_nyquist(kept), scale / SHRINKING)


def finer(values: ArrayLike, scale: float = 1.0) -> NDArray[np.complex64]:
    """(..., 2Y, 2X) complex64: the values (..., Y, X) and what lies between them by their Fourier series, times ``scale``."""
    *stack, height, width = np.shape(values)
    spectrum = np.zeros((*stack, 2 * height, 2 * width), np.complex64)
    kept = np.fft.fftshift(np.fft.fft2(values), AXES)
    spectrum[..., _middle(2 * height), _middle(2 * width)] = _without_nyquist(kept)
    return _from_spectrum(spectrum, scale * SHRINKING)


def _middle(n: int) -> slice:
    """The middle half of ``n`` pixels, in which the middle ``n // 2`` is the middle again."""
    return slice(n // 4, n // 4 + n // 2)


def _without_nyquist(spectrum: NDArray[Any]) -> NDArray[Any]:
    """The centred spectrum (..., Y, X) with zeros at the highest frequencies, which have one sign only."""
    inner = spectrum.copy()
    inner[..., 0, :] = inner[..., :, 0] = 0
    return inner


def _from_spectrum(spectrum: NDArray[Any], scale: float) -> NDArray[np.complex64]:
    """(..., Y, X) complex64: the values of a centred spectrum, times ``scale``."""
    return np.asarray(np.fft.ifft2(np.fft.ifftshift(spectrum, AXES)) * scale, np.complex64)


def _added(whole: ArrayLike, after: ArrayLike, before: ArrayLike, scale: float = 1.0) -> NDArray[np.complex64]:
    """``whole`` (M, Y, X), with modes of zero where ``after`` (M', Y/2, X/2) has more, plus what changed since ``before``."""
    change, old, start = np.array(after), np.asarray(whole), np.asarray(before)
    n_new = len(change) - len(old) if change.ndim == 3 else 0
    if n_new:
        old, start = (np.concatenate([one, np.zeros((n_new, *one.shape[1:]), one.dtype)]) for one in (old, start))
    return np.asarray(old + finer(change - start, scale), np.complex64)
