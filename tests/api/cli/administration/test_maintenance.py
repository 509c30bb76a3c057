"""gc, verify and backup, as an operator types them."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from api.cli.terminal import plain
from service.records.run_repository import RunRepository
from service.settings import Settings
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from storage.references import ReferenceStore
from storage.results import Group, write_results
from tasks.options.run import RunOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one run, its sealed results and one unit that nobody needs."""
    settings = Settings(data_dir=tmp_path / "data")
    (settings.data_dir / "units").mkdir(parents=True)
    ArtifactStore(settings.data_dir / "units").write("orphan", {"x": np.ones(1000)}, {})
    catalogue = Catalogue(settings.catalogue_url)
    RunRepository(catalogue).open_run("run_1", "first", ["ds_gone"], RunOptions())
    catalogue.close()
    plane = {"y": np.arange(8) * 1e-8, "x": np.arange(8) * 1e-8}
    tree = {"ds_a/maps": Group(plane, {"edge_energy": np.ones((8, 8), np.float32)})}
    write_results(settings.data_dir / "runs" / "run_1" / "results.zarr", tree, {})
    store = DatasetStore(settings.location("datasets"))
    store.create("ds_a", {"title": "a"})
    positions_m = np.stack(np.meshgrid(np.arange(2.0), np.arange(3.0)), -1).reshape(-1, 2) * 1e-7
    lengths: dict[str, Any] = {"energy_ev": 5420.0, "distance_m": 1.5, "detector_pixel_size_m": 75e-6}
    np.savez(tmp_path / "scan.npz", counts=np.ones((6, 16, 16), np.uint16), positions_m=positions_m, **lengths)
    store.add_scan("ds_a", "a", tmp_path / "scan.npz")
    return settings.data_dir


def test_gc_shows_first_and_removes_only_when_told(folder: Path) -> None:
    assert "nothing was touched" not in run("gc", "--data-dir", folder)[1]  # too young
    code, shown = run("gc", "--days", 0, "--data-dir", folder)
    assert code == 0
    assert "nothing was touched" in shown
    assert ArtifactStore(folder / "units").has("orphan")
    assert "removed" in run("gc", "--days", 0, "--remove", "--data-dir", folder)[1]
    assert ArtifactStore(folder / "units").keys() == []


def test_gc_of_another_folder_is_refused(tmp_path: Path) -> None:
    code, shown = run("gc", "--data-dir", tmp_path)
    assert code == 1
    assert "is not the data_dir" in shown
    assert list(tmp_path.iterdir()) == []


def test_verify_finds_one_changed_byte_and_one_lost_file(folder: Path) -> None:
    assert run("verify", "--steps", "--data-dir", folder) == (0, "1 results, 1 datasets, 1 steps looked at, 3 whole\n")
    assert run("verify", "--no-datasets", "--data-dir", folder) == (0, "1 results looked at, 1 whole\n")
    [chunk] = (folder / "runs/run_1/results.zarr/ds_a/maps/edge_energy/c").rglob("0/0")
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    chunk.write_bytes(content)
    (folder / "units/or/orphan/arrays.bin").unlink()
    code, shown = run("verify", "run_1", "--units", "--data-dir", folder)
    assert code == 1
    assert "edge_energy/c/0/0 holds other bytes than were written" in shown.replace("\n", "")
    assert "arrays.bin is missing" in shown
    assert run("verify", "run_2", "--data-dir", folder)[0] == 1


def test_verify_names_the_scan_whose_measurement_has_changed(folder: Path) -> None:
    [chunk] = (folder / "datasets/ds_a/scans/a/counts/c").rglob("0/0/0")
    chunk.unlink()
    code, shown = run("verify", "--data-dir", folder)
    assert code == 1
    assert "ds_a: scan a: counts/c/0/0/0 is missing" in shown


def test_verify_names_the_reference_that_has_changed(folder: Path) -> None:
    store = ReferenceStore(folder / "references")
    store.keep("p1", {"foil": "#XDI/1.0", "oxide": "#XDI/1.0"})
    assert run("verify", "--data-dir", folder)[0] == 0
    (folder / "references/p1/foil.xdi").write_bytes(b"#XDI\xff")
    code, shown = run("verify", "--data-dir", folder)
    assert code == 1
    assert "reference p1/foil: the reference 'foil' is no longer what was kept" in shown.replace("\n", " ")


@pytest.mark.parametrize("name", ["[red]x", "[[", "[b]", "a\x1b[2Jb"])
def test_names_of_folders_are_shown_as_they_are_and_reach_no_terminal(folder: Path, name: str) -> None:
    renamed = folder.rename(folder.with_name(name))
    (renamed / "runs/run_1/results.zarr/ds_a/maps/edge_energy/zarr.json").write_bytes(b"")
    for arguments in (["verify"], ["verify", "run_1"], ["backup", renamed.with_name("[b]safe")], ["gc", "--days", 0]):
        code, shown = run(*arguments, "--data-dir", renamed)
        assert code in (0, 1)
        assert "\x1b" not in shown
        assert arguments[0] == "gc" or plain(name) in shown.replace("\n", ""), shown


def test_backup_copies_the_catalogue_while_it_is_written(folder: Path, tmp_path: Path) -> None:
    catalogue = Catalogue(Settings(data_dir=folder).catalogue_url)
    with catalogue._database.write():  # a writer in the middle of a transaction
        code, shown = run("backup", tmp_path / "safe", "--data-dir", folder)
    catalogue.close()
    assert code == 0
    assert "datasets" in shown
    [copy] = (tmp_path / "safe").iterdir()
    connection = sqlite3.connect(copy)
    assert connection.execute("select id from runs").fetchall() == [("run_1",)]
    connection.close()


def test_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    code, shown = run("backup", tmp_path / "safe", "--data-dir", tmp_path / "data")
    assert code == 1
    assert "there is no catalogue" in shown


def test_verify_does_not_call_an_empty_folder_whole(tmp_path: Path) -> None:
    code, shown = run("verify", "--data-dir", tmp_path / "elsewhere")
    assert code == 1
    assert "is not the data_dir of a service" in shown
