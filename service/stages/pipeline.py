"""The pipeline: how the stages of a run are wired into its graph.

    scan -> reconstruct round 1 --+-> couple (KKR) --+-> reconstruct round 2 -> ... -> spectra -> fit -> maps --+
            one step an energy    |  one step, where |   one step an energy           one     tiles    one      |
                                  |  energies meet   |                                                          |
                                                     per dataset ------------------------------------------------+
                            references (mixtures) of each,  pooled over datasets:  domains -> results -> figures <----+
                            figures that show no domains are drawn while pixels are grouped

Coupling of many or large energies, for a next round or for spectra, is split into parts (`service.stages.couple.split`):

    grid -> register -> share -> flatten -> sample -> assess -> weights -> constrain -> correct, or correlate and join
    one     energies    one      energies   one       tiles     one        tiles        energies               one

Nothing here reads a file or knows of Dask.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from service.stages.couple.split import add_corrections, add_correlations, add_parts, is_split
from service.stages.couple.step import CoupleStep, CouplingStep
from service.stages.domains import DomainsStep
from service.stages.figures import FiguresStep, GroupedFiguresStep, UngroupedFiguresStep
from service.stages.fit import FitStep
from service.stages.image_spectra import ImageSpectraStep
from service.stages.maps import MapsStep
from service.stages.orientation import OrientationStep
from service.stages.reconstruct import ReconstructStep
from service.stages.references import ReferencesStep
from service.stages.results import ResultsStep
from service.stages.spectra import JoinSpectraStep, SpectraStep
from service.workflow.graph import Graph
from service.workflow.inputs import MIN_ENERGIES, RunInput, ScanInput, energy_label
from service.workflow.reference_energy import reference_scan
from service.workflow.step import Step, StepRef
from tasks.options.domains import NEED_PHASE, Descriptor, DomainOptions
from tasks.options.run import RunOptions
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import Absorber

STAGES: Final[tuple[type[Step], ...]] = (
    OrientationStep,
    ReconstructStep,
    CoupleStep,
    SpectraStep,
    FitStep,
    MapsStep,
    ReferencesStep,
    DomainsStep,
    ResultsStep,
    FiguresStep,
)
"""All stages in the order of a run."""
STAGE_NAMES: Final = tuple(stage.stage for stage in STAGES)
SPECTRAL_STAGES: Final = tuple(stage.stage for stage in (CoupleStep, SpectraStep, FitStep, MapsStep, ReferencesStep, DomainsStep))
"""Stages that need more than one energy."""
RECONSTRUCTING_STAGES: Final = tuple(stage.stage for stage in (OrientationStep, ReconstructStep, CoupleStep))
"""Stages that need diffraction patterns."""
ROUND_STAGES: Final = ("reconstruct", "couple")
ONLY_IMAGES: Final = "all datasets are images, which need no reconstruction"
ONLY_STANDARDS: Final = "all datasets are standards, which are no part of the domains"
PIXELS_A_TILE: Final = 40_000
"""A tile is fitted in seconds, so that a cancelled run does not keep a worker for long."""

States = tuple[StepRef[ReconstructStep], ...]
CouplingT = TypeVar("CouplingT", bound=CouplingStep)


def build_graph(datasets: Sequence[RunInput], options: RunOptions, run_id: str) -> Graph:
    """Wire a run: the whole of it, or as much as the scans that have arrived allow.

    Parameters
    ----------
    datasets : sequence of RunInput
        In the order of the run, with the energies that the options leave out. While one is open only first rounds can be wired,
        because what follows needs all energies.
    options : RunOptions
    run_id : str
        Results and figures belong to one run; all other steps are shared by every run that has the same key.
    """
    graph = wire(datasets, options, run_id)
    if graph.awaits_scans:
        whole = wire([dataclasses.replace(dataset, is_open=False) for dataset in datasets], options, run_id)
        lasting = {step.key for step in whole.steps.values()}
        graph.provisional = {name for name, step in graph.steps.items() if step.key not in lasting}
        graph.cost_to_come = whole.cost - graph.cost
    return graph


@dataclass(frozen=True)
class Chain:
    """The steps of one dataset that later ones read."""

    dataset: RunInput
    label: str
    states: States
    spectra: StepRef[SpectraStep] | None = None
    maps: StepRef[MapsStep] | None = None
    mixture: StepRef[ReferencesStep] | None = None


def wire(datasets: Sequence[RunInput], options: RunOptions, run_id: str) -> Graph:
    """The graph of `build_graph`, without the cost of what is to come."""
    graph = Graph(stages=STAGE_NAMES, awaits_scans=any(dataset.is_open for dataset in datasets))
    chains: list[Chain] = []
    kept = [dataset.without(options.align.leave_out_ev) for dataset in datasets]
    for number, (measured, dataset) in enumerate(zip(datasets, kept, strict=True), start=1):
        label = f"-dataset{number}" if len(datasets) > 1 else ""
        reference = reference_scan(measured, dataset.scans, options.reconstruct)
        states = () if dataset.kind == "images" else add_rounds(graph, dataset, reference, options, label)
        chain = Chain(dataset, label, states)
        chains.append(add_spectroscopy(graph, chain, options) if dataset.is_spectrum else chain)
    if graph.awaits_scans:
        return graph
    if all(dataset.kind == "images" for dataset in kept):
        graph.skipped = dict.fromkeys(RECONSTRUCTING_STAGES, ONLY_IMAGES)
    if not all(dataset.is_spectrum for dataset in kept):
        graph.skipped |= dict.fromkeys(SPECTRAL_STAGES, f"one energy only; spectra need at least {MIN_ENERGIES}")
    add_pooled(graph, chains, options, run_id)
    return graph


def add_rounds(graph: Graph, dataset: RunInput, reference: ScanInput | None, options: RunOptions, label: str) -> States:
    """Add the rounds of every energy and the couplings between them; the last round of each energy."""
    find_orientation, use_pilot = dataset.measurement.get("orientation") == "auto", options.reconstruct.start_from == "pilot"
    if not dataset.scans or (dataset.is_open and (find_orientation or use_pilot)):
        return ()  # orientation and pilot come from the lowest energy, and a lower one may arrive
    orientation = graph.add(orientation_step(dataset, label)) if find_orientation else None
    pilot = graph.add(pilot_step(dataset, options, label, orientation)) if use_pilot else None
    started: dict[str, StepRef[ReconstructStep]] = {}
    first, *later = options.rounds()
    for scan in sorted(dataset.scans, key=lambda scan: scan is not reference):  # the others need its step
        step = round_step(dataset, scan, options, f"{label}-round1", first, orientation)
        start = started.get(reference.name) if reference else None
        started[scan.name] = graph.add(dataclasses.replace(step, pilot=pilot, reference=start))
    states = tuple(started[scan.name] for scan in dataset.scans)
    for number, n_cycles in enumerate([] if dataset.is_open else later, start=2):
        corrections: Sequence[tuple[Any, int | None]] = [(None, None)] * len(states)
        if dataset.is_spectrum:
            couple = coupling_step(CoupleStep, f"{label}-round{number - 1}", dataset, options, states)
            corrections = list(add_corrections(graph, couple))
        steps = [round_step(dataset, scan, options, f"{label}-round{number}", n_cycles, orientation) for scan in dataset.scans]
        states = tuple(
            graph.add(dataclasses.replace(step, previous=state, correction=correction, index=index))
            for step, state, (correction, index) in zip(steps, states, corrections, strict=True)
        )
    return states


def round_step(
    dataset: RunInput,
    scan: ScanInput,
    options: RunOptions,
    label: str,
    n_cycles: int,
    orientation: StepRef[OrientationStep] | None,
) -> ReconstructStep:
    """One round of one energy, which starts from the optics unless what it starts from is added."""
    return ReconstructStep(
        label=f"-{energy_label(scan.energy_ev)}{label}",
        dataset=dataset.id,
        scan=scan,
        optics=optics_of(dataset),
        options=options.reconstruct,
        n_cycles=n_cycles,
        orientation=orientation,
    )


def orientation_step(dataset: RunInput, label: str) -> OrientationStep:
    """The step that finds the orientation of the detector, from the lowest energy."""
    return OrientationStep(label=label, dataset=dataset.id, scan=dataset.scans[0], optics=optics_of(dataset))


def pilot_step(
    dataset: RunInput, options: RunOptions, label: str, orientation: StepRef[OrientationStep] | None
) -> ReconstructStep:
    """Some cycles of the lowest energy, for its probe."""
    n_cycles = options.reconstruct.pilot_cycles
    alone = dataclasses.replace(
        options.reconstruct, cycles=n_cycles, start_from="optics", pilot_cycles=type(options.reconstruct).pilot_cycles
    )
    step = round_step(dataset, dataset.scans[0], options, "", n_cycles, orientation)
    return dataclasses.replace(step, label=f"-pilot{label}-round0", options=alone)


def coupling_step(stage: type[CouplingT], label: str, dataset: RunInput, options: RunOptions, states: States) -> CouplingT:
    """A step that couples all energies of a dataset, of the stage ``couple`` or ``spectra``."""
    return stage(
        label=label,
        scans=dataset.scans,
        absorber=Absorber(**dataset.absorber),
        formula=dataset.formula,
        align=options.align,
        kkr=options.kkr,
        states=states,
    )


def spectra_step(graph: Graph, label: str, dataset: RunInput, options: RunOptions, states: States) -> SpectraStep:
    """The step that makes spectra of a dataset's reconstructions, whose parts may be steps of their own, or of its images."""
    if dataset.kind != "images":
        whole = coupling_step(SpectraStep, label, dataset, options, states)
        if not is_split(whole):
            return whole
        parts = add_parts(graph, whole)
        correlated = add_correlations(graph, whole, parts)
        named = {one.name: getattr(whole, one.name) for one in dataclasses.fields(whole)}
        read = {one.name: getattr(parts, one.name) for one in dataclasses.fields(parts) if one.name != "groups"}
        return JoinSpectraStep(**named, **read, correlated=correlated)
    return ImageSpectraStep(
        label=label,
        dataset=dataset.id,
        has_phase=dataset.has_phase,
        is_normalised=dataset.is_normalised,
        scans=dataset.scans,
        absorber=Absorber(**dataset.absorber),
        formula=dataset.formula,
        align=options.align,
        kkr=options.kkr,
    )


def add_spectroscopy(graph: Graph, chain: Chain, options: RunOptions) -> Chain:
    """Add the steps from the last round's objects to maps of chemical state; the chain with these steps."""
    dataset, label, absorber = chain.dataset, chain.label, Absorber(**chain.dataset.absorber)
    spectra = graph.add(spectra_step(graph, label, dataset, options, chain.states))
    canvas_shape = dataset.scans[0].canvas.shape
    n_tiles = max(1, math.ceil(math.prod(canvas_shape) / PIXELS_A_TILE))
    tiles = tuple(
        graph.add(
            FitStep(
                label=f"{label}-tile{tile + 1}of{n_tiles}",
                absorber=absorber,
                formula=dataset.formula if options.fit.joint else "",  # only the phase sees the light elements
                options=options.fit,
                tile=tile,
                n_tiles=n_tiles,
                spectra=spectra,
                canvas_shape=canvas_shape,
            )
        )
        for tile in range(n_tiles)
    )
    chemistry = dataclasses.replace(options.chemistry, compounds=())  # compounds are only drawn
    maps = graph.add(
        MapsStep(label=label, absorber=absorber, options=chemistry, has_phase=dataset.has_phase, spectra=spectra, tiles=tiles)
    )
    mixture = None
    if len(options.references.xdi) > 1:
        mixture = graph.add(
            ReferencesStep(label=label, absorber=absorber, options=options.references, spectra=spectra, maps=maps)
        )
    return dataclasses.replace(chain, spectra=spectra, maps=maps, mixture=mixture)


def add_pooled(graph: Graph, chains: Sequence[Chain], options: RunOptions, run_id: str) -> None:
    """Add the steps where all datasets meet: domains, results in one store, figures drawn to one scale."""
    datasets = tuple(chain.dataset for chain in chains)
    states = tuple(chain.states for chain in chains)
    spectra = tuple(chain.spectra for chain in chains if chain.spectra)
    maps = tuple(chain.maps for chain in chains if chain.maps)
    mixtures = tuple(chain.mixture for chain in chains if chain.mixture)
    domains = add_domains(graph, chains, options)
    found: dict[str, Any] = {
        "datasets": datasets, "options": options, "states": states, "spectra": spectra, "maps": maps, "mixtures": mixtures,
    }  # fmt: skip
    published = {**found, "run_id": run_id, "domains": domains}
    results = graph.add(ResultsStep(**published))
    drawn: tuple[Any, ...] = ()
    if domains is not None:
        own = dataclasses.replace(DomainOptions(), descriptors=descriptors(chains, options))
        ungrouped = UngroupedFiguresStep(**{**found, "options": dataclasses.replace(options, domains=own)})
        drawn = graph.add(ungrouped), graph.add(GroupedFiguresStep(**found, domains=domains))
    graph.add(FiguresStep(**published, results=results, drawn=drawn))


def add_domains(graph: Graph, chains: Sequence[Chain], options: RunOptions) -> StepRef[DomainsStep] | None:
    """Add the step that groups the pixels of all mapped datasets, standards left out; None where none remain."""
    mapped = [chain for chain in chains if chain.maps]
    grouped = [chain for chain in mapped if not chain.dataset.standard]
    if mapped and not grouped:
        graph.skipped["domains"] = ONLY_STANDARDS
    if not grouped:
        return None
    names = descriptors(chains, options)
    step = DomainsStep(
        datasets=tuple(chain.dataset.id for chain in grouped),
        groups=tuple(chain.dataset.group for chain in grouped),
        absorber=Absorber(**grouped[0].dataset.absorber),
        options=dataclasses.replace(options.domains, descriptors=names),
        left_out=tuple(name for name in options.domains.descriptors if name not in names),
        spectra=tuple(chain.spectra for chain in grouped if chain.spectra),
        maps=tuple(chain.maps for chain in grouped if chain.maps),
    )
    return graph.add(step)


def descriptors(chains: Sequence[Chain], options: RunOptions) -> tuple[Descriptor, ...]:
    """The descriptors that were asked for, without those that not all grouped datasets have for want of a phase."""
    grouped = [chain for chain in chains if chain.maps and not chain.dataset.standard]
    has_phase = all(chain.dataset.has_phase for chain in grouped)
    return tuple(name for name in options.domains.descriptors if has_phase or name not in NEED_PHASE)


def past_rounds(graph: Graph) -> set[str]:
    """Keys of rounds that only further rounds and couplings read, and of all couplings: a finished run has no use for them."""
    readers: dict[str, set[str]] = {name: set() for name in graph.steps}
    for step in graph.steps.values():
        for needed in step.needs:
            readers[needed].add(step.stage)
    steps = ((step, readers[name]) for name, step in graph.steps.items())
    past = (step for step, stages in steps if step.stage == "couple" or (stages and stages.issubset(ROUND_STAGES)))
    return {step.key for step in past if step.stage in ROUND_STAGES}


def optics_of(dataset: RunInput) -> ProbeSpec | None:
    """Optics of a dataset's probe, where they were described."""
    described = dataset.measurement.get("probe")
    return None if described is None else ProbeSpec(**described)
