"""Checks of datasets and options before a run is queued."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from service.errors import FieldError, InvalidInputError
from service.workflow.inputs import MATCHING_ENERGY_EV, MIN_ENERGIES, RunInput
from tasks.chemistry import f2_step
from tasks.errors import TaskError
from tasks.formula import composition
from tasks.options.domains import NEED_PHASE
from tasks.options.run import RunOptions
from tasks.scattering import Absorber
from tasks.xanes.models import check_model_energies, spectrum_model
from tasks.xanes.references.normalisation import read_reference

NEAR_EV: Final = 1.0
"""How far outside the measured energies the energy of the phase may be stated [eV]: the nearest is taken."""

MOST_STEPS: Final = 20_000
"""Largest plan: seven rounds of 40 energies are 300 steps a dataset."""


def check_run(datasets: Sequence[RunInput], options: RunOptions) -> None:
    """Refuse a run that would fail, with everything that is wrong; a dataset that is still open is checked when it is sealed.

    Raises
    ------
    InvalidInputError
    """
    errors = [] if datasets else [FieldError("datasets", "a run needs at least one dataset, got none")]
    errors += left_out_errors(datasets, options)
    datasets = [dataset.without(options.align.leave_out_ev) for dataset in datasets]
    for number, dataset in enumerate(datasets):
        errors += [
            FieldError(f"datasets.{number}", message) for message in energy_errors(dataset, options.align.energy_offset_ev)
        ]
    errors += [FieldError("datasets", message) for message in mismatches(datasets)]
    errors += size_errors(datasets, options)
    errors += phase_errors(datasets, options)
    errors += alignment_errors(datasets, options)
    errors += named_energy_errors(datasets, options)
    if any(dataset.is_open or len(dataset.scans) > 1 for dataset in datasets):
        errors += chemistry_errors(datasets, options) + model_errors(datasets, options) + reference_errors(datasets, options)
    if errors:
        raise InvalidInputError.of(*errors)


def alignment_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Why the gauge or the empty box that was stated cannot be had of these datasets."""
    errors = []
    measured = [dataset.id for dataset in datasets if dataset.kind != "images"]
    if measured and options.align.gauge == "none":
        message = f"align.gauge must be found for objects that are reconstructed here, those of {', '.join(measured)}"
        errors.append(FieldError("options.align.gauge", message))
    if options.align.vacuum_box is not None:
        _, last_row, _, last_column = options.align.vacuum_box
        for dataset in datasets:
            if dataset.is_open or not dataset.scans:
                continue
            n_rows, n_columns = (max(scan.canvas.shape[axis] for scan in dataset.scans) for axis in (0, 1))
            if last_row > n_rows or last_column > n_columns:
                message = (
                    f"align.vacuum_box must lie within the images, which have at most {n_rows} rows and {n_columns} columns in "
                    f"{dataset.id}; got {options.align.vacuum_box} as (y0, y1, x0, x1). Is it of another dataset?"
                )
                errors.append(FieldError("options.align.vacuum_box", message))
    return errors


def left_out_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Why energies cannot be left out: no dataset was measured there."""
    measured = sorted({energy_ev for dataset in datasets for energy_ev in dataset.energies_ev})
    if not measured or any(dataset.is_open for dataset in datasets):
        return []
    errors = []
    for index, energy_ev in enumerate(options.align.leave_out_ev):
        if not any(dataset.has_energy(energy_ev) for dataset in datasets):
            nearest = min(measured, key=lambda one: abs(one - energy_ev))
            message = (
                f"align.leave_out_ev must hold energies that were measured, in eV; got {energy_ev:g}, and the nearest is "
                f"{nearest:g} eV"
            )
            errors.append(FieldError(f"options.align.leave_out_ev.{index}", message))
    return errors


def named_energy_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Why the energy that others shall start from cannot be the one meant: it lies far outside those that were measured."""
    named = options.reconstruct.reference_energy_ev
    if named == "post-edge":
        return []
    errors = []
    for dataset in datasets:
        if dataset.is_open or dataset.kind == "images" or len(dataset.scans) < 2:
            continue
        low, high = dataset.energies_ev[0], dataset.energies_ev[-1]
        if not low - NEAR_EV <= named <= high + NEAR_EV:
            message = (
                f"reconstruct.reference_energy_ev must lie between the measured energies, {low:.1f} to {high:.1f} eV in dataset "
                f"{dataset.id}; got {named:g}. Is it in eV?"
            )
            errors.append(FieldError("options.reconstruct.reference_energy_ev", message))
    return errors


def size_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Why a run has too many steps to be planned: one for every energy and round, and one between two rounds of a dataset."""
    n_rounds, n_energies = len(options.rounds()), sum(len(dataset.scans) for dataset in datasets)
    n_steps = n_rounds * n_energies + (n_rounds - 1) * len(datasets)
    if n_steps <= MOST_STEPS:
        return []
    message = f"{n_rounds} rounds of {n_energies} energies are {n_steps} steps; a run may have {MOST_STEPS}: "
    most_rounds = (MOST_STEPS + len(datasets)) // (n_energies + len(datasets))
    if most_rounds < 2:
        return [FieldError("datasets", f"{message}take fewer datasets")]
    every = math.ceil((options.reconstruct.max_cycles - options.kkr.start) / (most_rounds - 1))
    advice = f"make kkr.every at least {every}, or kkr.start later, or take fewer cycles or datasets"
    return [FieldError("options.kkr.every", message + advice)]


def energy_errors(dataset: RunInput, offset_ev: float = 0.0) -> list[str]:
    """What is wrong with the calibrated energies of one dataset; nothing while more scans may come."""
    name, absorber = f"dataset {dataset.id}", Absorber(**dataset.absorber)
    return [] if dataset.is_open else grid_errors(name, dataset.energies_ev, absorber, offset_ev)


def grid_errors(name: str, energies_ev: Sequence[float], absorber: Absorber, offset_ev: float = 0.0) -> list[str]:
    """What is wrong with ascending energies [eV], to which a calibration is added; one energy alone has no spectrum."""
    n = len(energies_ev)
    if n == 1:
        return []
    if n == 0:
        return [f"{name} has no scans"]
    if n < MIN_ENERGIES:
        return [
            f"{name} has {n} energies; the ten parameters of eq. 1 need at least {MIN_ENERGIES} "
            "(a single energy is reconstructed without spectra: for images alone, send each energy as a dataset of its own and "
            "start a run on each)"
        ]
    low_ev, high_ev = energies_ev[0] + offset_ev, energies_ev[-1] + offset_ev
    if not low_ev < absorber.edge_energy_ev < high_ev:
        return [
            f"{name} was measured at {low_ev:.1f} to {high_ev:.1f} eV, which does not "
            f"enclose the {absorber.element} {absorber.edge} edge at {absorber.edge_energy_ev:.1f} eV"
        ]
    return []


def phase_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Options that need a phase which a dataset does not have."""
    without = [dataset.id for dataset in datasets if not dataset.has_phase]
    if not without:
        return []
    found = []
    if options.fit.joint:
        found.append(FieldError("options.fit.joint", f"fit.joint fits absorption and phase; {', '.join(without)} has no phase"))
    if NEED_PHASE.issuperset(options.domains.descriptors):
        names = ", ".join(options.domains.descriptors)
        message = f"domains.descriptors {names} need a phase, which {', '.join(without)} has not: add one of the absorption"
        found.append(FieldError("options.domains.descriptors", message))
    return found


def mismatches(datasets: Sequence[RunInput]) -> list[str]:
    """Why datasets cannot be analysed together: different absorbers or energies."""
    found = []
    absorbers = {f"{dataset.absorber['element']} {dataset.absorber['edge']}" for dataset in datasets}
    if len(absorbers) > 1:
        found.append(f"all datasets of a run share one absorber, got {', '.join(sorted(absorbers))}")
    sealed = [dataset for dataset in datasets if not dataset.is_open and dataset.scans]
    for dataset in sealed[1:]:
        first, other = sealed[0].energies_ev, dataset.energies_ev
        same = len(first) == len(other) and all(abs(a - b) <= MATCHING_ENERGY_EV for a, b in zip(first, other, strict=True))
        if not same:
            found.append(
                f"datasets of one run are measured at the same energies (to {MATCHING_ENERGY_EV} eV): {sealed[0].id} has "
                f"{len(first)} from {first[0]:.1f} eV, {dataset.id} has {len(other)} from {other[0]:.1f} eV"
            )
    return found


def chemistry_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """What is wrong with the chemistry options for the absorber of the datasets."""
    errors: dict[str, FieldError] = {}
    for dataset in datasets:
        try:
            f2_step(Absorber(**dataset.absorber), options.chemistry)
        except TaskError as error:
            errors[str(error)] = FieldError("options.chemistry.preset", str(error))
        message = _phase_energy_error(dataset, options)
        if message:
            errors[message] = FieldError("options.chemistry.phase_energy_ev", message)
    for number, formula in enumerate(options.chemistry.compounds):
        for dataset in datasets:
            field = f"options.chemistry.compounds.{number}"
            try:
                if not composition(formula).get(dataset.absorber["element"]):
                    errors[field] = FieldError(field, f"{formula} holds no {dataset.absorber['element']}")
            except TaskError as error:
                errors[field] = FieldError(field, str(error))
    return list(errors.values())


def _phase_energy_error(dataset: RunInput, options: RunOptions) -> str:
    """Why the phase cannot be taken at the energy that was asked for; empty while more scans may come."""
    wanted = options.chemistry.phase_energy_ev
    if wanted == "lowest" or dataset.is_open or not dataset.scans:
        return ""
    low, high = (energy_ev + options.align.energy_offset_ev for energy_ev in (dataset.energies_ev[0], dataset.energies_ev[-1]))
    if low - NEAR_EV <= wanted <= high + NEAR_EV:
        return ""
    return (
        f"chemistry.phase_energy_ev must lie between the measured energies, {low:.1f} to {high:.1f} eV in dataset {dataset.id}; "
        f"got {wanted:g}"
    )


def model_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Why the model of the spectrum does not fit the absorber, or the energies of a dataset that is sealed."""
    name, offset_ev = options.fit.model, options.align.energy_offset_ev
    if name in ("eq1", "none"):
        return []
    errors: dict[str, FieldError] = {}
    for dataset in datasets:
        try:
            model = spectrum_model(name, Absorber(**dataset.absorber))
            if not dataset.is_open and len(dataset.scans) > 1:
                check_model_energies(np.array(dataset.energies_ev) + offset_ev, model)
        except TaskError as error:
            errors[str(error)] = FieldError("options.fit.model", str(error))
    return list(errors.values())


def reference_errors(datasets: Sequence[RunInput], options: RunOptions) -> list[FieldError]:
    """Which reference spectra cannot be read, are of another element, or do not cover the measured energies."""
    errors: dict[str, FieldError] = {}
    for number, text in enumerate(options.references.xdi):
        field = f"options.references.xdi.{number}"
        for dataset in datasets:
            try:
                reference = read_reference(text, Absorber(**dataset.absorber))
            except TaskError as error:
                errors[field] = FieldError(field, str(error))
                continue
            low, high = (float(reference.energy_ev[end]) - options.align.energy_offset_ev for end in (0, -1))
            energies_ev = [] if dataset.is_open else dataset.energies_ev
            if any(not low <= energy_ev <= high for energy_ev in energies_ev):
                message = f"reference {reference.name!r} covers {low:.1f} to {high:.1f} eV, not all measured energies"
                errors[field] = FieldError(field, message)
    return list(errors.values())
