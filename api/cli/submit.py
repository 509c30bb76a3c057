"""Commands that send measurements and start and follow runs: submit, watch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.client import Client
from api.cli.progress import show_run, show_uploads
from api.cli.terminal import LOCAL, Key, Url, console, plain_errors

if TYPE_CHECKING:
    from tasks.scattering import Absorber

commands = typer.Typer()


@commands.command()
def submit(
    files: Annotated[list[Path], typer.Argument(help="Scan files, one energy each.", exists=True, dir_okay=False)],
    formula: Annotated[str, typer.Option(help="Chemical formula of the specimen.")],
    title: Annotated[str, typer.Option(help="Title of the dataset; by default the name of the first file's folder.")] = "",
    group: Annotated[str, typer.Option(help="Group in which the specimen is compared.")] = "",
    standard: Annotated[bool, typer.Option("--standard", help="A known compound: left out of the domains.")] = False,
    absorber: Annotated[str, typer.Option(help="Absorbing element.")] = "V",
    edge: Annotated[str, typer.Option(help="Its absorption edge.")] = "K",
    probe: Annotated[str, typer.Option(help="Probe as JSON; by default as the files say.")] = "",
    distance_m: Annotated[float | None, typer.Option(help="Specimen to detector; by default as the files say.")] = None,
    pixel_size_m: Annotated[float | None, typer.Option(help="Detector pixel; by default as the files say.")] = None,
    orientation: Annotated[str, typer.Option(help="0-7: flip rows 1, flip columns 2, transpose 4; or auto.")] = "0",
    reference: Annotated[list[Path] | None, typer.Option(help="XDI spectrum of a compound; repeatable.", exists=True)] = None,
    foil: Annotated[Path | None, typer.Option(help="XDI spectrum of a metal foil: calibrates the energies.", exists=True)] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-o", help="e.g. reconstruct.cycles=300; repeatable.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Send scan files as one dataset and start a run."""
    from tasks.scattering import Absorber

    with plain_errors(), Client(url, key) as client:
        title = title or files[0].resolve().parent.name
        spec = {
            "title": title,
            "sample": {"name": title, "formula": formula, "group": group, "standard": standard},
            "absorber": {"element": absorber, "edge": edge},
            "distance_m": distance_m,
            "detector_pixel_size_m": pixel_size_m,
            "probe": read_probe(probe) if probe else None,
            "orientation": int(orientation) if orientation.isdecimal() else orientation,
        }
        options = with_compounds(options_of(option or []), Absorber(absorber, edge), reference or [], foil)
        dataset = client.create_dataset(spec)
        show_uploads(client, dataset["id"], files, console)
        client.seal(dataset["id"])
        run = client.submit([dataset["id"]], options, name)
        console.print(f"dataset {dataset['id']}\nrun     [bold]{run['id']}[/]\n{client.url}/?run={run['id']}", highlight=False)
        if watch and show_run(client, run["id"], console)["state"] != "succeeded":
            raise typer.Exit(1)


@commands.command()
def watch(run: str, url: Url = LOCAL, key: Key = None) -> None:
    """Follow a run to its end; exits with 0 if it succeeds."""
    with plain_errors(), Client(url, key) as client:
        ended = show_run(client, run, console)
    if ended["state"] != "succeeded":
        raise typer.Exit(1)


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
    except ValueError as error:
        raise ValueError(f"--probe must be a JSON object, {example}, got {text!r}: {error}") from error
    if not isinstance(probe, dict):
        raise ValueError(f"--probe must be a JSON object, {example}, got {text!r}")
    return probe


def options_of(given: Sequence[str]) -> dict[str, Any]:
    """``["reconstruct.cycles=300"]`` as ``{"reconstruct": {"cycles": 300}}``; values are JSON, or else text.

    Raises
    ------
    ValueError
        A text is not ``stage.name=value``.
    """
    options: dict[str, Any] = {}
    for text in given:
        path, equals, value = text.partition("=")
        stage, dot, name = path.partition(".")
        if not (equals and dot and name):
            raise ValueError(f"an option is stage.name=value, such as reconstruct.cycles=300, got {text!r}")
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        options.setdefault(stage, {})[name] = read
    return options


def with_compounds(
    options: dict[str, Any], absorber: "Absorber", references: Sequence[Path], foil: Path | None
) -> dict[str, Any]:
    """``options`` with the spectra of known compounds and, for another edge than the paper's, the tables' constants."""
    from tasks.scattering import Absorber

    if absorber != Absorber():
        options.setdefault("chemistry", {}).setdefault("preset", "chantler")
    if references:
        options.setdefault("references", {})["xdi"] = [path.read_text(encoding="utf-8", errors="replace") for path in references]
    if foil is not None:
        # Numerics that other commands do not need.
        from tasks.xanes.references.foil import first_inflection_ev
        from tasks.xanes.references.xdi import read_xdi

        offset_ev = absorber.edge_energy_ev - first_inflection_ev(read_xdi(foil.read_bytes()), absorber)
        options.setdefault("align", {})["energy_offset_ev"] = round(offset_ev, 3)
    return options
