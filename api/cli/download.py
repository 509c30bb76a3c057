"""Commands that take a run's results and figures away as files: results, figures."""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from itertools import groupby, product
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer

from api.cli.submit import ways_to_read
from api.cli.terminal import AsJson, Key, Run, Url, console, plain_errors, print_facts, print_json, print_table, safe
from api.client.ptyxas import LOCAL, Client

commands = typer.Typer()

BY_SUFFIX: Final = {".h5": "nexus", ".nxs": "nexus", ".nc": "netcdf", ".cxi": "cxi", ".ptyr": "ptyr"}
"""Format of a file, where its name says it."""


class StoredArray(NamedTuple):
    """One array of a run's results, with the extent of each dimension."""

    group: str
    name: str
    dimensions: dict[str, int]
    dtype: str
    units: str
    long_name: str


@commands.command()
def results(
    run: Run,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder NAME.zarr, or file NAME.h5, .nxs, .nc, .cxi, .ptyr or other. Without it: a list."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="A format of docs/exports.md, such as csv; by default what the name says."),
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The only dataset of the file or the list.")] = None,
    as_json: AsJson = False,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """List the arrays of a run's results with their units, or copy all to a Zarr store or to a file of another program."""
    with plain_errors(), Client(url, key) as client:
        if to is not None:
            n_bytes = copy_results(client, run, to, form or BY_SUFFIX.get(to.suffix), dataset)
            console.print(f"{safe(to)} ({n_bytes / 1e6:.1f} MB read)", highlight=False, soft_wrap=True)
        elif form is not None:
            raise ValueError("--format needs the name of the file to write: give --to as well")
        else:
            show_arrays(client, run, dataset, as_json)


def copy_results(client: Client, run: str, to: Path, form: str | None, dataset: str | None) -> int:
    """Copy a run's results to ``to``, which appears once all is there; returns the number of bytes read."""
    if form is None and to.suffix != ".zarr":
        raise ValueError(f"--to must end with .zarr or {', '.join(BY_SUFFIX)}, or --format be given, got {to.name!r}")
    if to.exists():
        raise FileExistsError(f"{to} is there already; choose another name, or remove it")
    with tempfile.TemporaryDirectory(dir=to.resolve().parent, prefix=".ptyxas-") as folder:
        copy = Path(folder) / "results"
        if form is None:
            n_bytes = copy_store(client, run, copy)
        else:
            asked = {"format": form} | ({"dataset": dataset} if dataset else {})
            n_bytes = client.save(f"/runs/{run}/export", copy, params=asked)
        os.rename(copy, to)
    return n_bytes


def show_arrays(client: Client, run: str, dataset: str | None, as_json: bool) -> None:
    """Print the arrays of a run's results, of one dataset or of all, and on a terminal how to get at them."""
    nodes = nodes_of(client.read(f"/runs/{run}/results.zarr/zarr.json"))
    found = [one for one in arrays_of(nodes) if dataset is None or one.group.startswith(f"{dataset}/")]
    if dataset is not None and not found:
        raise ValueError(f"{run} is not on a dataset {dataset}; it is on {', '.join(client.run(run)['datasets'])}")
    if as_json:
        print_json([one._asdict() for one in found])
    elif console.is_terminal:
        for group, arrays in groupby(found, lambda one: one.group):
            show_group(group, nodes[group].get("attributes", {}).get("title", ""), list(arrays))
        print_facts(ways_to_read(client, run))
    else:
        sizes = [" ".join(f"{dim}={n}" for dim, n in one.dimensions.items()) for one in found]
        print_table(StoredArray._fields, [(*one[:2], size, *one[3:]) for one, size in zip(found, sizes, strict=True)])


def show_group(group: str, title: str, arrays: list[StoredArray]) -> None:
    """Print the arrays of one group on a terminal, and the extents of their dimensions."""
    extents = {dim: n for one in arrays for dim, n in one.dimensions.items()}
    sizes = ", ".join(f"{dim} {n}" for dim, n in extents.items())
    console.print(f"[bold]{safe(group)}[/] {safe(title)}\n{safe(sizes)}", highlight=False, soft_wrap=True)
    shown = [one for one in arrays if list(one.dimensions) != [one.name]]  # coordinates are there for every dimension
    rows = [(one.name, ", ".join(one.dimensions), "" if one.units == "1" else one.units, one.long_name) for one in shown]
    print_table(("name", "dimensions", "unit", "meaning"), rows)
    console.print()


def nodes_of(root: bytes) -> dict[str, Any]:
    """Description of every group and array of a store by its path, from the description of its root."""
    nodes: dict[str, Any] = json.loads(root)["consolidated_metadata"]["metadata"]
    return nodes


def arrays_of(nodes: Mapping[str, Any]) -> list[StoredArray]:
    """Every array that is described, those of a group one after the other, datasets before what they share."""
    found = []
    for path, node in sorted(nodes.items(), key=lambda item: ("/" not in item[0].rpartition("/")[0], item[0].rpartition("/"))):
        if node["node_type"] == "array":
            group, _, name = path.rpartition("/")
            dimensions = dict(zip(node["dimension_names"], node["shape"], strict=True))
            about = [str(node["attributes"].get(what, "")) for what in ("units", "long_name")]
            found.append(StoredArray(group, name, dimensions, str(node["data_type"]), *about))
    return found


@commands.command()
def figures(
    run: Run,
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the files; by default the run's id.")] = None,
    file_format: Annotated[
        Literal["png", "pdf", "svg"], typer.Option("--format", help="PDF and SVG have text as text and maps as embedded images.")
    ] = "png",
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Copy a run's figures to a folder."""
    with plain_errors(), Client(url, key) as client:
        titles = {figure["name"]: figure["title"] for figure in client.call("GET", f"/runs/{run}/figures")["items"]}
        for file in client.figures(run, to or Path(client.run(run)["id"]), file_format):
            console.print(f"{safe(file)}  {safe(titles.get(file.stem, ''))}", highlight=False, soft_wrap=True)


def copy_store(client: Client, run: str, folder: Path) -> int:
    """Copy every file of a run's results store; returns the number of bytes read."""
    url, root = f"/runs/{run}/results.zarr", client.read(f"/runs/{run}/results.zarr/zarr.json")
    n_bytes = write(folder, "zarr.json", root)
    for name, node in nodes_of(root).items():
        for key in (f"{name}/zarr.json", *(f"{name}/{chunk}" for chunk in chunk_keys(node))):
            n_bytes += write(folder, key, client.read(f"{url}/{key}"))
    return n_bytes


def write(folder: Path, key: str, content: bytes) -> int:
    """Write one file below a folder; returns its size.

    Raises
    ------
    ValueError
        The key leads out of the folder.
    """
    file = folder / key
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"the service named a file outside the store: {key!r}")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.write_bytes(content)


def chunk_keys(node: Mapping[str, Any]) -> Iterator[str]:
    """Keys of all chunks of an array, by its metadata (Zarr v3); none of a group."""
    if node["node_type"] == "array":
        shape, chunk_shape = node["shape"], node["chunk_grid"]["configuration"]["chunk_shape"]
        counts = [math.ceil(n / size) for n, size in zip(shape, chunk_shape, strict=True)]
        yield from ("/".join(["c", *map(str, place)]) for place in product(*(range(n) for n in counts)))
