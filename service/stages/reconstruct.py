"""One energy's frames to its object and probe, a round of cycles at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from service.stages.context import StageContext, StepAttributes
from service.stages.correction import read_correction
from service.stages.scans import check_orientation, read_measured, seeded_probe
from service.workflow.inputs import ScanInput
from tasks.options import ReconstructOptions
from tasks.ptycho.beam import hidden_beam_warnings, hidden_share
from tasks.ptycho.driver import Reconstruction, run
from tasks.ptycho.resolution import prtf
from tasks.ptycho.scan import illumination
from tasks.ptycho.solver import init
from tasks.ptycho.state import State

STATE_NUMBERS: Final = ("cycle", "seed", "stops_after", "noise_error")
GUESS_NUMBERS: Final = ("guessed_modes", "hidden_share")
"""Of the probe that the first round began with; later rounds know only what became of it."""
STATE_ARRAYS: Final = tuple(field.name for field in fields(State) if field.name not in STATE_NUMBERS)


def reconstruct(desk: StageContext, **arguments: Any) -> StepAttributes:
    """Run one round of one energy."""
    round_ = prepare_round(desk, **arguments)
    return round_.finish(desk, run(round_.reconstruction))


@dataclass(frozen=True)
class Round:
    """One round of one energy, ready to run alone or together with other energies."""

    reconstruction: Reconstruction
    scan: ScanInput
    options: ReconstructOptions
    guess: StepAttributes
    """`GUESS_NUMBERS` of the initial probe."""

    def finish(self, desk: StageContext, state: State) -> StepAttributes:
        """Write the final state of the round, with what is computed from it."""
        scan, measured = self.scan, self.reconstruction.inputs.scan
        arrays = {name: np.asarray(getattr(state, name)) for name in STATE_ARRAYS}
        arrays["positions_m"] = state.placement(scan.n_positions).positions_m(measured, scan.canvas)
        arrays["dose"] = illumination(scan.canvas, arrays["positions_m"], state.probe)
        arrays["prtf"] = prtf(measured, scan.canvas, state, self.options.subpixel)
        numbers = {name: getattr(state, name) for name in STATE_NUMBERS} | {"pixel_size_m": scan.canvas.pixel_size_m}
        told = hidden_beam_warnings(scan.energy_ev, self.guess["hidden_share"])
        told += notes(scan, state, self.options, self.guess["guessed_modes"])
        return desk.write(arrays, **numbers, **self.guess, r_factor=float(state.errors[-1]), notes=told)


def prepare_round(
    desk: StageContext,
    *,
    dataset: str,
    scan: ScanInput,
    measurement: Mapping[str, Any],
    options: ReconstructOptions,
    n_cycles: int,
    index: int | None,
    previous: str | None,
    correction: str | None,
    orientation: str | None = None,
    pilot: str | None = None,
) -> Round:
    """One round of one energy: from its scan, or from the round before and what it takes back from the other energies."""
    measured, probe = read_measured(desk, dataset, scan.name, measurement, orientation)
    if previous is None:
        check_orientation(desk, dataset, measured, probe, n_cycles)
        probe = probe if pilot is None else seeded_probe(desk, pilot, measured, probe)
        state = init(scan.canvas, probe, options)
        guess: StepAttributes = {"guessed_modes": len(probe), "hidden_share": hidden_share(probe, measured.mask)}
    else:
        state = read_state(desk, previous)
        guess = {name: desk.units.attrs(previous)[name] for name in GUESS_NUMBERS}
    if correction is not None and index is not None and not state.is_stopped:
        state = read_correction(desk, correction, index).apply(state)
    first = state.cycle
    reconstruction = Reconstruction(
        measured, scan.canvas, state, n_cycles, options,
        on_cycle=lambda cycle, error: desk.tell(cycle - first, n_cycles, error),
    )  # fmt: skip
    return Round(reconstruction, scan, options, guess)


def read_state(desk: StageContext, key: str) -> State:
    """The state that a finished round left."""
    numbers = desk.units.attrs(key)
    contents: StepAttributes = {**desk.read(key, *STATE_ARRAYS), **{name: numbers[name] for name in STATE_NUMBERS}}
    return State(**contents)


def notes(scan: ScanInput, state: State, options: ReconstructOptions, modes_before: int) -> list[str]:
    """What the run is told of an energy's course, in this round or before: the rounds before may be cleared away."""
    told = []
    if options.probe_modes == "auto" and len(state.probe) > modes_before:
        told.append(f"{len(state.probe)} modes of the probe, because one left R well above photon noise")
    if state.is_stopped:
        told.append(f"R has settled, stopped after {state.cycle} of {options.cycles} cycles")
    return [f"{scan.energy_ev:.1f} eV: {text}" for text in told]
