"""Drives the solver: decides the rule of every cycle, trials of a further probe mode, and corrections of the frames' placement.

One energy runs alone, or several run in step: cycles of equal shape are then one vectorised kernel call, for a processor that
one energy does not fill (a graphics card). Either way each energy follows its own schedule and gives the same result.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from tasks.options import ReconstructOptions
from tasks.ptycho.coherence import ASKED_AFTER, EXCESS, MOST_MODES, PAYS, TRIAL_CYCLES, has_stalled, noise_misfit
from tasks.ptycho.cycle import COPIES_PX, Frames, place_frames
from tasks.ptycho.placement import corrected, fix_flux_gauge, is_due, misfit_slopes
from tasks.ptycho.scan import Canvas, Scan
from tasks.ptycho.schedule import choose_rule, has_converged, has_step_decay_begun
from tasks.ptycho.solver import CycleInputs, Rule, batch_key, cycle_inputs, postprocess, step, step_together, terminate
from tasks.ptycho.state import State, with_another_mode

OnCycle: TypeAlias = Callable[[int, float], None]
"""Called after each cycle with the number of cycles done and R; an exception it raises ends the reconstruction."""

GAUGE_EVERY = 20
"""Cycles between two fixes of the flux gauge, where the flux of the frames is free."""

TRANSFORM_BUFFERS = 8
"""Number of arrays of a frame's size that a visit needs, rounded up."""
OBJECT_BUFFERS = 8
"""Number of arrays of the object's size: object and momentum buffer, before and after, alone and stacked."""


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
        Cycles to add to those of ``state``; fewer are run where R converges and the options say to stop there.
    options : ReconstructOptions
    on_cycle : callable, optional
        As `OnCycle`; during the trial of a mode the number is that of the cycles before it.
    """

    def __init__(
        self,
        scan: Scan,
        canvas: Canvas,
        state: State,
        n_cycles: int,
        options: ReconstructOptions,
        on_cycle: OnCycle | None = None,
    ) -> None:
        self.state = state
        self.inputs = cycle_inputs(scan, canvas, state, options)
        self._end = state.cycle + n_cycles
        self._options = options
        self._on_cycle = on_cycle
        self._trial: ModeTrial | None = None
        self._refused_at: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether no cycle is left to run."""
        return self._trial is None and terminate(self.state, self._end)

    def next_rule(self) -> Rule:
        """The rule of the next cycle, in which a trial of a further mode may begin."""
        if self._trial is None and self._may_try_mode() and is_mode_missing(self.state, self.inputs, self._options):
            self._trial = ModeTrial(self.state, self.inputs)
            self.state = with_another_mode(self.state)
        return choose_rule(self.state, self._options, self.inputs.scan.mask)

    def accept(self, state: State) -> None:
        """Take over the state after a cycle under `next_rule`, and decide what follows from it."""
        if has_converged(state, self._options):
            state = replace(state, stops_after=math.ceil(state.cycle / (1 - self._options.settle)))
        self.state = state
        if is_due(state.cycle, self._options):
            self.state, self.inputs = correct_placement(state, self.inputs, self._options)
        reported, error = self.state.cycle, float(self.state.errors[-1])
        if self._trial is not None:
            reported = self._trial.state.cycle
            self._decide_trial(self._trial)
        if self._on_cycle is not None:
            self._on_cycle(reported, error)

    def result(self) -> State:
        """The final state."""
        return postprocess(self.state, self.inputs)

    def _may_try_mode(self) -> bool:
        return self.state.cycle != self._refused_at and self.state.cycle + TRIAL_CYCLES <= self._end

    def _decide_trial(self, trial: ModeTrial) -> None:
        """End a trial that has run its cycles: keep the mode if R fell enough, else go on from the state before it."""
        if self.state.cycle < trial.state.cycle + TRIAL_CYCLES:
            return
        if not self.state.errors[-1] < PAYS * trial.state.errors[-1]:
            self.state, self.inputs = trial.state, trial.inputs
            self._refused_at = trial.state.cycle
        self._trial = None


def run_cycles(
    scan: Scan,
    canvas: Canvas,
    state: State,
    n_cycles: int,
    options: ReconstructOptions,
    on_cycle: OnCycle | None = None,
) -> State:
    """Run up to ``n_cycles`` more cycles of one energy; parameters are those of `Reconstruction`."""
    return run(Reconstruction(scan, canvas, state, n_cycles, options, on_cycle))


def run(reconstruction: Reconstruction) -> State:
    """Run one energy to its end."""
    while not reconstruction.is_done:
        rule = reconstruction.next_rule()
        reconstruction.accept(step(reconstruction.state, reconstruction.inputs, rule))
    return reconstruction.result()


def run_together(reconstructions: Sequence[Reconstruction]) -> Iterator[tuple[int, State]]:
    """Run several energies in step; yields the number and the final state of each as it ends."""
    active = dict(enumerate(reconstructions))
    stacks: dict[tuple[int, ...], FrameStack] = {}
    while active:
        for number in [number for number, one in active.items() if one.is_done]:
            yield number, active.pop(number).result()
        rules = {number: one.next_rule() for number, one in active.items()}
        groups = _group_alike(active, rules)
        stacks = {group: stacks.get(group) or FrameStack() for group in groups}
        for group in groups:
            members, chosen = [active[number] for number in group], [rules[number] for number in group]
            for member, state in zip(members, _step_group(members, chosen, stacks[group]), strict=True):
                member.accept(state)


class FrameStack:
    """Frames of a group of energies stacked along a new first axis; arrays that have not changed are not copied again."""

    def __init__(self) -> None:
        self._parts: tuple[tuple[jax.Array, ...], ...] = ()
        self._stacked: list[jax.Array] = []

    def stack(self, frames: Sequence[Frames]) -> Frames:
        """The stacked frames of several energies."""
        parts = tuple(zip(*frames, strict=True))
        stacked = []
        for index, part in enumerate(parts):
            before = self._parts[index] if self._parts else ()
            unchanged = len(before) == len(part) and all(a is b for a, b in zip(before, part, strict=True))
            stacked.append(self._stacked[index] if unchanged else jnp.stack(part))
        self._parts, self._stacked = parts, stacked
        return Frames(*stacked)


def _group_alike(active: Mapping[int, Reconstruction], rules: Mapping[int, Rule]) -> list[tuple[int, ...]]:
    """Numbers of the energies that can be stepped together, group by group."""
    groups: dict[Hashable, list[int]] = {}
    for number, one in active.items():
        key = batch_key(one.state, one.inputs, rules[number])
        groups.setdefault(number if key is None else key, []).append(number)
    return [tuple(numbers) for numbers in groups.values()]


def _step_group(group: Sequence[Reconstruction], rules: Sequence[Rule], stack: FrameStack) -> list[State]:
    if len(group) == 1:
        return [step(group[0].state, group[0].inputs, rules[0])]
    frames = stack.stack([one.inputs.frames for one in group])
    return step_together([one.state for one in group], [one.inputs for one in group], rules, frames)


def is_mode_missing(state: State, inputs: CycleInputs, options: ReconstructOptions) -> bool:
    """Whether R no longer falls and yet lies clearly above what photon noise leaves, so that another mode should be tried.

    False where the trial would reach into the step decay: R falls there in any case.
    """
    grows = options.probe_modes == "auto" and options.probe_update == "cycle" and len(state.probe) < MOST_MODES
    has_time = not has_step_decay_begun(replace(state, cycle=state.cycle + TRIAL_CYCLES), options)
    if not (grows and has_time and state.cycle in ASKED_AFTER and has_stalled(state.errors)):
        return False
    noise = noise_misfit(jnp.asarray(state.object), jnp.asarray(state.probe), inputs.frames)
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


def batch_bytes(n_positions: int, n_pixels: int, n_modes: int, object_shape: tuple[int, int], *, subpixel: bool = True) -> int:
    """Bytes that one energy of a batch takes on the device, at most.

    Frames twice (the energy's own and the batch's), the displaced copies of the probe with their two gradients and as
    many transforms beside them, what is gathered in each copy, and the buffers above.
    """
    wave = 8 * n_modes * n_pixels**2
    copies = (6 + 2) * len(COPIES_PX) * wave if subpixel else 2 * wave
    frames = 2 * 4 * n_positions * n_pixels**2
    return frames + copies + TRANSFORM_BUFFERS * wave + OBJECT_BUFFERS * 8 * object_shape[0] * object_shape[1]
