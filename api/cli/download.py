"""Commands that take a run's results and figures away as files: results, figures."""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from api.cli.terminal import Key, Url, console, plain_errors, safe
from api.client.ptyxas import LOCAL, Client

commands = typer.Typer()

BY_SUFFIX: Final = {".h5": "nexus", ".nxs": "nexus", ".nc": "netcdf", ".cxi": "cxi", ".ptyr": "ptyr"}
"""Format of a file, where its name says it."""


@commands.command()
def results(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    to: Annotated[
        Path, typer.Option("--to", help="Folder NAME.zarr, or file NAME.h5, .nxs, .nc, .cxi, .ptyr or other.", show_default=False)
    ],
    form: Annotated[
        str | None,
        typer.Option("--format", help="A format of docs/exports.md, such as csv; by default what the name says."),
    ] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="The only dataset of the file.")] = None,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Copy a run's results to a Zarr store, or to a file of another program."""
    with plain_errors(), Client(url, key) as client:
        form = form or BY_SUFFIX.get(to.suffix)
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
    console.print(f"{safe(to)} ({n_bytes / 1e6:.1f} MB read)", highlight=False, soft_wrap=True)


@commands.command()
def figures(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
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
    nodes = json.loads(root)["consolidated_metadata"]["metadata"]
    n_bytes = write(folder, "zarr.json", root)
    for name, node in nodes.items():
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
