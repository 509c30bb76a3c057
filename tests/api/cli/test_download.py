"""Results and figures taken away as files, from a service behind a real server."""

import json
import zipfile
from pathlib import Path
from typing import Any

import click
import h5py
import httpx
import numpy as np
import pytest
import xarray as xr
from command_line import run as run_command

from api.cli.download import StoredArray, chunk_keys, write


def ptyxas(client: httpx.Client, *arguments: str, **environment: str) -> tuple[int, str]:
    return run_command(*arguments, PTYXAS_URL=str(client.base_url), **environment)


def chunks_in(store: Path) -> dict[str, bytes]:
    """The chunks of a store by their keys."""
    files = [path for path in store.rglob("*") if path.is_file() and path.suffix != ".json"]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


def test_results_become_a_zarr_store_that_opens_like_the_services(
    client: httpx.Client, service: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    code, shown = ptyxas(client, "results", finished["id"], "--to", str(tmp_path / "out.zarr"))
    assert code == 0, shown
    original = service.runs.folder / finished["id"] / "results.zarr"
    assert chunks_in(tmp_path / "out.zarr") == chunks_in(original) != {}
    with xr.open_datatree(original, engine="zarr") as mine, xr.open_datatree(tmp_path / "out.zarr", engine="zarr") as theirs:
        xr.testing.assert_identical(mine.load(), theirs.load())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".ptyxas-")] == []


def test_results_become_a_file_of_another_program_by_its_name_or_format(
    client: httpx.Client, service: Any, finished: dict[str, Any], tmp_path: Path
) -> None:
    code, shown = ptyxas(client, "results", finished["id"], "--to", str(tmp_path / "out.h5"))
    assert code == 0, shown
    dataset = finished["datasets"][0]
    original = service.runs.folder / finished["id"] / "results.zarr"
    with h5py.File(tmp_path / "out.h5") as file, xr.open_dataset(original, group=f"{dataset}/maps", engine="zarr") as maps:
        np.testing.assert_array_equal(file[f"{dataset}/maps/edge_energy"][...], maps["edge_energy"].values)
    asked = ("--format", "csv", "--dataset", dataset)
    assert ptyxas(client, "results", finished["id"], "--to", str(tmp_path / "out.zip"), *asked)[0] == 0
    assert "domains.csv" in zipfile.ZipFile(tmp_path / "out.zip").namelist()


def test_without_a_file_every_array_is_listed_with_its_unit(client: httpx.Client, service: Any, finished: dict[str, Any]) -> None:
    run, dataset = finished["id"], finished["datasets"][0]
    code, shown = ptyxas(client, "results", run)
    rows = [tuple(line.split("\t")) for line in shown.splitlines()]
    assert (code, rows[0]) == (0, StoredArray._fields)
    assert (f"{dataset}/maps", "edge_energy", "y=40 x=50", "float32", "eV", "edge energy b2") in rows
    with xr.open_datatree(service.runs.folder / run / "results.zarr", engine="zarr") as tree:
        there = {(group.path[1:], str(name)) for group in tree.subtree for name in group.to_dataset(inherit=False).variables}
    assert {row[:2] for row in rows[1:]} == there
    listed = json.loads(ptyxas(client, "results", run, "--dataset", dataset, "--json")[1])
    assert [one["group"].partition("/")[0] for one in listed] == [dataset] * len(listed)
    assert {"energy": 14, "y": 40, "x": 50} in [one["dimensions"] for one in listed]
    code, shown = ptyxas(client, "results", run, "--dataset", "ds_other")
    assert (code, f"it is on {dataset}" in shown) == (1, True)


def test_on_a_terminal_the_list_says_how_to_get_at_the_arrays(client: httpx.Client, finished: dict[str, Any]) -> None:
    code, shown = ptyxas(client, "results", finished["id"], TTY_COMPATIBLE="1", COLUMNS="80")
    lines = click.unstyle(shown).splitlines()
    assert code == 0
    assert f"{finished['datasets'][0]}/maps made up" in lines
    assert "y 40, x 50" in lines
    assert any(line.split()[:4] == ["edge_energy", "y,", "x", "eV"] for line in lines)
    assert any(line.startswith("copy") and f"ptyxas results {finished['id']} --to" in line for line in lines)


def test_a_format_without_a_file_is_told(client: httpx.Client, finished: dict[str, Any]) -> None:
    code, shown = ptyxas(client, "results", finished["id"], "--format", "csv")
    assert (code, "give --to as well" in shown) == (1, True)


@pytest.mark.parametrize("target", ["out.tif", "out"])
def test_another_kind_of_file_is_refused(client: httpx.Client, finished: dict[str, Any], tmp_path: Path, target: str) -> None:
    code, shown = ptyxas(client, "results", finished["id"], "--to", str(tmp_path / target))
    assert code == 1
    assert "--to must end with .zarr or .h5" in shown


def test_a_format_that_the_service_does_not_know_is_named_and_leaves_nothing(
    client: httpx.Client, finished: dict[str, Any], tmp_path: Path
) -> None:
    code, shown = ptyxas(client, "results", finished["id"], "--to", str(tmp_path / "out"), "--format", "spe")
    assert (code, "must be one of nexus, netcdf" in shown, list(tmp_path.glob("*out*"))) == (1, True, [])


def test_nothing_is_overwritten_and_unpublished_results_leave_nothing(
    client: httpx.Client, run: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "there.zarr").mkdir()
    assert "is there already" in ptyxas(client, "results", run["id"], "--to", str(tmp_path / "there.zarr"))[1]
    code, shown = ptyxas(client, "results", run["id"], "--to", str(tmp_path / "out.zarr"))
    assert (code, "not published" in shown) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["there.zarr"]


def test_figures_are_copied_by_name(client: httpx.Client, finished: dict[str, Any], tmp_path: Path) -> None:
    code, shown = ptyxas(client, "figures", finished["id"], "--to", str(tmp_path / "figures"))
    assert code == 0
    assert "Edge energy" in shown
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["edge_energy.png", "elbow.png"]
    assert (tmp_path / "figures" / "elbow.png").read_bytes().startswith(b"\x89PNG")
    assert ptyxas(client, "figures", finished["id"], "--to", str(tmp_path / "vectors"), "--format", "pdf")[0] == 0
    assert (tmp_path / "vectors" / "elbow.pdf").read_bytes().startswith(b"%PDF")


def test_a_key_that_leads_out_of_the_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside the store"):
        write(tmp_path / "out", "../x", b"")


def test_every_chunk_of_an_array_has_its_key() -> None:
    grid = {"configuration": {"chunk_shape": [2, 5]}}
    assert list(chunk_keys({"node_type": "array", "shape": [3, 5], "chunk_grid": grid})) == ["c/0/0", "c/1/0"]
    assert list(chunk_keys({"node_type": "array", "shape": [], "chunk_grid": {"configuration": {"chunk_shape": []}}})) == ["c"]
    assert list(chunk_keys({"node_type": "group"})) == []
