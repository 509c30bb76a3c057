"""The run published: figures as files, and the results store, labelled and sealed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from service.stages.compounds import references_group
from service.stages.context import StageContext, StepAttributes
from service.stages.convergence import course_coordinates
from service.stages.dataset_results import Arrays, DatasetResults, RunResults, single_precision
from service.stages.resolution import in_results
from service.versions import library_versions
from storage.atomic import write_file
from storage.errors import ResultsError
from storage.results import Group, ResultsStore, write_results
from tasks.options import RunOptions


def results(desk: StageContext, *, run_id: str, figures: str, **found: Any) -> StepAttributes:
    """Publish the run: figures as files, then the results store, sealed by one rename; ``found`` makes its `RunResults`."""
    store = desk.call.places.results(run_id)
    publish_figures(desk, run_id, figures)
    if not ResultsStore(store).is_sealed():
        contents = RunResults(**found)
        attributes = {
            "run": run_id,
            "options": to_jsonable_python(contents.options),
            "datasets": to_jsonable_python(contents.datasets),
            "versions": library_versions(),
            "timings_s": timings(desk, desk.call.unit.inputs),
        }
        try:
            write_results(store, groups_of(desk, contents), attributes)
        except ResultsError:
            # A worker of a service that died may have come first: what it sealed is the same.
            if not ResultsStore(store).is_sealed():
                raise
    return desk.write({}, run_id=run_id)


def groups_of(desk: StageContext, contents: RunResults) -> dict[str, Group]:
    """All groups of the results store, by their paths."""
    chapters = contents.chapters(desk)
    tree = {path: group for chapter in chapters for path, group in chapter_groups(chapter).items()}
    if contents.domains is not None:
        grouped = [chapter for chapter in chapters if chapter.label is not None]
        tree["domains"] = domains_group(*contents.pooled(desk), grouped, contents.options)
    if contents.options.references.xdi and contents.maps:
        tree["references"] = references_group(chapters[0].energy_ev, chapters[0].about["absorber"], contents.options)
    return tree


def publish_figures(desk: StageContext, run_id: str, key: str) -> None:
    """Write the run's figures as files, the list of them last."""
    folder = desk.call.places.figures(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in desk.read(key).items():
        write_file(folder / f"{name}.png", content.tobytes())
    write_file(folder / "figures.json", json.dumps(desk.units.attrs(key)["listed"]).encode())


def chapter_groups(chapter: DatasetResults) -> dict[str, Group]:
    """One dataset's groups of the results store."""
    name = chapter.about["id"]
    plane = {"y": chapter.y_m, "x": chapter.x_m}
    energy = {"energy": chapter.energy_ev}
    about = {key: chapter.about[key] for key in ("title", "group", "formula", "absorber")}
    axis = {"axis": np.array(["y", "x"])} if "shift" in chapter.spectra else {}
    groups = {
        f"{name}/reconstruction": reconstruction_group(chapter),
        f"{name}/spectra": Group({**energy, **plane, **axis}, dict(chapter.spectra), about),
    }
    if chapter.maps:
        groups[f"{name}/maps"] = Group(plane, dict(chapter.maps), about)
    if chapter.mixture:
        coords = {**plane, "reference": np.array(chapter.compounds)}
        arrays = {key: single_precision(values) for key, values in chapter.mixture.items()}
        groups[f"{name}/references"] = Group(coords, arrays, about)
    if chapter.label is not None:
        groups[f"{name}/domains"] = Group(plane, {"label": chapter.label.astype(np.int8)}, about)
    return groups


def reconstruction_group(chapter: DatasetResults) -> Group:
    """Probes and how they came about; v and u are those of the mean pixel, which differs between energies by a percent."""
    _, n_modes, n_pixels, _ = chapter.probe.shape
    across = (np.arange(n_pixels) - n_pixels // 2) * float(np.mean(chapter.probe_pixel_size_m))
    coords = {
        "energy": chapter.energy_ev,
        "mode": np.arange(n_modes),
        "v": across,
        "u": across,
        **course_coordinates(chapter.course),
    }
    arrays = {"probe": chapter.probe.astype(np.complex64), **chapter.course, **in_results(chapter.sharpness)}
    if chapter.sharpness:
        coords["frequency"] = chapter.sharpness["frequency_per_m"]
    return Group(coords, arrays, {"probe_pixel_size_m": chapter.probe_pixel_size_m, "warnings": list(chapter.remarks)})


def domains_group(
    pooled: Arrays, attributes: Mapping[str, Any], chapters: Sequence[DatasetResults], options: RunOptions
) -> Group:
    """What the domains of all datasets have in common."""
    coords = {
        "domain": np.arange(1, options.domains.n_domains + 1),
        "descriptor": np.array(options.domains.descriptors),
        "k": np.arange(1, len(pooled["inertia"]) + 1),
        "dataset": np.array([chapter.about["id"] for chapter in chapters]),
        "dataset_group": np.array([chapter.about["group"] for chapter in chapters]),
        "group": np.array(attributes["groups"]),
        "energy": chapters[0].energy_ev,
        "bin": np.arange(pooled["bin_centre"].shape[1]),
        "bin_centre": pooled["bin_centre"],
    }
    names = ("centre", "inertia", "fraction", "group_fraction", "mean_absorption", "density")
    bootstrap = ("fraction_interval", "group_interval", "domain_agreement")
    if "agreement" in attributes:
        coords["bound"] = np.array(["lower", "upper"])
    facts = {name: attributes[name] for name in ("elbow", "agreement") if name in attributes}
    return Group(coords, {name: pooled[name] for name in (*names, *bootstrap) if name in pooled}, facts)


def timings(desk: StageContext, keys: Sequence[str]) -> dict[str, float]:
    """Seconds of computing in each stage, over all units that led to ``keys``, whichever run computed them."""
    seconds: dict[str, float] = {}
    seen: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key in seen or not desk.units.has(key):
            continue
        seen.add(key)
        attributes = desk.units.attrs(key)
        seconds[attributes["stage"]] = seconds.get(attributes["stage"], 0.0) + attributes["seconds"]
        waiting.extend(attributes["inputs"])
    return seconds
