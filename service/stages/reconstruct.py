"""Ptychographic reconstruction of one energy, a round of cycles at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from service.stages.context import StageContext
from service.stages.correction import CorrectionStep, read_correction
from service.stages.orientation import OrientationStep, read_orientation
from service.stages.scans import (
    FIELD_BOX,
    Probe,
    check_orientation,
    cycles_cost,
    field_box_of,
    read_measured,
)
from service.workflow.inputs import ScanInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.options.reconstruct import EXPECTED_CYCLES, ReconstructOptions
from tasks.ptycho.probe import ProbeSpec, resample, scale_to_power
from tasks.ptycho.scan import Canvas
from tasks.ptycho.state import State

if TYPE_CHECKING:
    from tasks.coupling.warm_start import StartingEnergy
    from tasks.ptycho.reconstruction import Reconstruction
    from tasks.ptycho.scan import Scan

STATE_NUMBERS: Final = ("cycle", "seed", "stops_after", "first_cycle", "noise_error")
GUESS_NUMBERS: Final = ("guessed_modes", "hidden_share")
"""Attributes about the probe that the first round began with; later rounds pass them on."""
NOTES: Final = "told"
"""Attribute with the warnings of the reconstruction itself, of this round and those before."""
STATE_ARRAYS: Final = tuple(one.name for one in fields(State) if one.name not in STATE_NUMBERS)


@dataclass(frozen=True, kw_only=True)
class ReconstructStep(Step):
    """One round of cycles of one energy: from its scan, or on from the round before with what the other energies say.

    Parameters
    ----------
    dataset : str
    scan : ScanInput
    optics : ProbeSpec, optional
        Optics of the dataset, where they were described.
    options : ReconstructOptions
    n_cycles : int
        Cycles of this round.
    previous : StepRef, optional
        The round before.
    correction : StepRef, optional
        The coupling of all energies after that round.
    index : int, optional
        Place of this energy among those of the correction.
    orientation : StepRef, optional
        The step that found the orientation of the frames, where one had to.
    pilot : StepRef, optional
        The reconstruction whose probe the first round starts from.
    reference : StepRef, optional
        The reconstruction of another energy whose object and probe the first round starts from.
    """

    stage: ClassVar[str] = "reconstruct"
    version: ClassVar[int] = 17
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("object", ("y", "x"), ("complex64",), "1", "object O"),
        ArraySpec("probe", ("mode", "v", "u"), ("complex64",), "1", "probe [square root of counts]"),
        ArraySpec("probe_momentum_buffer", ("mode", "v", "u"), ("complex64",), "1", "decaying sum of the probe's past steps"),
        ArraySpec("object_momentum_buffer", ("y", "x"), ("complex64",), "1", "decaying sum of the object's past steps"),
        ArraySpec("errors", ("cycle",), ("float32",), "1", "R factor of each cycle, on the part of the detector that it saw"),
        ArraySpec("frame_px", ("cycle",), ("int16",), "pixel", "side of the middle of the frames that each cycle saw"),
        ArraySpec("displacement_px", ("corrected", "axis"), ("float64",), "pixel", "correction of the positions, or empty"),
        ArraySpec("scale", ("corrected",), ("float64",), "1", "amplitude of each frame relative to the scan's, or empty"),
        ArraySpec("positions_m", ("position", "axis"), ("float64",), "m", "position (y, x) of the probe, as corrected"),
        ArraySpec("dose", ("y", "x"), ("float32",), "count", "photons that fell on each pixel of the object"),
        ArraySpec("prtf", ("frequency",), ("float32",), "1", "phase retrieval transfer function"),
    )

    dataset: str
    scan: ScanInput
    optics: ProbeSpec | None
    options: ReconstructOptions
    n_cycles: int
    previous: StepRef[ReconstructStep] | None = None
    correction: StepRef[CorrectionStep] | None = None
    index: int | None = None
    orientation: StepRef[OrientationStep] | None = None
    pilot: StepRef[ReconstructStep] | None = None
    reference: StepRef[ReconstructStep] | None = None

    @property
    def cost(self) -> float:
        return cycles_cost(self.scan, self.expected_cycles)

    @property
    def expected_cycles(self) -> int:
        """Cycles that the round will take, about."""
        if self.options.cycles != "auto":
            return self.n_cycles
        return EXPECTED_CYCLES["cold" if self.reference is None else "warm"]

    @property
    def energy_ev(self) -> float:
        return self.scan.energy_ev

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.ptycho.driver import run

        round_, reconstruction = self.prepare(context)
        state, warnings = run(reconstruction), reconstruction.warnings
        return round_.finish(context, state, warnings)

    def prepare(self, context: StageContext) -> tuple[Round, Reconstruction]:
        """The round and its reconstruction, which can run alone or together with those of other energies."""
        from tasks.ptycho.reconstruction import Reconstruction

        orientation = 0 if self.orientation is None else read_orientation(context, self.orientation)
        measured, probe = read_measured(context, self.dataset, self.scan, self.optics, orientation)
        state, carried = self._start(context, measured, probe) if self.previous is None else self._go_on(context, self.previous)
        first, expected = state.cycle, self.expected_cycles
        reconstruction = Reconstruction(
            measured, self.scan.canvas, state, self.n_cycles, self.options,
            on_cycle=lambda cycle, error: context.report_cycle(cycle - first, max(expected, cycle - first), error),
            warm_start=None if self.reference is None else read_start(context, self.reference),
        )  # fmt: skip
        return Round(self, measured, carried), reconstruction

    def _start(self, context: StageContext, measured: Scan, probe: Probe) -> tuple[State, StepAttributes]:
        """The state before the first cycle, from the optics or with the pilot's probe."""
        from tasks.ptycho.beam import hidden_share
        from tasks.ptycho.solver import init

        if self.reference is None:  # all energies have the reference's orientation
            check_orientation(context, self.dataset, measured, probe, self.n_cycles)
        probe = probe if self.pilot is None else probe_of_pilot(context, self.pilot, measured, probe)
        carried: StepAttributes = {"guessed_modes": len(probe), "hidden_share": hidden_share(probe, measured.mask), NOTES: []}
        return init(self.scan.canvas, probe, self.options), carried

    def _go_on(self, context: StageContext, previous: StepRef[ReconstructStep]) -> tuple[State, StepAttributes]:
        """The state that the round before left, with what the other energies say."""
        state, attributes = read_state(context, previous), context.attributes(previous)
        if self.correction is not None and self.index is not None and not state.is_stopped:
            state = read_correction(context, self.correction, self.index).apply(state)
        return state, {name: attributes[name] for name in (*GUESS_NUMBERS, NOTES)}


@dataclass(frozen=True)
class Round:
    """One round of one energy, as far as it is needed to store the state that its reconstruction ends with."""

    step: ReconstructStep
    measured: Scan
    carried: StepAttributes
    """What passes from round to round: `GUESS_NUMBERS` of the initial probe, and `NOTES` of earlier rounds."""

    def finish(self, context: StageContext, state: State, notes: Sequence[str] = ()) -> StepAttributes:
        """Write the final state of the round, with what is computed from it and the warnings of its reconstruction."""
        from tasks.ptycho.beam import hidden_beam_warnings
        from tasks.ptycho.scan import illumination

        scan, options, measured = self.step.scan, self.step.options, self.measured
        arrays = {name: np.asarray(getattr(state, name)) for name in STATE_ARRAYS}
        arrays["positions_m"] = state.placement(scan.n_positions).positions_m(measured, scan.canvas)
        arrays["dose"] = illumination(scan.canvas, arrays["positions_m"], state.probe)
        numbers = {name: getattr(state, name) for name in STATE_NUMBERS} | {"pixel_size_m": scan.canvas.pixel_size_m}
        numbers[FIELD_BOX] = field_box_of(arrays["dose"])
        numbers |= self.carried | {NOTES: [*self.carried[NOTES], *notes], "photons": measured.mean_photons}
        warnings = hidden_beam_warnings(scan.energy_ev, self.carried["hidden_share"])
        warnings += convergence_warnings(scan.energy_ev, state, options, self.carried["guessed_modes"])
        warnings += [f"{scan.energy_ev:.1f} eV: {text}" for text in numbers[NOTES]]
        origin_m = list(scan.canvas.origin_m)
        return context.write(arrays, warnings=warnings, **numbers, origin_m=origin_m, r_factor=float(state.errors[-1]))


def read_state(context: StageContext, step: StepRef[ReconstructStep]) -> State:
    """The state that a finished round left."""
    numbers = context.attributes(step)
    contents: StepAttributes = {**context.read(step, *STATE_ARRAYS), **{name: numbers[name] for name in STATE_NUMBERS}}
    return State(**contents)


def probe_of_pilot(context: StageContext, pilot: StepRef[ReconstructStep], measured: Scan, probe: Probe) -> Probe:
    """(M, N, N) complex64: the pilot's probe on this energy's pixel, with the power of this energy's own ``probe``."""
    ratio = measured.pixel_size_m / float(context.attributes(pilot)["pixel_size_m"])
    power = float(np.sum(np.abs(probe) ** 2, dtype=float))
    return scale_to_power(resample(context.read(pilot, "probe")["probe"], ratio), power)


def read_start(context: StageContext, reference: StepRef[ReconstructStep]) -> StartingEnergy:
    """The start from a finished reconstruction of another energy."""
    from tasks.coupling.warm_start import StartingEnergy

    found, numbers = context.read(reference, "object", "probe", "dose", "positions_m"), context.attributes(reference)
    y_m, x_m = numbers["origin_m"]
    canvas = Canvas(found["object"].shape, numbers["pixel_size_m"], (y_m, x_m))
    n_positions = len(found["positions_m"])
    return StartingEnergy(found["object"], found["probe"], canvas, found["dose"], numbers["photons"], n_positions)


def convergence_warnings(energy_ev: float, state: State, options: ReconstructOptions, modes_before: int) -> list[str]:
    """Modes added and an early end, in this round or an earlier one, because earlier rounds may be deleted."""
    found = []
    if options.probe_modes == "auto" and len(state.probe) > modes_before:
        found.append(f"{len(state.probe)} modes of the probe, because one left R well above photon noise")
    if state.is_stopped and options.cycles != "auto":
        found.append(f"R has settled, stopped after {state.cycle} of {options.cycles} cycles")
    return [f"{energy_ev:.1f} eV: {text}" for text in found]
