"""The run published: the results store, labelled and sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from service.stages.context import StageContext
from service.stages.dataset_results import Array, Arrays, DatasetResults, RunResultsStep, single_precision
from service.versions import library_versions
from service.workflow.inputs import RunInput
from service.workflow.step import StepAttributes
from storage.errors import ResultsError
from storage.layout import RESULTS
from storage.results import Group, ResultsStore, write_results
from tasks.options.run import RunOptions

if TYPE_CHECKING:
    from tasks.scattering import Absorber

RESOLUTION_NAMES: Final = {
    "prtf": "prtf",
    "frc": "frc",
    "half_bit": "half_bit",
    "resolution_m": "resolution",
    "prtf_resolution_m": "prtf_resolution",
}
"""Arrays of `tasks.coupling.resolution`, and their names in the results store."""


@dataclass(frozen=True, kw_only=True)
class ResultsStep(RunResultsStep):
    """Publish a run: write the results store, sealed by one rename. It stores no arrays of its own."""

    stage: ClassVar[str] = "results"
    version: ClassVar[int] = 10

    run_id: str

    def run(self, context: StageContext) -> StepAttributes:
        path = context.paths.results(self.run_id)
        if not ResultsStore(path).is_sealed():
            attributes = {
                "run": self.run_id,
                "options": to_jsonable_python(self.options),
                "datasets": [description_of(dataset) for dataset in self.datasets],
                "versions": library_versions(),
                "timings_s": timings(context, self.inputs),
            }
            groups = groups_of(context, self)
            context.check_stop()
            try:
                write_results(path, groups, attributes)
            except ResultsError:
                # A worker of a service that died may have come first: what it sealed is the same.
                if not ResultsStore(path).is_sealed():
                    raise
        return context.write({}, run_id=self.run_id)


def description_of(dataset: RunInput) -> StepAttributes:
    """What results say about a dataset."""
    described: StepAttributes = to_jsonable_python(dataset)
    del described["is_open"]
    return described


def groups_of(context: StageContext, step: RunResultsStep) -> dict[str, Group]:
    """All groups of the results store, by their paths."""
    from tasks.scattering import Absorber

    datasets = step.read_datasets(context)
    scores = ("score", "factor_weight") if step.options.domains.n_factors else ("score",)
    groups: dict[str, Group] = {}
    for found in datasets:
        groups |= dataset_groups(found, step.read_grouped(context, found.dataset.id, *scores))
    if step.domains is not None:
        grouped = [found for found in datasets if found.label is not None]
        pooled, attributes = step.read_domains(context)
        groups["domains"] = domains_group(pooled, attributes, grouped, step.options)
        groups["components"] = components_group(pooled, grouped)
    if step.options.references.xdi and step.maps:
        absorber = Absorber(**datasets[0].dataset.absorber)
        groups["references"] = references_group(datasets[0].energy_ev, absorber, step.options)
    return groups


def dataset_groups(found: DatasetResults, scores: Arrays) -> dict[str, Group]:
    """One dataset's groups of the results store, with its maps of ``scores`` and of factors."""
    dataset = found.dataset
    plane = {"y": found.y_m, "x": found.x_m}
    energy = {"energy": found.energy_ev}
    about = {"title": dataset.title, "group": dataset.group, "formula": dataset.formula, "absorber": dataset.absorber}
    components = RESULTS["{dataset}/components"]
    axis = {"axis": np.array(["y", "x"])} if "shift" in found.spectra else {}
    slope = {} if found.kk_slope is None else {"kk_slope": found.kk_slope}
    groups = {f"{dataset.id}/spectra": Group({**energy, **plane, **axis}, dict(found.spectra), about | slope)}
    if found.convergence or found.resolution:
        groups[f"{dataset.id}/reconstruction"] = reconstruction_group(found)
    if found.maps:
        groups[f"{dataset.id}/maps"] = Group(plane, dict(found.maps), about | found.noise.attributes)
    if found.mixture:
        coords = {**plane, "reference": np.array(found.references)}
        arrays = {name: single_precision(values) for name, values in found.mixture.items()}
        groups[f"{dataset.id}/references"] = Group(coords, arrays, about)
    if scores:
        coords = plane | numbered(**{components[name].dims[0]: len(values) for name, values in scores.items()})
        groups[f"{dataset.id}/components"] = Group(coords, dict(scores), about)
    if found.label is not None:
        groups[f"{dataset.id}/domains"] = Group(plane, {"label": found.label.astype(np.int8)}, about)
    return groups


def reconstruction_group(found: DatasetResults) -> Group:
    """Probes and how they converged; v and u are those of the mean pixel, which differs between energies by a percent."""
    coords: dict[str, Array] = {"energy": found.energy_ev}
    arrays = dict(found.convergence)
    if found.probe is not None:
        _, n_modes, n_pixels, _ = found.probe.shape
        across = (np.arange(n_pixels) - n_pixels // 2) * float(np.mean(found.probe_pixel_size_m))
        arrays["probe"] = found.probe.astype(np.complex64)
        coords |= {"mode": np.arange(n_modes), "v": across, "u": across, "axis": np.array(["y", "x"])}
    if found.convergence:
        coords["cycle"] = np.arange(1, found.convergence["error"].shape[1] + 1)
        coords["position"] = np.arange(found.convergence["positions"].shape[1])
    arrays |= {
        name: found.resolution[key].astype(np.float32) for key, name in RESOLUTION_NAMES.items() if key in found.resolution
    }
    if found.resolution:
        coords["frequency"] = found.resolution["frequency_per_m"]
    return Group(coords, arrays, {"probe_pixel_size_m": found.probe_pixel_size_m, "warnings": list(found.warnings)})


def domains_group(pooled: Arrays, attributes: StepAttributes, datasets: Sequence[DatasetResults], options: RunOptions) -> Group:
    """What the domains of all datasets have in common."""
    coords = {
        "domain": np.arange(1, options.domains.n_domains + 1),
        "descriptor": np.array(attributes["descriptors"]),
        "k": np.arange(1, len(pooled["inertia"]) + 1),
        "dataset": np.array([found.dataset.id for found in datasets]),
        "dataset_group": np.array([found.dataset.group for found in datasets]),
        "group": np.array(attributes["groups"]),
        "energy": datasets[0].energy_ev,
        "bin": np.arange(pooled["bin_centre"].shape[1]),
        "bin_centre": pooled["bin_centre"],
    }
    if "agreement" in attributes:
        coords["bound"] = np.array(["lower", "upper"])
    arrays = {name: values for name, values in pooled.items() if name in RESULTS["domains"]}
    return Group(coords, arrays, {name: attributes[name] for name in ("elbow", "agreement") if name in attributes})


def components_group(pooled: Arrays, datasets: Sequence[DatasetResults]) -> Group:
    """Principal components, and factors where they were asked for, of the spectra of all datasets."""
    arrays = {name: values for name, values in pooled.items() if name in RESULTS["components"]}
    coords = numbered(component=len(arrays["eigenspectrum"]), rank=len(arrays["scree"]))
    coords |= numbered(factor=len(arrays["factor_spectrum"])) if "factor_spectrum" in arrays else {}
    return Group(coords | {"energy": datasets[0].energy_ev}, arrays)


def numbered(**lengths: int) -> dict[str, NDArray[Any]]:
    """Coordinates that count from 1."""
    return {name: np.arange(1, length + 1) for name, length in lengths.items()}


def references_group(energy_ev: NDArray[np.float64], absorber: Absorber, options: RunOptions) -> Group:
    """The reference compounds at the measured energies (E,) [eV], and what eq. 1 fitted to each says."""
    from tasks.xanes.model import PARAMETERS, pre_edge_ratio
    from tasks.xanes.references.normalisation import fit_reference, prepare

    edge = PARAMETERS.index("edge_energy")
    found = prepare(options.references.xdi, absorber)
    fits = [fit_reference(one, absorber) for one in found]
    arrays = {
        "absorption": np.stack([np.interp(energy_ev, one.energy_ev, one.absorption) for one in found]),
        "edge_energy": np.array([fit.parameters[edge, 0] for fit in fits]),
        "edge_energy_sigma": np.array([fit.sigma[edge, 0] for fit in fits]),
        "pre_edge_ratio": np.array([pre_edge_ratio(fit.parameters)[0] for fit in fits]),
        "pre_edge_ratio_sigma": np.array([fit.pre_edge_ratio_sigma[0] for fit in fits]),
    }
    return Group({"reference": np.array([one.name for one in found]), "energy": energy_ev}, arrays)


def timings(context: StageContext, keys: Sequence[str]) -> dict[str, float]:
    """Seconds of computing in each stage, over all steps that led to ``keys``, whichever run computed them."""
    seconds: dict[str, float] = {}
    seen: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in seen or not context.artifacts.has(key):
            continue
        seen.add(key)
        attributes = context.artifacts.attrs(key)
        seconds[attributes["stage"]] = seconds.get(attributes["stage"], 0.0) + attributes["seconds"]
        waiting.extend(attributes["inputs"])
    return seconds
