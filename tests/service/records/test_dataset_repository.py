"""The catalogue keeps in step with the stores; what is damaged is named, and hides nothing else."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from service.errors import ConflictError, InvalidInputError, NotFoundError
from service.records.dataset_repository import NO_PROJECT
from service.records.run_inputs import RunInputReader
from service.records.views import DatasetFilter
from storage.catalogue.database import Row
from storage.datasets import folder as dataset_folder
from storage.datasets.scans import ScanInfo, info_of


def described(path: Path, **changed: Any) -> None:
    """Change attributes of a dataset's store by hand; None removes one."""
    content = json.loads(path.read_text())
    attributes = {**content["attributes"], **changed}
    content["attributes"] = {name: value for name, value in attributes.items() if value is not None}
    path.write_text(json.dumps(content))


def views(bench: Any) -> dict[str, Any]:
    """Every dataset that is listed, by its id."""
    return {view.id: view for view in bench.repository.page(None).items}


def test_datasets_copied_in_and_removed_by_hand_are_found_at_the_start(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    gone, kept = bench.fill(1), bench.fill(2)
    shutil.copytree(bench.store.root / kept, bench.store.root / "copied")
    shutil.rmtree(bench.store.root / gone)
    (bench.store.root / "lost+found").mkdir()
    again = make_bench()
    assert set(views(again)) == {kept, "copied"}
    assert [scan.name for scan in views(again)["copied"].scans] == ["e0", "e1"]
    assert again.repository.totals() == (2, 2 * views(again)[kept].n_bytes)


def test_a_folder_without_a_catalogue_is_read_whole(make_bench: Callable[..., Any]) -> None:
    bench = make_bench()
    dataset_id = bench.fill(2)
    bench.datasets.seal(dataset_id)
    before = bench.datasets.get(dataset_id)
    bench.catalogue.close()
    for file in bench.settings.data_dir.glob("catalogue.sqlite*"):
        file.unlink()
    assert make_bench().datasets.get(dataset_id) == before


def test_scans_stored_before_corners_were_kept_are_planned_alike(bench: Any) -> None:
    dataset_id = bench.fill(1)
    before = RunInputReader(bench.repository).read([dataset_id])
    described(bench.store.root / dataset_id / "scans" / "e0" / "zarr.json", corners_m=None)
    bench.repository.refresh(dataset_id)
    assert RunInputReader(bench.repository).read([dataset_id]) == before


def test_what_changes_while_the_service_works_is_seen_when_looked_at(bench: Any) -> None:
    dataset_id, other = bench.fill(1), bench.fill(1)
    shutil.copytree(bench.store.root / other / "scans" / "e0", bench.store.root / dataset_id / "scans" / "extra")
    described(bench.store.root / dataset_id / "scans" / "extra" / "zarr.json", upload="extra", energy_ev=5500.0)
    assert [scan.name for scan in bench.datasets.get(dataset_id).scans] == ["e0", "extra"]
    described(bench.store.root / dataset_id / "zarr.json", title="renamed")
    assert views(bench)[dataset_id].title == "renamed"
    shutil.copytree(bench.store.root / other, bench.store.root / "copied")
    assert bench.datasets.get("copied").scans == bench.datasets.get(other).scans
    shutil.rmtree(bench.store.root / other)
    assert other not in views(bench)
    with pytest.raises(NotFoundError):
        bench.datasets.get(other)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_date(path: Path) -> None:
    described(path, provenance=None)


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "description empty": ("zarr.json", lambda path: path.write_bytes(b"")),
    "description cut": ("zarr.json", cut),
    "description a list": ("zarr.json", lambda path: path.write_bytes(b"[]")),
    "description binary": ("zarr.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "description gone": ("zarr.json", lambda path: path.unlink()),
    "without its date": ("zarr.json", without_date),
    "without its sample": ("zarr.json", lambda path: described(path, sample=None)),
    "infinite distance": ("zarr.json", lambda path: described(path, distance_m=float("inf"))),
    "scan cut": ("scans/e0/zarr.json", cut),
    "scan without energy": ("scans/e0/zarr.json", lambda path: described(path, energy_ev=None)),
    "scan with an energy that is no number": ("scans/e0/zarr.json", lambda path: described(path, energy_ev=float("nan"))),
    "scan with an infinite distance": ("scans/e0/zarr.json", lambda path: described(path, distance_m=float("inf"))),
    "scan with infinitely many entries": ("scans/e0/zarr.json", lambda path: described(path, n_entries=float("inf"))),
    "counts not described": ("scans/e0/counts/zarr.json", lambda path: path.unlink()),
    "counts of another kind": ("scans/e0/counts/zarr.json", lambda path: path.write_text('{"shape": [3]}')),
    "scans gone": ("scans", lambda path: shutil.rmtree(path)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_dataset_is_listed_as_such_and_no_other_suffers(make_bench: Callable[..., Any], kind: str) -> None:
    bench = make_bench()
    whole, victim = bench.fill(1), bench.fill(2)
    bench.datasets.seal(victim)
    before, known = views(bench)[whole], views(bench)[victim].scans
    name, damage = DAMAGE[kind]
    kept = shutil.copytree(bench.store.root / victim, bench.settings.data_dir / "kept")
    damage(bench.store.root / victim / name)
    for one in (bench, make_bench()):
        listed = views(one)
        assert listed[whole] == before
        assert listed[victim].state == "damaged"
        assert (listed[victim].title, listed[victim].scans) == ("particle 1", known)
        assert listed[victim].faults
        assert one.datasets.get(victim).state == "damaged"
        assert one.repository.totals()[0] == 2
        with pytest.raises(ConflictError, match=r"is damaged: .* restore it from a copy, or delete it"):
            one.datasets.seal(victim)
    shutil.rmtree(bench.store.root / victim)
    shutil.copytree(kept, bench.store.root / victim)
    assert (views(bench)[victim].state, views(bench)[victim].faults) == ("sealed", ())


@pytest.mark.parametrize(
    ("table", "column", "content"),
    [
        ("datasets", "attributes", "[]"),
        ("datasets", "attributes", "{"),
        ("datasets", "created", "yesterday"),
        ("scans", "corners_m", "{"),
        ("scans", "corners_m", "[1, 2]"),
    ],
)
def test_a_damaged_row_is_read_again_from_the_store(bench: Any, table: str, column: str, content: str) -> None:
    dataset_id, before = bench.fill(1), views(bench)
    with sqlite3.connect(bench.settings.data_dir / "catalogue.sqlite") as database:
        database.execute(f"UPDATE {table} SET {column} = ?", [content])
    assert views(bench) == before
    assert bench.datasets.seal(dataset_id).state == "sealed"


def test_a_damaged_dataset_nobody_knew_belongs_to_no_project(bench: Any) -> None:
    root = zarr.create_group(store=bench.store.root / "foreign", attributes={})
    root.create_group("scans")
    record = bench.repository.get("foreign")
    assert (record.project, record.state) == (NO_PROJECT, "damaged")
    assert bench.datasets.within("default").page().items == ()
    bench.datasets.delete("foreign")
    assert views(bench) == {}


def test_an_upload_reads_no_scan_that_is_known(bench: Any, scan_bytes: Callable[..., bytes], monkeypatch: Any) -> None:
    dataset_id = bench.fill(3)
    path = bench.settings.data_dir / "new.npz"
    path.write_bytes(scan_bytes(5500.0))
    known = bench.repository.get(dataset_id).scans
    read: list[str] = []

    def note_and_read(path: Path) -> ScanInfo:
        read.append(path.name)
        return info_of(path)

    monkeypatch.setattr(dataset_folder, "info_of", note_and_read)
    bench.store.add_scan(dataset_id, "new", path, known=known)
    bench.repository.add_scans(dataset_id, ["new"])
    assert set(read) == {"new"}
    assert [scan.name for scan in bench.repository.get(dataset_id).scans] == ["e0", "e1", "e2", "new"]


def test_the_catalogue_is_not_read_again_for_every_scan_that_arrives(
    bench: Any, scan_bytes: Callable[..., bytes], monkeypatch: Any
) -> None:
    dataset = bench.fill(3)
    bench.datasets.get(dataset)
    read: list[str] = []
    table = bench.repository._table
    scans_of = table.scans

    def note_and_read(names: Sequence[str]) -> dict[str, list[Row]]:
        read.extend(names)
        found: dict[str, list[Row]] = scans_of(names)
        return found

    monkeypatch.setattr(table, "scans", note_and_read)
    for name, energy_ev in (("later", 5500.0), ("last", 5510.0)):
        bench.put(dataset, name, scan_bytes(energy_ev))
    assert [scan.name for scan in bench.datasets.get(dataset).scans] == ["e0", "e1", "e2", "later", "last"]
    assert read == []


def test_datasets_are_searched_for(bench: Any) -> None:
    first = bench.fill(0, title="Iron oxide", sample={"name": "p1", "formula": "Fe2O3V", "group": "aged"})
    bench.fill(0)
    found = bench.datasets.page(matching=DatasetFilter(text="iron", group="aged")).items
    assert [view.id for view in found] == [first]


ASSUMED = "neither the file nor the dataset describes the probe; assumed: KB mirrors, 300 nm, in focus"


def test_a_probe_that_nobody_described_is_told_of_every_scan_the_dataset_and_its_runs(bench: Any) -> None:
    dataset_id = bench.fill(2)
    view = bench.datasets.get(dataset_id)
    assert [scan.warnings for scan in view.scans] == [(ASSUMED,)] * 2
    assert view.warnings == (ASSUMED,)
    (listed,) = bench.repository.page(None).items
    assert listed.warnings == (ASSUMED,)
    assert RunInputReader(bench.repository).read([dataset_id])[0].warnings == (ASSUMED,)


@pytest.mark.parametrize("probe", [{"kind": "kb"}, {"kind": "gaussian", "fwhm_m": 2e-7}])
def test_a_described_probe_is_no_assumption(bench: Any, probe: dict[str, Any]) -> None:
    assert bench.datasets.get(bench.fill(1, probe=probe)).warnings == ()


def test_a_probe_in_the_files_is_no_assumption_and_must_be_there_where_it_is_announced(
    bench: Any, scan_bytes: Callable[..., bytes]
) -> None:
    with_probe = scan_bytes(probe=np.ones((32, 32), np.complex64))
    silent, announced = bench.fill(0), bench.fill(0, probe={"kind": "supplied"})
    for dataset_id in (silent, announced):
        assert bench.put(dataset_id, "a", with_probe)[0].warnings == ()
    with pytest.raises(InvalidInputError, match="this one holds none"):
        bench.put(announced, "b", scan_bytes(5430.0))
    for nothing in (np.zeros((32, 32)), np.full((32, 32), np.nan)):
        with pytest.raises(InvalidInputError, match="probe"):
            bench.put(silent, "b", scan_bytes(5430.0, probe=nothing))
