"""The command ``ptyxas``: serve, submit, watch, simulate, plan, demo, study, options, keys, gc, verify, backup."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import TypeAdapter
from rich.table import Table

from api.cli import keys as keyring
from api.cli import maintenance as upkeep
from api.cli.client import Client
from api.cli.flags import fields_of, with_flags
from api.cli.progress import show_run, show_uploads
from api.cli.terminal import console, plain_words
from service.logging_setup import write_logs
from service.settings import Settings
from tasks.options import RunOptions
from tasks.planning.plan import PlanOptions, plan_energies
from tasks.scattering import Absorber
from tasks.simulation.specimen import SimulationOptions

if TYPE_CHECKING:
    from api.app import HttpServer

app = typer.Typer(
    help="X-ray spectroscopic ptychography: diffraction patterns in, maps of chemical state out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)
for command in (upkeep.gc, upkeep.verify, upkeep.backup):
    app.command()(command)
app.add_typer(keyring.commands, name="keys")

Url = Annotated[str, typer.Option(envvar="PTYXAS_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option(envvar="PTYXAS_API_KEY", help="API key, where the service needs one.")]
LOCAL: Final = "http://127.0.0.1:8000"


@app.command()
@with_flags(Settings.model_fields)
def serve(**given: Any) -> None:
    """Serve: HTTP, Dask, catalogue and store in one process tree.

    Every flag may also be set as PTYXAS_<NAME> in the environment.
    """
    with plain_words():
        settings = Settings(**given)
        write_logs(settings.log_level, settings.log_format)
        server = open_server(settings, lambda url: console.print(f"ptyxas serves [bold]{url}[/]  (Ctrl-C to stop)"))
        server.run()
        if not server.started:
            raise typer.Exit(1)


@app.command()
def submit(
    files: Annotated[list[Path], typer.Argument(help="Scan files, one energy each.", exists=True, dir_okay=False)],
    formula: Annotated[str, typer.Option(help="Chemical formula of the specimen.")],
    title: Annotated[str, typer.Option(help="What to call the dataset; else the first file's folder.")] = "",
    group: Annotated[str, typer.Option(help="Group the specimen is compared in.")] = "",
    standard: Annotated[bool, typer.Option("--standard", help="A known compound: left out of the domains.")] = False,
    absorber: Annotated[str, typer.Option(help="Absorbing element.")] = "V",
    edge: Annotated[str, typer.Option(help="Its absorption edge.")] = "K",
    probe: Annotated[str, typer.Option(help="Probe as JSON; else as the files say.")] = "",
    distance_m: Annotated[float | None, typer.Option(help="Specimen to detector; else as the files say.")] = None,
    pixel_size_m: Annotated[float | None, typer.Option(help="Detector pixel; else as the files say.")] = None,
    orientation: Annotated[str, typer.Option(help="0-7: flip rows 1, flip columns 2, transpose 4; or auto.")] = "0",
    reference: Annotated[list[Path], typer.Option(help="XDI spectrum of a compound; repeatable.", exists=True)] = [],  # noqa: B006
    foil: Annotated[Path | None, typer.Option(help="XDI spectrum of a metal foil: calibrates the energies.", exists=True)] = None,
    option: Annotated[list[str], typer.Option("--option", "-o", help="e.g. reconstruct.cycles=300; repeatable.")] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Send scan files as one dataset and start a run."""
    title = title or files[0].resolve().parent.name
    spec = {
        "title": title,
        "sample": {"name": title, "formula": formula, "group": group, "standard": standard},
        "absorber": {"element": absorber, "edge": edge},
        "distance_m": distance_m,
        "detector_pixel_size_m": pixel_size_m,
        "probe": json.loads(probe) if probe else None,
        "orientation": int(orientation) if orientation.isdecimal() else orientation,
    }
    with plain_words(), Client(url, key) as client:
        options = with_compounds(options_of(option), Absorber(absorber, edge), reference, foil)
        dataset = client.create_dataset(spec)
        show_uploads(client, dataset["id"], files, console)
        client.seal(dataset["id"])
        run = client.submit([dataset["id"]], options, name)
        console.print(f"dataset {dataset['id']}\nrun     [bold]{run['id']}[/]\n{client.url}/?run={run['id']}", highlight=False)
        if watch and show_run(client, run["id"], console)["state"] != "succeeded":
            raise typer.Exit(1)


@app.command()
def watch(run: str, url: Url = LOCAL, key: Key = None) -> None:
    """Follow a run to its end; exits with 0 where it succeeds."""
    with plain_words(), Client(url, key) as client:
        ended = show_run(client, run, console)
    if ended["state"] != "succeeded":
        raise typer.Exit(1)


@app.command()
@with_flags(fields_of(SimulationOptions))
def simulate(folder: Annotated[Path, typer.Argument(help="Where the CXI files go.")], **given: Any) -> None:
    """Measure a specimen of known chemistry: one CXI file an energy, and what is needed to submit them."""
    from api.cli.demo import measure

    with plain_words():
        made = measure(SimulationOptions(**given), folder)
    console.print(f"{len(made.files)} scans in {folder}, {made.n_bytes / 1e6:.0f} MB; submit them with")
    console.print(made.command, soft_wrap=True, highlight=False)


@app.command()
@with_flags(fields_of(PlanOptions))
def plan(
    figure: Annotated[Path | None, typer.Option(help="PNG that gets the energies over the spectra to expect.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    **given: Any,
) -> None:
    """Which energies to measure: those that promise the least errors, and what errors to expect."""
    from api.cli.plan import plan_as_json, plan_in_words
    from tasks.figures.plan import plan_png

    with plain_words():
        made = plan_energies(PlanOptions(**given))
    if figure is not None:
        figure.write_bytes(plan_png(made))
    if as_json:
        print(json.dumps(plan_as_json(made), indent=2))
    else:
        console.print(plan_in_words(made), highlight=False)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where everything goes; an earlier demo there goes away.")] = Path("ptyxas-demo"),
    seed: Annotated[int, typer.Option(help="Which specimen.")] = 0,
    energies: Annotated[int, typer.Option(help="Number of energies.", min=10)] = 24,
    positions: Annotated[int, typer.Option(help="Scan positions along each side.", min=4)] = 12,
    pixels: Annotated[int, typer.Option(help="Side of a frame.", min=32)] = 64,
    photons: Annotated[float, typer.Option(help="Photons in a frame.", min=1)] = 1e8,
    cycles: Annotated[int, typer.Option(help="Cycles of the reconstruction.", min=1)] = 150,
    coupling_start: Annotated[int, typer.Option(help="Cycle after which the energies are coupled.", min=1)] = 100,
    workers: Annotated[int | None, typer.Option(help="Worker processes; one a core where not given.", min=1)] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Go on serving until Ctrl-C.")] = False,
) -> None:
    """The whole job on a simulated specimen, over REST, with its maps compared to the truth."""
    from api.cli.demo import Demo

    with plain_words():
        options = SimulationOptions(seed=seed, n_energies=energies, n_positions_side=positions, n_pixels=pixels, photons=photons)
        show = Demo(folder, options, cycles, coupling_start, workers, console)
        show.play(open_server, keep=keep)


@app.command()
def study(
    folder: Annotated[Path, typer.Option(help="Where everything goes; an earlier one there goes away.")] = Path("ptyxas-study"),
    energies: Annotated[int, typer.Option(help="Number of energies.", min=10)] = 20,
    positions: Annotated[int, typer.Option(help="Scan positions along each side.", min=4)] = 10,
    pixels: Annotated[int, typer.Option(help="Side of a frame.", min=32)] = 64,
    cycles: Annotated[int, typer.Option(help="Cycles of the reconstruction.", min=1)] = 40,
    workers: Annotated[int | None, typer.Option(help="Worker processes; one a core where not given.", min=1)] = None,
    gallery: Annotated[Path | None, typer.Option(help="Folder that gets the figures, made small.")] = None,
) -> None:
    """Six simulated particles in two groups and a standard, analysed together: shares of their domains against the truth."""
    from api.cli.study import ParticleStudy, findings_table

    with plain_words():
        what = SimulationOptions(n_energies=energies, n_positions_side=positions, n_pixels=pixels, radius_m=0.45e-6)
        findings = ParticleStudy(folder, what, cycles, workers, console).play(open_server, gallery)
    console.print(findings_table(findings))
    console.print(f"largest error of a share {findings.worst:.3f}; elbow at k = {findings.elbow}; {findings.seconds:.0f} s")
    if not findings.holds:
        raise typer.Exit(1)


@app.command()
def options(as_json: Annotated[bool, typer.Option("--json", help="As the JSON schema.")] = False) -> None:
    """Every option of a run, its default and what it means."""
    schema = TypeAdapter(RunOptions).json_schema()
    if as_json:
        print(json.dumps(schema, indent=2))
        return
    table = Table("option", "default", "what it means", box=None, header_style="bold", pad_edge=False)
    defaults = TypeAdapter(RunOptions).dump_python(RunOptions(), mode="json")
    for stage, values in defaults.items():
        fields = schema["$defs"][schema["properties"][stage]["$ref"].rpartition("/")[2]]["properties"]
        for field, default in values.items():
            table.add_row(f"{stage}.{field}", json.dumps(default), fields[field].get("description", "").replace("``", ""))
    console.print(table)


def open_server(settings: Settings, on_start: Callable[[str], None]) -> "HttpServer":
    """The whole service behind HTTP, ready to run."""
    # Half a second of imports that the other commands do without.
    from api.app import HttpServer, create_app
    from service.bootstrap import build

    tls = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key} if settings.tls_key else {}
    app = create_app(build(settings))
    return HttpServer(app, on_start, host=settings.host, port=settings.port, log_level="warning", log_config=None, **tls)


def options_of(given: list[str]) -> dict[str, Any]:
    """``["reconstruct.cycles=300"]`` as ``{"reconstruct": {"cycles": 300}}``; values are JSON, or else words."""
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


def with_compounds(options: dict[str, Any], absorber: Absorber, references: Sequence[Path], foil: Path | None) -> dict[str, Any]:
    """Options with what files of known compounds say; other edges than the paper's take their constants from the tables."""
    if absorber != Absorber():
        options.setdefault("chemistry", {}).setdefault("preset", "chantler")
    if references:
        options.setdefault("references", {})["xdi"] = [path.read_text(encoding="utf-8", errors="replace") for path in references]
    if foil is not None:
        # Numerics that other commands do without.
        from tasks.xanes.references import first_inflection_ev, read_xdi

        edge_ev = absorber.edge_energy_ev
        offset_ev = edge_ev - first_inflection_ev(read_xdi(foil.read_bytes()), edge_ev)
        options.setdefault("align", {})["energy_offset_ev"] = round(offset_ev, 3)
    return options


if __name__ == "__main__":
    sys.exit(app())
