"""Commands about what a service has: start a run on stored datasets, list, show, cancel, retry and delete."""

import webbrowser
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from api.cli.run_options import Foil, OptionList, OptionsFile, References, check_options, read_options, with_compounds
from api.cli.submit import show_submitted
from api.cli.terminal import (
    AsJson,
    Key,
    Run,
    Url,
    console,
    format_bytes,
    format_time,
    plain_errors,
    print_json,
    print_table,
    safe,
    show_warning,
)
from api.client.ptyxas import LOCAL, Client

commands = typer.Typer()

Limit = Annotated[int, typer.Option(min=1, max=500, help="Most items shown.")]
Search = Annotated[str | None, typer.Option("--search", "-q", help="Part of the title or name, of the sample, or of the id.")]
State = Annotated[str | None, typer.Option(help="Only those in this state.")]


@commands.command()
def run(
    datasets: Annotated[
        list[str] | None, typer.Argument(help="Ids of datasets, which are analysed together.", show_default=False)
    ] = None,
    like: Annotated[str | None, typer.Option(help="A run whose options, and datasets where none are given, are taken.")] = None,
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
    """Start a run on datasets that the service has; what an earlier run finished is not computed again."""
    with plain_errors(), Client(url, key) as client:
        from tasks.scattering import Absorber

        options = read_options(options_file, option or [])
        earlier = client.run(like) if like else None
        chosen = datasets or (earlier["datasets"] if earlier else [])
        if not chosen:
            raise ValueError("name a dataset, or a run by --like")
        if earlier:
            options = merged(earlier["options"], options)
        absorber = Absorber(**client.dataset(chosen[0])["absorber"])
        submitted = client.submit(chosen, check_options(with_compounds(options, absorber, reference or [], foil)), name)
        show_submitted(client, submitted, watch, as_json)


def merged(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Options with some of them changed; another preset takes the place of all."""
    if "preset" in changes:
        return changes
    stages = {
        name: {**values, **changes.get(name, {})} if isinstance(values, dict) else values for name, values in options.items()
    }
    return changes | stages


@commands.command()
def datasets(
    search: Search = None,
    element: Annotated[str | None, typer.Option(help="Only those with this absorber.")] = None,
    group: Annotated[str | None, typer.Option(help="Only those of this group.")] = None,
    label: Annotated[str | None, typer.Option(help="Only those with this label.")] = None,
    state: State = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """List the datasets of the service, or those that are searched for, newest first."""
    with plain_errors(), Client(url, key) as client:
        items = client.items("/datasets", limit, q=search, element=element, group=group, label=label, state=state)
    if console.is_terminal:
        print_items(items, as_json, ("id", "state", "title", "formula", "group", "energies", "size"), dataset_line)
    else:
        columns = ("id", "state", "title", "formula", "group", "energies", "from_ev", "to_ev", "bytes")
        print_items(items, as_json, columns, dataset_row)


@commands.command()
def runs(
    search: Search = None,
    dataset: Annotated[str | None, typer.Option(help="Only those on the dataset of this id.")] = None,
    state: State = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """List the runs of the service, or those that are searched for, newest first."""
    with plain_errors(), Client(url, key) as client:
        items = client.items("/runs", limit, q=search, dataset=dataset, state=state)
    print_items(items, as_json, ("id", "state", "done", "created_utc", "name"), run_row)


@commands.command()
def show(
    item: Annotated[str, typer.Argument(metavar="ID", help="Id of a run or a dataset.")],
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Show one run or one dataset."""
    with plain_errors(), Client(url, key) as client:
        found = client.call("GET", path_of(item))
    if as_json:
        print_json(found)
    elif "stages" in found:
        show_a_run(found)
    else:
        show_a_dataset(found)


@commands.command()
def cancel(run: Run, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """Stop a run; what is finished is kept."""
    act(lambda client: client.call("POST", f"/runs/{run}/cancel"), as_json, url, key)


@commands.command()
def retry(run: Run, as_json: AsJson = False, url: Url = LOCAL, key: Key = None) -> None:
    """Go on with a failed or cancelled run from its finished steps."""
    act(lambda client: client.call("POST", f"/runs/{run}/retry"), as_json, url, key)


@commands.command()
def delete(
    items: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of runs or datasets.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Delete runs with their results, or datasets with their scans."""
    with plain_errors(), Client(url, key) as client:
        for item in items:
            found = client.call("GET", path_of(item))
            if yes or typer.confirm(f"delete {safe(item)} ({safe(found.get('title') or found.get('name'))})?", abort=True):
                client.call("DELETE", path_of(item))
                console.print(f"deleted {safe(item)}", highlight=False)


@commands.command(name="open")
def open_page(run: Run, url: Url = LOCAL, key: Key = None) -> None:
    """Open the page of a run in the web browser, and print its address."""
    with plain_errors(), Client(url, key) as client:
        address = f"{client.url}/?run={client.run(run)['id']}"
    print(address)
    webbrowser.open(address)


def act(action: Callable[[Client], dict[str, Any]], as_json: bool, url: str, key: str | None) -> None:
    """Do something to a run, and print what it is now."""
    with plain_errors(), Client(url, key) as client:
        found = action(client)
    if as_json:
        print_json(found)
    else:
        console.print(f"{safe(found['id'])} {safe(found['state'])}", highlight=False)


def path_of(item: str) -> str:
    """Path of a run or a dataset in the API, by its id.

    Raises
    ------
    ValueError
        It is the id of neither.
    """
    for prefix, path in (("run_", "/runs"), ("ds_", "/datasets")):
        if item.startswith(prefix) and item.replace("_", "").isalnum():
            return f"{path}/{item}"
    raise ValueError(f"an id begins with run_ or ds_, got {item!r}; `ptyxas runs` and `ptyxas datasets` list them")


def dataset_line(item: dict[str, Any]) -> tuple[object, ...]:
    """One line of the list of datasets on a terminal."""
    *about, n_energies, _, _, n_bytes = dataset_row(item)
    return (*about, n_energies, format_bytes(n_bytes))


def dataset_row(item: dict[str, Any]) -> tuple[Any, ...]:
    """One line of the list of datasets in a pipe."""
    energies_ev = item["energies_ev"]
    ends = (f"{energies_ev[0]:.1f}", f"{energies_ev[-1]:.1f}") if energies_ev else ("", "")
    sample = item["sample"]
    about = (item["id"], item["state"], item["title"], sample.get("formula", ""), sample.get("group", ""))
    return (*about, len(energies_ev), *ends, item["n_bytes"])


def run_row(item: dict[str, Any]) -> tuple[object, ...]:
    """One line of the list of runs."""
    return item["id"], item["state"], f"{item['progress']:.0%}", format_time(item["created"]), item["name"]


def print_items(
    items: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...], row: Callable[[dict[str, Any]], tuple[object, ...]]
) -> None:
    """Print what a list holds as JSON, or as a table with a line for each."""
    if as_json:
        print_json(items)
    elif not items and console.is_terminal:
        console.print("none found")
    else:
        print_table(columns, [row(item) for item in items])


def show_a_run(found: dict[str, Any]) -> None:
    """Print a run: its state, its datasets and its stages, with their warnings."""
    reason = f": {safe(found['error'])}" if found["error"] else ""
    on = ", ".join(safe(one) for one in found["datasets"])
    created = f"created {format_time(found['created'])} UTC"
    if found["started"] and found["finished"]:
        took = datetime.fromisoformat(found["finished"]) - datetime.fromisoformat(found["started"])
        # Where the machine's clock was put back meanwhile, nobody knows.
        created += f", took {timedelta(seconds=round(took.total_seconds()))}" if took >= timedelta() else ""
    lines = (f"[bold]{safe(found['id'])}[/] {safe(found['name'])}", f"{safe(found['state'])}{reason}", created, f"datasets {on}")
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
    rows = [(one["name"], one["state"], f"{one['done']}/{one['total']}", one["note"] or "") for one in found["stages"]]
    print_table(("stage", "state", "done", "note"), rows)


def show_a_dataset(found: dict[str, Any]) -> None:
    """Print a dataset: what it is of, its warnings and its scans."""
    absorber = f"{found['absorber'].get('element', '')} {found['absorber'].get('edge', '')}"
    about = f"{safe(found['sample'].get('formula', ''))}, {safe(absorber)}, {found['state']}"
    console.print(f"[bold]{safe(found['id'])}[/] {safe(found['title'])}\n{about}", highlight=False, soft_wrap=True)
    for text in [f"{fault['field']}: {fault['message']}" for fault in found["faults"]] + found["warnings"]:
        show_warning(text, console)
    names = ("name", "energy_ev", "n_positions", "n_pixels", "n_bytes")
    print_table(names, [tuple(scan[name] for name in names) for scan in rounded(found["scans"])])


def rounded(scans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Scans with their energies to a thousandth of an electronvolt."""
    return [scan | {"energy_ev": round(scan["energy_ev"], 3)} for scan in scans]
