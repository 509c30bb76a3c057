"""Commands that send measurements and start and follow runs: submit, watch."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.progress import send_dataset, show_run
from api.cli.run_options import Foil, OptionList, OptionsFile, References, check_options, read_options, read_value, with_compounds
from api.cli.terminal import (
    AsJson,
    Key,
    Run,
    Url,
    console,
    messages,
    plain_errors,
    print_facts,
    print_json,
    safe,
    show_warning,
)
from api.client.ptyxas import LOCAL, Client
from storage.datasets.dataset_kind import DatasetKind

if TYPE_CHECKING:
    from tasks.scattering import Absorber

commands = typer.Typer()

Formula = Annotated[str, typer.Option(help="Chemical formula of the specimen.")]
Group = Annotated[str, typer.Option(help="Group in which the specimen is compared.")]
Element = Annotated[str, typer.Option(help="Absorbing element.")]
Edge = Annotated[str, typer.Option(help="Its absorption edge.")]
Probe = Annotated[str, typer.Option(help="Probe as JSON; by default as the files say.")]
Distance = Annotated[float | None, typer.Option(help="Specimen to detector; by default as the files say.")]
Kind = Annotated[DatasetKind, typer.Option(help="What the files hold: patterns, or images from elsewhere.")]
PixelSize = Annotated[float | None, typer.Option(help="Pixel of the detector, or of images; by default as the files say.")]
Describe = Annotated[
    list[str] | None, typer.Option("--describe", help="Anything else of POST /datasets, e.g. bad_frames=leave_out; repeatable.")
]
Orientation = Annotated[str, typer.Option(help="0-7: flip rows 1, flip columns 2, transpose 4; or auto.")]


@commands.command()
def submit(
    files: Annotated[list[Path], typer.Argument(help="Scan files, one energy each.", exists=True, dir_okay=False)],
    formula: Formula,
    title: Annotated[str, typer.Option(help="Title of the dataset; by default the name of the first file's folder.")] = "",
    kind: Kind = "diffraction",
    group: Group = "",
    standard: Annotated[bool, typer.Option("--standard", help="A known compound: left out of the domains.")] = False,
    absorber: Element = "V",
    edge: Edge = "K",
    probe: Probe = "",
    distance_m: Distance = None,
    pixel_size_m: PixelSize = None,
    orientation: Orientation = "0",
    describe: Describe = None,
    reference: References = None,
    foil: Foil = None,
    option: OptionList = None,
    options_file: OptionsFile = None,
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Send scan files as one dataset and start a run."""
    from tasks.scattering import Absorber

    with plain_errors(), Client(url, key) as client:
        if others := [str(file) for file in files if not file.is_file()]:
            raise ValueError(f"{', '.join(others)} must be a file, for what is sent is read twice: is it a pipe or a device?")
        title = title or files[0].resolve().parent.name
        sample = {"name": title, "formula": formula, "group": group, "standard": standard}
        about = {"distance_m": distance_m, **pixel_of(kind, pixel_size_m), **described(probe, orientation, describe or [])}
        spec = {"title": title, "kind": kind, "sample": sample, "absorber": {"element": absorber, "edge": edge}, **about}
        options = read_options(options_file, option or [])
        options = check_options(with_compounds(options, Absorber(absorber, edge), reference or [], foil))
        if kind == "diffraction":
            check_energies(files, Absorber(absorber, edge))
        dataset = stored_dataset(client, spec, files)
        if dataset is None:
            dataset = send_dataset(client, labelled(spec), files, messages)
        else:
            messages.print("the service has these files already; nothing is sent again", highlight=False)
        for warning in dataset["warnings"]:
            show_warning(warning)
        run = client.submit([dataset["id"]], options, name)
        if not as_json:
            console.print(f"dataset {dataset['id']}", highlight=False)
        show_submitted(client, run, watch, as_json)


@commands.command()
def watch(run: Run, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """Follow a run to its end; exits with 0 if it succeeds."""
    with plain_errors(), Client(url, key) as client:
        follow(client, run, as_json)


def show_submitted(client: Client, run: dict[str, Any], watch: bool, as_json: bool) -> None:
    """Print a run that has been submitted, or follow it to its end; its JSON comes once, at the end of what is waited for."""
    if not as_json:
        show_address(client, run["id"])
    elif not watch:
        print_json(run)
    if watch:
        follow(client, run["id"], as_json)


def follow(client: Client, run_id: str, as_json: bool = False) -> None:
    """Follow a run to its end, and say where its results and figures are; a run that fails ends the command."""
    ended = show_run(client, run_id, messages)
    if as_json:
        print_json(ended)
    if ended["state"] != "succeeded":
        raise typer.Exit(1)
    if not as_json:
        print_facts(ways_to_read(client, run_id))


def ways_to_read(client: Client, run_id: str) -> dict[str, str]:
    """Where the results of a run are: the line of a notebook, the commands, the page."""
    elsewhere = "" if client.url == os.environ.get("PTYXAS_URL", LOCAL).rstrip("/") else f" --url {client.url}"
    return {
        "notebook": f'xr.open_datatree("{client.url}/api/v1/runs/{run_id}/results.zarr", engine="zarr")',
        "copy": f"ptyxas results {run_id} --to {run_id}.zarr{elsewhere}",
        "figures": f"ptyxas figures {run_id}{elsewhere}",
        "page": f"{client.url}/?run={run_id}",
    }


def show_address(client: Client, run_id: str) -> None:
    """Print a run's id and where its page is."""
    console.print(f"run     [bold]{safe(run_id)}[/]\n{client.url}/?run={safe(run_id)}", highlight=False, soft_wrap=True)


def stored_dataset(client: Client, spec: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any] | None:
    """A sealed dataset that was made of the same bytes with the same description; None where the service has none."""
    digests = {sha256_of(file) for file in files}
    for dataset in client.items("/datasets", 100, label=spec_label(spec), state="sealed"):
        if is_described(dataset, spec) and {scan["sha256"] for scan in dataset["scans"]} == digests:
            return dataset
    return None


def sha256_of(file: Path) -> str:
    """SHA-256 of a file [hex], which the service tells of each scan."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def spec_label(spec: Mapping[str, Any]) -> str:
    """Label of datasets described so; what a dataset tells of itself may be what its files state, and leaves fields out."""
    return "described:" + hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def labelled(spec: Mapping[str, Any], *further: str) -> dict[str, Any]:
    """A description with the label by which its dataset is found again, and ``further`` ones, beside those that it states."""
    stated = spec.get("labels", [])
    return {**spec, "labels": [*stated, *further, spec_label(spec)] if isinstance(stated, list) else stated}


def is_described(dataset: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether a dataset was described so when it was created, and still is."""
    is_as_it_was = dataset["title"] == spec["title"] and spec["sample"].items() <= dataset["sample"].items()
    return is_as_it_was and spec_label(spec) in dataset["labels"]


def check_energies(files: Sequence[Path], absorber: "Absorber") -> None:
    """Refuse files whose energies cannot make a run, before any is sent; what cannot be read here is left to the service.

    Raises ValueError for energies that are measured twice, too few, or do not enclose the edge.
    """
    from service.workflow.preflight import grid_errors
    from storage.datasets.entries import DUPLICATE_ENERGY_EV
    from storage.errors import StorageError
    from storage.readers.format import open_scan

    found: list[tuple[float, str]] = []
    for file in files:
        try:
            with open_scan(file) as sources:
                found += [(float(source.energy_ev), file.name) for source in sources if source.energy_ev is not None]
        except (StorageError, OSError):
            return
    found.sort()
    for (energy_ev, name), (next_ev, other) in pairwise(found):
        if next_ev - energy_ev < DUPLICATE_ENERGY_EV:
            raise ValueError(f"{name} and {other} were measured at the same energy, {energy_ev:.3f} eV")
    for message in grid_errors("the measurement", [energy_ev for energy_ev, _ in found], absorber):
        raise ValueError(message)


def pixel_of(kind: DatasetKind, size_m: float | None) -> dict[str, float | None]:
    """The size of a pixel as ``POST /datasets`` takes it: of images, or of the detector."""
    return {"pixel_size_m" if kind == "images" else "detector_pixel_size_m": size_m}


def described(probe: str, orientation: str, more: Sequence[str]) -> dict[str, Any]:
    """What the flags say of a dataset beyond its specimen, as ``POST /datasets`` takes it.

    Raises
    ------
    ValueError
        A probe that is no JSON object, or a text of ``more`` that is not ``name=value``.
    """
    about: dict[str, Any] = {
        "probe": read_probe(probe) if probe else None,
        "orientation": int(orientation) if orientation.isdecimal() else orientation,
    }
    for text in more:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"--describe takes name=value, such as bad_frames=leave_out, got {text[:80]!r}")
        about[name] = read_value(value)
    return about


def read_probe(text: str) -> dict[str, Any]:
    """The probe that ``--probe`` describes.

    Raises
    ------
    ValueError
        The text is not a JSON object.
    """
    example = """such as '{"kind": "kb", "fwhm_m": 3e-7}'"""
    try:
        probe = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--probe must be a JSON object, {example}, got {text[:80]!r}: {error}") from error
    if not isinstance(probe, dict):
        raise ValueError(f"--probe must be a JSON object, {example}, got {text[:80]!r}")
    return probe
