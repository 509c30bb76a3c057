"""The run's graph as plain data: which unit of work needs which.

    scan -> reconstruct round 1 --+-> couple (KKR) --+-> reconstruct round 2 -> ... -> spectra -> fit -> maps --+
            one unit an energy    |  one unit, where |   one unit an energy           one     tiles    one      |
                                  |  energies meet   |                                                          |
                                                     per dataset ------------------------------------------------+
                            references (mixtures) of each,  pooled over datasets:  domains -> figures -> results <----+

Nothing here reads a file or knows of Dask.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.workflow.cost import CYCLES_OF_ORIENTATION, FIXED_S, coupling_cost, fitting_cost, reconstruction_cost
from service.workflow.inputs import MIN_ENERGIES, RunInput, ScanInput
from service.workflow.step import Inputs, Step, make_unit
from tasks.options import RunOptions

SPECTRAL_STAGES: Final = ("couple", "spectra", "fit", "maps", "references", "domains")
ONLY_STANDARDS: Final = "all datasets are standards, which are no part of the domains"
PIXELS_A_TILE: Final = 40_000
"""A tile is fitted in seconds, so that a cancelled run does not keep a worker for long."""


@dataclass
class Graph:
    """Units in an order in which each comes after all that it needs, and the stages there is no work for."""

    units: dict[str, Step] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    awaits_scans: bool = False

    def add(
        self,
        stage: str,
        label: str,
        arguments: Mapping[str, Any],
        inputs: Mapping[str, Inputs],
        *,
        cost: float = FIXED_S,
        scan: ScanInput | None = None,
    ) -> Step:
        """Add one unit, as `service.workflow.step.make_unit` has it; one of that name already there stays."""
        energy_ev = None if scan is None else scan.energy_ev
        unit = make_unit(stage, label, arguments, inputs, cost=cost, energy_ev=energy_ev)
        return self.units.setdefault(unit.name, unit)


def build_graph(datasets: Sequence[RunInput], options: RunOptions, run_id: str) -> Graph:
    """Wire a run: the whole of it, or as much as the scans that have arrived allow.

    Parameters
    ----------
    datasets : sequence of RunInput
        In the order of the run. While one is open only first rounds can be wired: what follows needs all energies.
    options : RunOptions
    run_id : str
        Results belong to one run; all other units are shared by whoever has the same key.
    """
    graph = Graph(awaits_scans=any(dataset.is_open for dataset in datasets))
    chains: list[Chain] = []
    for number, dataset in enumerate(datasets, start=1):
        label = f"-dataset{number}" if len(datasets) > 1 else ""
        chain = Chain(dataset, label, add_rounds(graph, dataset, options, label))
        chains.append(add_spectroscopy(graph, chain, options) if dataset.is_spectrum else chain)
    if graph.awaits_scans:
        return graph
    if not all(dataset.is_spectrum for dataset in datasets):
        graph.skipped = dict.fromkeys(SPECTRAL_STAGES, f"one energy only; spectra need at least {MIN_ENERGIES}")
    add_pooled(graph, chains, options, run_id)
    return graph


@dataclass(frozen=True)
class Chain:
    """The units of one dataset that later ones build upon."""

    dataset: RunInput
    label: str
    states: list[Step]
    spectra: Step | None = None
    maps: Step | None = None
    mixture: Step | None = None


def add_rounds(graph: Graph, dataset: RunInput, options: RunOptions, label: str) -> list[Step]:
    """Reconstruct every energy round by round, the energies meeting in between; the last round's units."""
    rounds = options.rounds()[:1] if dataset.is_open else options.rounds()
    turned, seeded = dataset.measurement.get("orientation") == "auto", options.reconstruct.probe_from == "pilot"
    if (turned or seeded) and dataset.is_open:
        return []  # both come from the lowest energy, and a lower one may come
    orientation: dict[str, Inputs] = {"orientation": add_orientation(graph, dataset, label)} if turned else {}
    first = {**orientation, "pilot": add_pilot(graph, dataset, options, label, orientation)} if seeded else orientation
    correction: Step | None = None
    states: list[Step] = []
    for number, n_cycles in enumerate(rounds, start=1):
        if states and dataset.is_spectrum:
            correction = add_kkr_barrier(graph, dataset, states, options, f"{label}-round{number - 1}")
        states = [
            add_round(
                graph, dataset, scan, f"-{energy_label(scan.energy_ev)}{label}-round{number}",
                {"options": options.reconstruct, "n_cycles": n_cycles, "index": index if correction else None},
                {"previous": states[index] if states else None, "correction": correction, **(orientation if states else first)},
            )
            for index, scan in enumerate(dataset.scans)
        ]  # fmt: skip
    return states


def add_round(
    graph: Graph, dataset: RunInput, scan: ScanInput, label: str, choice: dict[str, Any], inputs: Mapping[str, Inputs]
) -> Step:
    """Some cycles of one energy."""
    about = {"dataset": dataset.id, "scan": scan, "measurement": dataset.measurement}
    cost = reconstruction_cost(scan, choice["n_cycles"])
    return graph.add("reconstruct", label, {**about, **choice}, inputs, cost=cost, scan=scan)


def add_pilot(graph: Graph, dataset: RunInput, options: RunOptions, label: str, orientation: Mapping[str, Inputs]) -> Step:
    """Some cycles of the lowest energy, for its probe: one unit that every energy waits for."""
    n_cycles = options.reconstruct.pilot_cycles
    alone = dataclasses.replace(
        options.reconstruct, cycles=n_cycles, probe_from="optics", pilot_cycles=type(options.reconstruct).pilot_cycles
    )
    choice = {"options": alone, "n_cycles": n_cycles, "index": None}
    inputs: dict[str, Inputs] = {"previous": None, "correction": None, **orientation}
    return add_round(graph, dataset, dataset.scans[0], f"-pilot{label}-round0", choice, inputs)


def add_orientation(graph: Graph, dataset: RunInput, label: str) -> Step:
    """Find out which way up the detector is, from the lowest energy: one unit that every energy waits for."""
    scan = dataset.scans[0]
    arguments = {"dataset": dataset.id, "scan": scan, "measurement": dataset.measurement}
    cost = reconstruction_cost(scan, CYCLES_OF_ORIENTATION)
    return graph.add("orientation", label, arguments, {}, cost=cost)


def add_kkr_barrier(graph: Graph, dataset: RunInput, states: list[Step], options: RunOptions, label: str) -> Step:
    """Where all energies of one round meet: it needs every one of them, and the next round of each needs it."""
    arguments = couple_arguments(dataset, options)
    return graph.add("couple", label, arguments, {"states": states}, cost=coupling_cost(dataset))


def add_spectroscopy(graph: Graph, chain: Chain, options: RunOptions) -> Chain:
    """From the last round's images to maps of chemical state: spectra, fits on tiles of rows, chemistry."""
    dataset, label = chain.dataset, chain.label
    arguments, cost = couple_arguments(dataset, options), coupling_cost(dataset)
    spectra = graph.add("spectra", label, arguments, {"states": chain.states}, cost=cost)
    n_pixels = math.prod(dataset.scans[0].canvas.shape)
    n_tiles = max(1, math.ceil(n_pixels / PIXELS_A_TILE))
    # only the phase sees the light elements
    known = {"absorber": dataset.absorber, **({"formula": dataset.formula} if options.fit.joint else {})}
    tiles = [
        graph.add(
            "fit",
            f"{label}-tile{tile + 1}of{n_tiles}",
            {**known, "options": options.fit, "tile": tile, "n_tiles": n_tiles},
            {"spectra": spectra},
            cost=fitting_cost(dataset) / n_tiles,
        )
        for tile in range(n_tiles)
    ]
    maps = graph.add(
        "maps",
        label,
        # compounds are only drawn
        {"absorber": dataset.absorber, "fit": options.fit, "options": dataclasses.replace(options.chemistry, compounds=())},
        {"spectra": spectra, "tiles": tiles},
    )
    mixture = None
    if len(options.references.xdi) > 1:
        arguments = {"absorber": dataset.absorber, "options": options.references}
        mixture = graph.add("references", label, arguments, {"spectra": spectra, "maps": maps})
    return dataclasses.replace(chain, spectra=spectra, maps=maps, mixture=mixture)


def add_pooled(graph: Graph, chains: list[Chain], options: RunOptions, run_id: str) -> None:
    """Where all datasets meet: their pixels are grouped together, drawn to one scale and published in one store."""
    spectra = [chain.spectra for chain in chains if chain.spectra]
    maps = [chain.maps for chain in chains if chain.maps]
    mixtures = [chain.mixture for chain in chains if chain.mixture]
    domains = add_domains(graph, [chain for chain in chains if chain.maps], options)
    states = [chain.states for chain in chains]
    inputs: dict[str, Inputs] = {"states": states, "spectra": spectra, "maps": maps, "mixtures": mixtures, "domains": domains}
    about = [dataset_about(chain.dataset) for chain in chains]
    figures = graph.add("figures", "", {"datasets": about, "options": options}, inputs)
    graph.add("results", "", {"run_id": run_id, "datasets": about, "options": options}, {**inputs, "figures": figures})


def add_domains(graph: Graph, mapped: list[Chain], options: RunOptions) -> Step | None:
    """Pixels of all mapped datasets grouped together, standards left out."""
    grouped = [chain for chain in mapped if not chain.dataset.standard]
    if not grouped:
        if mapped:
            graph.skipped["domains"] = ONLY_STANDARDS
        return None
    arguments = {
        "datasets": [chain.dataset.id for chain in grouped],
        "groups": [chain.dataset.group for chain in grouped],
        "options": options.domains,
    }
    inputs: dict[str, Inputs] = {"spectra": [chain.spectra for chain in grouped], "maps": [chain.maps for chain in grouped]}
    return graph.add("domains", "", arguments, inputs)


def couple_arguments(dataset: RunInput, options: RunOptions) -> dict[str, Any]:
    """What the coupling of energies depends on, besides the images."""
    return {
        "scans": dataset.scans,
        "absorber": dataset.absorber,
        "formula": dataset.formula,
        "align": options.align,
        "kkr": options.kkr,
    }


def dataset_about(dataset: RunInput) -> dict[str, Any]:
    """What figures and results say about a dataset."""
    names = ("id", "title", "group", "standard", "formula", "absorber", "measurement", "scans")
    return {name: getattr(dataset, name) for name in names}


def energy_label(energy_ev: float) -> str:
    """An energy as part of a name: ``5420.0eV``, with more digits only where they are needed."""
    digits = 1 if abs(energy_ev - round(energy_ev, 1)) < 1e-6 else 3
    return f"{energy_ev:.{digits}f}eV"
