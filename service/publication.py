"""What users get to see: figures drawn, and the results store written, labelled and sealed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from service.compounds import reference_spectra, references_group, theoretical_ratios
from service.course import course, course_coordinates
from service.desk import Desk
from service.sharpness import energy_sharpness, in_results
from service.versions import library_versions
from storage.errors import ResultsError
from storage.results import Group, ResultsStore, write_results
from storage.staging import write_file
from tasks.figures.gallery import figure_list
from tasks.figures.study import PooledDomains, Reconstruction, Specimen, Study
from tasks.gauge import field_of_view
from tasks.options import RunOptions
from tasks.refraction import absorption_and_phase

Array = NDArray[Any]
Arrays = Mapping[str, Array]

SPECTRA_ARRAYS = (
    "absorption", "phase", "vacuum_mask", "sample_mask", "kk_residual", "kk_residual_before", "sigma_absorption", "sigma_phase",
)  # fmt: skip


SHARPNESS_ARRAYS = ("frequency_per_m", "prtf", "frc", "half_bit", "resolution_m", "prtf_resolution_m")


@dataclass(frozen=True)
class Chapter:
    """All that was found of one dataset."""

    about: Mapping[str, Any]
    energy_ev: Array
    y_m: Array
    x_m: Array
    probe: Array
    """(E, M, N, N) complex64."""
    course: Arrays
    """As `service.course` has it."""
    sharpness: Arrays
    """As `service.sharpness` has it."""
    spectra: Arrays
    """Arrays over y and x or energy, by the names of the results store."""
    maps: Arrays
    label: Array | None
    """Domains; None for a standard."""
    phase_energy_ev: float | None
    """Where the phase gave the electron density."""
    mixture: Arrays
    """Shares of the reference compounds, where there are two or more."""
    compounds: Sequence[str] = ()
    remarks: Sequence[str] = ()
    """Which energies stand out."""

    @property
    def probe_pixel_size_m(self) -> Array:
        """(E,) float64."""
        return np.array([scan.canvas.pixel_size_m for scan in self.about["scans"]])


def figures(
    desk: Desk,
    *,
    datasets: Sequence[Mapping[str, Any]],
    options: RunOptions,
    states: Sequence[Sequence[str]],
    spectra: Sequence[str],
    maps: Sequence[str],
    mixtures: Sequence[str],
    domains: str | None,
) -> dict[str, Any]:
    """Draw every figure there are arrays for."""
    chapters = read_chapters(desk, datasets, states, spectra, maps, mixtures, domains)
    pooled = desk.read(domains) if domains else {}
    attributes = desk.units.attrs(domains) if domains else {}
    drawn = figure_list(study_of(chapters, pooled, attributes, options))
    arrays = {name: np.frombuffer(figure.png, np.uint8) for name, figure in drawn.items()}
    listed = [{"name": name, "title": figure.title, "dataset": figure.dataset} for name, figure in drawn.items()]
    desk.write(arrays, listed=listed)
    return {"n_figures": len(arrays)}


def results(
    desk: Desk,
    *,
    run_id: str,
    datasets: Sequence[Mapping[str, Any]],
    options: RunOptions,
    states: Sequence[Sequence[str]],
    spectra: Sequence[str],
    maps: Sequence[str],
    mixtures: Sequence[str],
    domains: str | None,
    figures: str,
) -> dict[str, Any]:
    """Publish the run: figures as files, then the results store, sealed by one rename."""
    places = desk.call.places
    publish_figures(desk, run_id, figures)
    if not ResultsStore(places.results(run_id)).is_sealed():
        chapters = read_chapters(desk, datasets, states, spectra, maps, mixtures, domains)
        tree = {path: group for chapter in chapters for path, group in chapter_groups(chapter).items()}
        if domains is not None:
            grouped = [chapter for chapter in chapters if chapter.label is not None]
            tree["domains"] = domains_group(desk.read(domains), desk.units.attrs(domains), grouped, options)
        if options.references.xdi and maps:
            tree["references"] = references_group(chapters[0].energy_ev, chapters[0].about["absorber"], options)
        attributes = {
            "run": run_id,
            "options": to_jsonable_python(options),
            "datasets": to_jsonable_python(datasets),
            "versions": library_versions(),
            "timings_s": timings(desk, desk.call.unit.inputs),
        }
        try:
            write_results(places.results(run_id), tree, attributes)
        except ResultsError:
            # A worker of a service that died may have come first: what it sealed is the same.
            if not ResultsStore(places.results(run_id)).is_sealed():
                raise
    return desk.write({}, run_id=run_id)


def publish_figures(desk: Desk, run_id: str, key: str) -> None:
    """Write the run's figures as files, the list of them last."""
    folder = desk.call.places.figures(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in desk.read(key).items():
        write_file(folder / f"{name}.png", content.tobytes())
    write_file(folder / "figures.json", json.dumps(desk.units.attrs(key)["listed"]).encode())


def read_chapters(
    desk: Desk,
    datasets: Sequence[Mapping[str, Any]],
    states: Sequence[Sequence[str]],
    spectra: Sequence[str],
    maps: Sequence[str],
    mixtures: Sequence[str],
    domains: str | None,
) -> list[Chapter]:
    """Everything found of each dataset, as far as the run went."""
    chapters = []
    grouped = desk.units.attrs(domains)["datasets"] if domains else []
    for number, (about, keys) in enumerate(zip(datasets, states, strict=True)):
        went = course(desk, keys)
        if not spectra:
            energy_ev = np.array([scan.energy_ev for scan in about["scans"]])
            chapters.append(single_energy_chapter(about, energy_ev, went, desk.read(keys[0])))
            continue
        found = desk.read(spectra[number])
        name = f"label{grouped.index(about['id'])}" if about["id"] in grouped else None
        label = desk.read(domains, name)[name] if domains and name else None
        phase_energy_ev = float(desk.units.attrs(maps[number])["phase_energy_ev"])
        chapters.append(
            Chapter(
                about, found["energy_ev"], found["y_m"], found["x_m"], found["probe"], went,
                {name: found[name] for name in SHARPNESS_ARRAYS},
                {name: single_precision(found[name]) for name in SPECTRA_ARRAYS} | {"shift": single_precision(found["shift_px"])},
                desk.read(maps[number]), label, phase_energy_ev, desk.read(mixtures[number]) if mixtures else {},
                desk.units.attrs(mixtures[number])["references"] if mixtures else (),
                desk.units.attrs(spectra[number])["notes"],
            )
        )  # fmt: skip
    return chapters


def single_energy_chapter(about: Mapping[str, Any], energy_ev: Array, went: Arrays, state: Arrays) -> Chapter:
    """A dataset of one energy: its image on its own canvas, NaN where the scan did not go."""
    canvas = about["scans"][0].canvas
    field = field_of_view(state["dose"])
    images = absorption_and_phase(state["object"])
    y_m, x_m = (canvas.origin_m[axis] + canvas.pixel_size_m * np.arange(canvas.shape[axis]) for axis in (0, 1))
    absorption, phase = (np.where(field, image, np.nan)[None].astype(np.float32) for image in images)
    spectra = {"absorption": absorption, "phase": phase}
    sharpness = energy_sharpness(about["scans"][0], state["prtf"])
    return Chapter(about, energy_ev, y_m, x_m, state["probe"][None], went, sharpness, spectra, {}, None, None, {})


def study_of(
    chapters: Sequence[Chapter], pooled: Arrays, attributes: Mapping[str, Any], options: RunOptions
) -> Study:
    """The run in the words of the figures."""
    domains = None
    if pooled:
        domains = PooledDomains(
            pooled["inertia"], int(attributes["elbow"]), pooled["fraction"], pooled["group_fraction"],
            group_interval=pooled.get("group_interval"), energy_ev=chapters[0].energy_ev,
            mean_absorption=pooled["mean_absorption"], fraction_interval=pooled.get("fraction_interval"),
            domain_agreement=pooled.get("domain_agreement"), agreement=attributes.get("agreement"),
        )  # fmt: skip
    mapped = [chapter for chapter in chapters if chapter.phase_energy_ev is not None]
    formulas = [chapter.about["formula"] for chapter in mapped]
    theory = theoretical_ratios(formulas, mapped[0].phase_energy_ev, mapped[0].about["absorber"], options) if mapped else {}
    return Study(
        tuple(specimen_of(chapter) for chapter in chapters),
        chapters[0].about["absorber"]["element"],
        options.domains.descriptors,
        domains,
        references=reference_spectra(chapters[0].about["absorber"], options) if chapters[0].maps else (),
        theory=theory,
    )


def specimen_of(chapter: Chapter) -> Specimen:
    """One dataset in the words of the figures."""
    return Specimen(
        name=chapter.about["id"],
        title=chapter.about["title"],
        energy_ev=chapter.energy_ev,
        pixel_size_m=float(chapter.y_m[1] - chapter.y_m[0]),
        absorption=chapter.spectra["absorption"],
        phase=chapter.spectra["phase"],
        sample_mask=chapter.spectra.get("sample_mask"),
        maps=chapter.maps,
        label=chapter.label,
        group=chapter.about["group"],
        standard=chapter.about["standard"],
        mixture=chapter.mixture.get("fraction"),
        reconstruction=Reconstruction(chapter.course["error"], chapter.probe, chapter.probe_pixel_size_m, **chapter.sharpness),
        kk_residual=chapter.spectra.get("kk_residual"),
        kk_residual_before=chapter.spectra.get("kk_residual_before"),
    )


def chapter_groups(chapter: Chapter) -> dict[str, Group]:
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


def reconstruction_group(chapter: Chapter) -> Group:
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
    pooled: Arrays, attributes: Mapping[str, Any], chapters: Sequence[Chapter], options: RunOptions
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


def timings(desk: Desk, keys: Sequence[str]) -> dict[str, float]:
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


def single_precision(values: Array) -> Array:
    """Floats as float32; masks as they are."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values
