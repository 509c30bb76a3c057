"""The reconstruction of one energy as a sequence of decisions between the solver's steps.

It chooses the rule of every cycle, starts from another energy where one is given, settles slow waves on the middle half of the
detector, tries a further probe mode, corrects the placement of the frames, and ends when the object has converged. Each decision
follows from the energy's own states, so that it gives the same result alone or among others (`tasks.ptycho.driver`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tasks.errors import WarmStartError
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.agreement import sampled_noise_misfit
from tasks.ptycho.coherence import ASKED_AFTER, EXCESS, MOST_MODES, PAYS, TRIAL_CYCLES, has_stalled
from tasks.ptycho.convergence import COMPARED_CYCLES, CONVERGED, Averages
from tasks.ptycho.half_detector import LEAST_WARM, SHRINKING, Detector, HalfDetector, Phase, half_inputs
from tasks.ptycho.kernels.cycle import place_frames
from tasks.ptycho.placement import corrected, fix_flux_gauge, is_due, misfit_slopes
from tasks.ptycho.scan import Canvas, Scan, illumination
from tasks.ptycho.schedule import choose_rule, early_end, has_converged, has_step_decay_begun
from tasks.ptycho.solver import CycleInputs, Rule, cycle_inputs, postprocess, terminate
from tasks.ptycho.state import State, with_another_mode

OnCycle: TypeAlias = Callable[[int, float], None]
"""Called after each cycle with the number of cycles done and R; an exception it raises ends the reconstruction."""

GAUGE_EVERY = 20
"""Cycles between two fixes of the flux gauge, where the flux of the frames is free."""
MIN_CYCLES_COLD = 60
"""Cycles from the optics before convergence is considered."""
MIN_CYCLES_WARM = 30
"""Cycles from another energy before convergence is considered."""
WHOLE_AFTER_WARM, WHOLE_AFTER_COLD = 10, 20
"""Cycles on the whole detector after those on its middle half, before convergence is considered again."""


class WarmStart(Protocol):
    """A start from another energy: an image of ``n_cycles`` cycles, on which drift and contrast are measured, then its object.

    Both methods raise `WarmStartError` where the other energy cannot be a start for this one.
    """

    @property
    def n_cycles(self) -> int:
        """Cycles of the quick image."""
        ...

    def begin(self, cold: State, inputs: CycleInputs) -> State:
        """The state before the quick image."""
        ...

    def transfer(self, quick: State, canvas: Canvas, begun: State, inputs: CycleInputs) -> State:
        """The state from which the schedule begins; ``canvas`` is that of the quick image."""
        ...


@dataclass(frozen=True)
class QuickImage:
    """The image on which a warm start measures drift and contrast."""

    warm_start: WarmStart
    begun: State

    def is_over(self, state: State) -> bool:
        """Whether its cycles are done."""
        return state.cycle >= self.begun.cycle + self.warm_start.n_cycles


@dataclass(frozen=True)
class ModeTrial:
    """A trial of a further probe mode: what is restored if the mode does not pay."""

    state: State
    inputs: CycleInputs


class Reconstruction:
    """The reconstruction of one energy over a number of cycles: `next_rule` and `accept` in turn until `is_done`.

    Parameters
    ----------
    scan : Scan
    canvas : Canvas
        Of the scan's energy (`plan_canvas`).
    state : State
        Where to start from; it is not changed.
    n_cycles : int
        Cycles to add to those of ``state``; fewer are run where the object converges and the options say to stop there.
    options : ReconstructOptions
    on_cycle : callable, optional
        As `OnCycle`; during the trial of a mode the number is that of the cycles before it.
    warm_start : WarmStart, optional
        Another energy to start from. Its quick image comes on top of ``n_cycles``. Where it is no start, the energy starts
        from ``state`` after all, and `warnings` says why.

    Attributes
    ----------
    state : State
    inputs : CycleInputs
    warnings : list of str
    """

    def __init__(
        self,
        scan: Scan,
        canvas: Canvas,
        state: State,
        n_cycles: int,
        options: ReconstructOptions,
        on_cycle: OnCycle | None = None,
        warm_start: WarmStart | None = None,
    ) -> None:
        self.state = state
        self.inputs = cycle_inputs(scan, canvas, state, options)
        self.warnings: list[str] = []
        self._cold = state
        self._n_cycles = n_cycles
        self._end = state.cycle + n_cycles
        self._options = options
        self._on_cycle = on_cycle
        self._warm_start = warm_start
        self._quick_image: QuickImage | None = None
        self._start_checked_at: int | None = None
        self._trial: ModeTrial | None = None
        self._refused_at: int | None = None
        self._averages: Averages | None = None
        self._remaining_change = math.inf
        self._noise: float | None = None
        self._half = HalfDetector(half_inputs(self.inputs, state, options))
        if warm_start is not None:
            self._begin_quick_image(warm_start)

    @property
    def is_done(self) -> bool:
        """Whether no cycle is left to run."""
        return self._trial is None and terminate(self.state, self._end)

    def next_rule(self) -> Rule:
        """The rule of the next cycle, in which a trial of a further mode may begin."""
        if self._may_try_mode() and is_mode_missing(self.state, self.inputs, self._options):
            self._trial = ModeTrial(self.state, self.inputs)
            self.state = with_another_mode(self.state)
        if self._trial is None:
            self._see(self._half.choose(self.state, self.inputs, self._phase))
        rule = choose_rule(self.state, self._options, self.inputs.scan.mask)
        if self.state.cycle == self._half.changed_at:  # the last R is another detector's
            rule = replace(rule, restart_error=math.inf)
        return replace(rule, alpha=self._options.alpha) if self._phase == "quick image" else rule

    def accept(self, state: State) -> None:
        """Take over the state after a cycle under `next_rule`, and decide what follows from it."""
        self.state = state
        reported, error = state.cycle, float(state.errors[-1])
        if self._quick_image is not None:
            self._end_quick_image(self._quick_image)
        else:
            reported = reported if self._trial is None else self._trial.state.cycle
            self._decide()
        if self._on_cycle is not None:
            self._on_cycle(reported, error)

    def result(self) -> State:
        """The final state."""
        if self._options.cycles == "auto" and self.state.stops_after is None:
            self.warnings.append(
                f"not converged after {self.state.scheduled_cycle} cycles: the object would still change by "
                f"{self._remaining_change:.2g} of a pixel's photon noise"
            )
        self._see(self._half.leave(self.state))
        return postprocess(self.state, self.inputs)

    @property
    def _phase(self) -> Phase:
        if self._quick_image is not None:
            return "quick image"
        return "cold" if self._warm_start is None else "warm"

    def _decide(self) -> None:
        """What follows from a cycle of the schedule: an early end, corrected placement, the end of a trial."""
        options = self._options
        if options.cycles == "auto" and not math.isfinite(self.state.errors[-1]):
            self.warnings.append(f"diverged after {self.state.cycle} cycles")
            self.state = replace(self.state, stops_after=self.state.cycle)
        elif self._half.is_seen:
            self._half.is_settled = self._is_object_converged()
        elif has_converged(self.state, options) or self._is_object_converged():
            self.state = replace(self.state, stops_after=early_end(self.state, options))
        if is_due(self.state.scheduled_cycle, options):
            self.state, self.inputs = correct_placement(self.state, self.inputs, options)
        if self._warm_start is not None and self.state.cycle == self._start_checked_at:
            self._check_start(self._warm_start)
        if self._trial is not None:
            self._decide_trial(self._trial)

    def _begin_quick_image(self, warm_start: WarmStart) -> None:
        try:
            self.state = warm_start.begin(self._cold, self.inputs)
            self._quick_image = QuickImage(warm_start, self.state)
            self._end += warm_start.n_cycles
        except WarmStartError as error:
            self._start_cold(str(error))

    def _end_quick_image(self, image: QuickImage) -> None:
        """After the last cycle of the quick image: the other energy's object in its place, from which the schedule begins."""
        if not image.is_over(self.state):
            return
        self._quick_image, quick, canvas = None, self.state, self.inputs.canvas
        self._see(self._half.leave(self.state))
        try:
            started = image.warm_start.transfer(quick, canvas, image.begun, self.inputs)
        except WarmStartError as error:
            self._start_cold(str(error))
            return
        self.state = replace(started, first_cycle=self.state.cycle)
        self._start_checked_at = self.state.cycle + min(image.warm_start.n_cycles, self._n_cycles)

    def _check_start(self, warm_start: WarmStart) -> None:
        """Start from the optics after all where the start explains the frames no better than an empty object did."""
        n_cycles = self.state.scheduled_cycle
        now, quick = self.state.errors[-1], self.state.errors[-1 - warm_start.n_cycles]
        if not now < quick:
            self._start_cold(
                f"after {n_cycles} cycles from the reference R is {now:.2g}, from an empty object {quick:.2g}: did the specimen, "
                "the probe or the positions change?"
            )

    def _start_cold(self, reason: str) -> None:
        """Start from the state given, whose schedule begins now."""
        self.warnings.append(f"started from the optics: {reason}")
        self._see(self._half.leave(self.state))
        done = self.state
        self.state = replace(self._cold, cycle=done.cycle, errors=done.errors, frame_px=done.frame_px, first_cycle=done.cycle)
        self._end = done.cycle + self._n_cycles
        self._warm_start = self._averages = None
        self._half.begin_schedule()

    def _see(self, detector: Detector | None) -> None:
        """Go on with another detector, if there is one to go to."""
        if detector is not None:
            self.state, self.inputs, self._noise = detector.state, detector.inputs, None
            self._averages = self._averages and self._averages.mapped(detector.mapped)

    def _may_try_mode(self) -> bool:
        is_free = self._trial is None and self._quick_image is None
        return is_free and self.state.cycle != self._refused_at and self.state.cycle + TRIAL_CYCLES <= self._end

    def _decide_trial(self, trial: ModeTrial) -> None:
        """End a trial that has run its cycles: keep the mode if R fell enough, else go on from the state before it."""
        if self.state.cycle < trial.state.cycle + TRIAL_CYCLES:
            return
        if not self.state.errors[-1] < PAYS * trial.state.errors[-1]:
            self.state, self.inputs = trial.state, trial.inputs
            self._refused_at = trial.state.cycle
        self._trial = None

    def _is_object_converged(self) -> bool:
        """Whether ``cycles="auto"`` begins the step decay after this cycle."""
        state, options = self.state, self._options
        if options.cycles != "auto" or self._trial is not None or has_step_decay_begun(state, options):
            return False
        self._averages = Averages.of(state.object) if self._averages is None else self._averages.with_cycle(state.object)
        if state.scheduled_cycle < self._least_cycles() or state.scheduled_cycle % COMPARED_CYCLES:
            return False
        self._remaining_change = self._averages.remaining_change(self._dose(), self._excess())
        return self._remaining_change < CONVERGED

    def _least_cycles(self) -> int:
        """Cycles of the schedule before convergence, on the detector that is seen now, is considered."""
        if self._warm_start is None:
            return max(MIN_CYCLES_COLD, self._half.whole_since + WHOLE_AFTER_COLD)
        return LEAST_WARM if self._half.is_seen else max(MIN_CYCLES_WARM, self._half.whole_since + WHOLE_AFTER_WARM)

    def _dose(self) -> NDArray[np.float32]:
        """(Y, X) photons on each object pixel, of the size that the whole detector gives."""
        scan, canvas, _, _ = self.inputs
        positions_m = self.state.placement(len(scan.counts)).positions_m(scan, canvas)
        dose = illumination(canvas, positions_m, np.asarray(self.state.probe))
        return dose / np.float32(SHRINKING) if self._half.is_seen else dose

    def _excess(self) -> float:
        """R over the R that photon noise leaves, which hardly changes with the model and is computed once; at least 1."""
        if self._noise is None:
            self._noise = sampled_noise_misfit(jnp.asarray(self.state.object), jnp.asarray(self.state.probe), self.inputs.frames)
        return max(1.0, float(self.state.errors[-1]) * self.inputs.photons / self._noise)


def is_mode_missing(state: State, inputs: CycleInputs, options: ReconstructOptions) -> bool:
    """Whether R no longer falls and yet lies clearly above what photon noise leaves, so that another mode should be tried.

    False where the trial would reach into the step decay: R falls there in any case.
    """
    grows = options.probe_modes == "auto" and options.probe_update == "cycle" and len(state.probe) < MOST_MODES
    has_time = not has_step_decay_begun(replace(state, cycle=state.cycle + TRIAL_CYCLES), options)
    if not (grows and has_time and state.scheduled_cycle in ASKED_AFTER and has_stalled(state.errors)):
        return False
    noise = sampled_noise_misfit(jnp.asarray(state.object), jnp.asarray(state.probe), inputs.frames)
    return float(state.errors[-1]) * inputs.photons > EXCESS * noise


def correct_placement(state: State, inputs: CycleInputs, options: ReconstructOptions) -> tuple[State, CycleInputs]:
    """The state with corrected positions and flux, and the inputs with the frames placed accordingly."""
    scan, canvas, frames, _ = inputs
    slopes = misfit_slopes(jnp.asarray(state.object), jnp.asarray(state.probe), frames)
    corners = canvas.corners_px(scan.positions_m, scan.n_pixels)
    found = corrected(state.placement(len(corners)), slopes, corners, options)
    if options.frame_flux and state.cycle % GAUGE_EVERY < options.refine_every:
        object_, probe, found = fix_flux_gauge(scan, canvas, np.asarray(state.object), np.asarray(state.probe), found)
        state = replace(state, object=object_, probe=probe)
    state = replace(state, displacement_px=found.displacement_px, scale=found.scale)
    return state, inputs._replace(frames=place_frames(frames.amplitude, len(frames.copy_ramp) > 0, scan, canvas, found))
