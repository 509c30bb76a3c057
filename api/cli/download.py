"""Commands that take a run's results and figures away as files: results, figures."""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from api.cli.client import Client
from api.cli.terminal import LOCAL, Key, Url, console, plain_errors, safe

if TYPE_CHECKING:
    import h5py
    import zarr

commands = typer.Typer()

SUFFIXES: Final = (".zarr", ".h5")


@commands.command()
def results(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    to: Annotated[Path, typer.Option("--to", help="Folder NAME.zarr, or file NAME.h5.", show_default=False)],
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Copy a run's results to a Zarr store or an HDF5 file."""
    with plain_errors(), Client(url, key) as client:
        if to.suffix not in SUFFIXES:
            raise ValueError(f"--to must end with {' or '.join(SUFFIXES)}, got {to.name!r}")
        if to.exists():
            raise FileExistsError(f"{to} is there already; choose another name, or remove it")
        with tempfile.TemporaryDirectory(dir=to.resolve().parent, prefix=".ptyxas-") as folder:
            store = Path(folder) / "results.zarr"
            n_bytes = copy_store(client, run, store)
            if to.suffix == ".h5":
                write_hdf5(store, store.with_suffix(".h5"))
                store = store.with_suffix(".h5")
            os.rename(store, to)
    console.print(f"{safe(to)} ({n_bytes / 1e6:.1f} MB read)", highlight=False, soft_wrap=True)


@commands.command()
def figures(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the PNG files; by default the run's id.")] = None,
    url: Url = LOCAL,
    key: Key = None,
) -> None:
    """Copy a run's figures to a folder."""
    with plain_errors(), Client(url, key) as client:
        listed = client.call("GET", f"/runs/{run}/figures")["items"]
        folder = to or Path(client.run(run)["id"])
        folder.mkdir(parents=True, exist_ok=True)
        for figure in listed:
            file = folder / f"{Path(figure['name']).name}.png"
            file.write_bytes(client.read(f"/runs/{run}/figures/{figure['name']}.png"))
            console.print(f"{safe(file)}  {safe(figure['title'])}", highlight=False, soft_wrap=True)


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


def write_hdf5(store: Path, target: Path) -> None:
    """Write a results store as HDF5: the same groups, arrays and attributes, with dimension scales."""
    import h5py
    import zarr

    partial = target.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        group = zarr.open_group(store, mode="r")
        copy_group(group, file)
    shutil.move(partial, target)


def copy_group(source: "zarr.Group", target: "h5py.Group") -> None:
    """Copy a group with all below it, and attach each array's coordinates as dimension scales."""
    import numpy as np
    from h5py import string_dtype

    target.attrs.update({name: hdf5_value(value) for name, value in source.attrs.items()})
    dims: dict[str, tuple[str, ...]] = {}
    for name, array in source.arrays():
        values = np.asarray(array[...])
        is_text = values.dtype.kind in "TUO"
        stored = {"data": values.astype(object), "dtype": string_dtype()} if is_text else {"data": values}
        copied = target.create_dataset(name, **stored)
        copied.attrs.update({key: hdf5_value(value) for key, value in array.attrs.items()})
        along: Any = array.metadata.to_dict().get("dimension_names")
        dims[name] = tuple(along or ())
    for name in dims:
        if dims[name] == (name,):
            target[name].make_scale(name)
    for name, names in dims.items():
        for axis, dim in enumerate(names):
            target[name].dims[axis].label = dim
            if dim in dims and dims[dim] == (dim,) and dim != name:
                target[name].dims[axis].attach_scale(target[dim])
    for name, group in source.groups():
        copy_group(group, target.create_group(name))


def hdf5_value(value: object) -> object:
    """An attribute as HDF5 can hold it: numbers and text as they are, all else as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
