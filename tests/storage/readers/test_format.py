"""What is recognised as which format, however it was packed, and how the rest is refused."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from places import on_disk

from storage.datasets.store import DatasetStore
from storage.errors import InvalidScanError, UnknownFormatError
from storage.readers.format import open_scan


def packed(folder: Path, target: Path, style: str) -> Path:
    """A ZIP of a folder's files as different programs make it."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                if style == "finder":
                    archive.writestr(f"{folder.name}/{name}/", b"")
                continue
            if style == "flat":
                archive.write(path, name)
            elif style == "folder":
                archive.write(path, f"{folder.name}/{name}")
            elif style == "folders":
                archive.write(path, f"2024/may/{folder.name}/{name}")
            elif style == "finder":
                archive.write(path, f"{folder.name}/{name}")
                archive.writestr(f"__MACOSX/{folder.name}/._{name}", b"\0\5\26\7junk")
            else:
                entry = zipfile.ZipInfo("x")
                entry.filename = f"{folder.name}\\{name}".replace("/", "\\")
                archive.writestr(entry, path.read_bytes())
        if style == "finder":
            archive.writestr(f"{folder.name}/.DS_Store", b"\0\0\0\1Bud1")
    return target


def eiger(folder: Path, files: Any) -> None:
    given = files.measurement()
    with h5py.File(folder / "s_data_000001.h5", "w") as file:
        file["entry/data/data"] = given["counts"].astype(np.uint32)
    with h5py.File(folder / "s_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("s_data_000001.h5", "/entry/data/data")
        detector = file.create_group("entry/instrument/detector")
        detector["detectorSpecific/photon_energy"] = given["energy_ev"]
        detector["detector_distance"], detector["x_pixel_size"] = given["distance_m"], given["detector_pixel_size_m"]
        detector["y_pixel_size"] = given["detector_pixel_size_m"]
    np.save(folder / "positions_m.npy", given["positions_m"])


def arrays(folder: Path, files: Any) -> None:
    for name, value in files.measurement().items():
        np.save(folder / f"{name}.npy", value)


def zarr_dataset(folder: Path, files: Any) -> None:
    store = DatasetStore(folder.parent / "other")
    store.create("x", {})
    store.add_scan("x", "a", files.npz(folder.parent / "x.npz"))
    shutil.copytree(on_disk(store.root) / "x", folder, dirs_exist_ok=True)
    (folder / ".lock").unlink()


def cxi(folder: Path, files: Any) -> None:
    files.cxi(folder / "scan.cxi")
    (folder / "README.txt").write_text("taken in the night")


def plain(folder: Path, files: Any) -> None:
    files.plain(folder / "scan.h5")


@pytest.mark.parametrize("style", ["flat", "folder", "folders", "finder", "backslashes"])
@pytest.mark.parametrize("content", [eiger, arrays, zarr_dataset, cxi, plain])
def test_a_measurement_is_read_however_it_was_packed(
    store: DatasetStore, files: Any, tmp_path: Path, content: Any, style: str
) -> None:
    folder = tmp_path / "measured"
    folder.mkdir()
    content(folder, files)
    (info,) = store.add_scan("ds_1", "a", packed(folder, tmp_path / "upload.zip", style)).scans
    scan, given = store.read_scan("ds_1", "a"), files.measurement()
    np.testing.assert_array_equal(scan["counts"], given["counts"])
    np.testing.assert_allclose(scan["positions_m"], given["positions_m"])
    assert info.energy_ev == pytest.approx(5420.0)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".staging")] == []


@pytest.mark.parametrize("form", ["npz", "plain"])
@pytest.mark.parametrize("raster", [(2, 3), (3, 2), (1, 6)])
def test_rows_of_a_raster_are_read_in_every_container(
    store: DatasetStore, files: Any, tmp_path: Path, form: str, raster: tuple[int, int]
) -> None:
    given = files.measurement()
    counts, positions = given["counts"].reshape(*raster, 16, 16), given["positions_m"].reshape(*raster, 2)
    for name, ordered in (("last", positions), ("first", np.moveaxis(positions, -1, 0))):
        store.create(name, {})
        path = getattr(files, form)(tmp_path / f"{name}.npz", counts=counts, positions_m=np.ascontiguousarray(ordered))
        store.add_scan(name, "a", path)
        scan = store.read_scan(name, "a")
        np.testing.assert_array_equal(scan["counts"], given["counts"])
        np.testing.assert_allclose(scan["positions_m"], given["positions_m"])


@pytest.mark.parametrize("fields", [("positions_m",), ("counts",), ("positions_m", "counts")])
def test_fortran_order_is_the_same_numbers(store: DatasetStore, files: Any, tmp_path: Path, fields: tuple[str, ...]) -> None:
    given = files.measurement()
    changed = {name: np.asfortranarray(given[name]) for name in fields}
    if "positions_m" in fields:
        y, x = given["positions_m"].T
        changed["positions_m"] = np.array([y, x]).T
    store.add_scan("ds_1", "a", files.npz(tmp_path / "a.npz", **changed))
    scan = store.read_scan("ds_1", "a")
    np.testing.assert_array_equal(scan["counts"], given["counts"])
    np.testing.assert_allclose(scan["positions_m"], given["positions_m"])


def test_several_files_in_one_archive_are_several_scans(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    folder = tmp_path / "measured"
    folder.mkdir()
    files.cxi(folder / "a.cxi", energy_ev=5430.0)
    files.plain(folder / "b.h5", energy_ev=5440.0)
    added = store.add_scan("ds_1", "both", packed(folder, tmp_path / "upload.zip", "folder"))
    assert sorted(round(info.energy_ev, 3) for info in added.scans) == [5430.0, 5440.0]
    files.cxi(folder / "a.cxi", energy_ev=5450.0, distance_m=-1.0)
    with pytest.raises(InvalidScanError, match=r"a\.cxi entry_1\.distance_m: must be positive"):
        store.add_scan("ds_1", "again", packed(folder, tmp_path / "upload.zip", "folder"))


@pytest.mark.parametrize("name", ["notes.txt", "a/b.csv"])
def test_an_archive_of_something_else_is_named_by_what_it_holds(files: Any, tmp_path: Path, name: str) -> None:
    path = files.zip(tmp_path / "f", {name: b"1", ".DS_Store": b"2"})
    with pytest.raises(UnknownFormatError, match=rf"it holds \['{Path(name).name}'\]"), open_scan(path):
        pass


def test_hdf5_of_something_else_is_named_by_what_it_holds(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["wanderung"] = 1
        h5py.h5g.create(file.id, b"V\xf6gel")
    with pytest.raises(UnknownFormatError, match="it holds 'Vögel', 'wanderung'"), open_scan(tmp_path / "f"):
        pass
