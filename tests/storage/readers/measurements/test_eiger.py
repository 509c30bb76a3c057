import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from storage.datasets.store import DatasetStore
from storage.errors import HostileFileError, InvalidScanError, UnknownFormatError
from storage.readers.format import open_scan

P, NY, NX = 6, 24, 20
SPECIFIC = "entry/instrument/detector/detectorSpecific"


def frames() -> np.ndarray:
    counts = np.random.default_rng(2).poisson(5, (P, NY, NX)).astype(np.uint32)
    counts[:, 0, 0] = 2**32 - 1
    counts[3, 20, 10] = 2**32 - 1
    return counts


def positions() -> np.ndarray:
    return 1e-7 * np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2.0]])


def write_eiger(folder: Path, series: str = "series_1", energy_ev: float = 5420.0, compression: Any = None) -> Path:
    """A master, two data files of 4 and 2 frames; return the master's path."""
    folder.mkdir(exist_ok=True)
    compression = compression or hdf5plugin.Bitshuffle(cname="lz4")
    for index, part in enumerate((frames()[:4], frames()[4:]), 1):
        with h5py.File(folder / f"{series}_data_{index:06d}.h5", "w") as file:
            file.create_dataset("entry/data/data", data=part, chunks=(1, NY, NX), compression=compression)
    master = folder / f"{series}_master.h5"
    bad = np.zeros((NY, NX), np.uint32)
    bad[0, 0] = 1
    with h5py.File(master, "w") as file:
        detector = file.create_group("entry/instrument/detector")
        for index in (2, 1):
            name = f"data_{index:06d}"
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"{series}_{name}.h5", "/entry/data/data")
        detector["detectorSpecific/photon_energy"] = energy_ev
        detector["detectorSpecific/pixel_mask"] = bad
        detector["detector_distance"] = 1.5
        detector["x_pixel_size"] = detector["y_pixel_size"] = np.float32(75e-6)
        detector["beam_center_x"], detector["beam_center_y"] = 9.6, 13.2
    return master


def as_text(path: Path) -> None:
    rows = "\n".join(f"{x!r}, {y!r}" for y, x in positions().tolist())
    path.write_text(f"# x_m, y_m\n{rows}\n")


def as_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["positions_m"] = positions()


def as_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, positions())


def as_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, positions_m=positions())


def zip_of(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"bundle/{path.name}")
    return target


@pytest.mark.parametrize("zipped", [False, True])
def test_a_scan_is_put_together_and_cropped_about_the_beam(store: DatasetStore, tmp_path: Path, zipped: bool) -> None:
    folder = tmp_path / "series"
    write_eiger(folder)
    as_text(folder / "stage.csv")
    path = zip_of(folder, tmp_path / "upload") if zipped else folder
    (info,) = store.add_scan("ds_1", "a", path).scans
    scan = store.read_scan("ds_1", "a")
    assert (info.energy_ev, info.n_pixels) == (5420.0, 20)
    rows, columns = slice(3, 23), slice(0, 20)
    expected = frames()[:, rows, columns].copy()
    expected[:, 17, 10] = 0
    np.testing.assert_array_equal(scan["counts"], expected)
    assert scan["counts"].dtype == np.uint16
    assert np.argwhere(~scan["mask"]).tolist() == [[17, 10]]
    np.testing.assert_allclose(scan["positions_m"], positions())
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".staging")) == []


@pytest.mark.parametrize("writer", [as_text, as_hdf5, as_npy, as_npz])
def test_positions_come_in_any_of_the_forms(tmp_path: Path, writer: Callable[[Path], None]) -> None:
    write_eiger(tmp_path / "s")
    writer(tmp_path / "s" / "positions")
    with open_scan(tmp_path / "s") as (source,):
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, positions())
        assert source.faults == ()


def test_frames_are_read_across_files(tmp_path: Path) -> None:
    write_eiger(tmp_path / "s")
    as_text(tmp_path / "s" / "positions.txt")
    with open_scan(tmp_path / "s") as (source,):
        assert source.frames is not None
        assert source.frames.shape == (P, NY, NX)
        np.testing.assert_array_equal(source.frames[3:5], frames()[3:5])
        np.testing.assert_array_equal(source.frames[4:9], frames()[4:])
        assert source.frames[2:2].shape == (0, NY, NX)


@pytest.mark.parametrize("compression", [hdf5plugin.LZ4(), hdf5plugin.Zstd(), hdf5plugin.Blosc(), "gzip", hdf5plugin.Blosc2()])
def test_compressions_of_facilities_are_read(tmp_path: Path, compression: Any) -> None:
    write_eiger(tmp_path / "s", compression=compression)
    as_text(tmp_path / "s" / "positions.txt")
    with open_scan(tmp_path / "s") as (source,):
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:P], frames())


@pytest.mark.parametrize(("applied", "is_told"), [(1, False), (0, True)])
def test_a_flat_field_that_was_not_applied_is_told(tmp_path: Path, applied: int, is_told: bool) -> None:
    with h5py.File(write_eiger(tmp_path / "s"), "r+") as file:
        file["entry/instrument/detector/flatfield_correction_applied"] = applied
    as_text(tmp_path / "s" / "positions.txt")
    with open_scan(tmp_path / "s") as (source,):
        assert ["did not apply its flat field" in one for one in source.warnings] == [True] * is_told


def test_a_folder_of_several_series_is_several_scans(store: DatasetStore, tmp_path: Path) -> None:
    for series, energy in (("b", 5470.0), ("a", 5420.0)):
        write_eiger(tmp_path / "s", series, energy)
        as_text(tmp_path / "s" / f"{series}_positions.txt")
    assert [info.energy_ev for info in store.add_scan("ds_1", "s", tmp_path / "s").scans] == [5420.0, 5470.0]


def test_a_master_alone_says_what_to_send(tmp_path: Path) -> None:
    master = write_eiger(tmp_path / "s")
    with pytest.raises(HostileFileError, match=r"/entry/data/data_000001: external link .* ZIP both"), open_scan(master):
        pass


def test_missing_parts_are_named(tmp_path: Path) -> None:
    write_eiger(tmp_path / "s")
    (tmp_path / "s" / "series_1_data_000002.h5").unlink()
    with open_scan(tmp_path / "s") as (source,):
        faults = {fault.field: fault.message for fault in source.faults}
    assert "series_1_data_000002.h5" in faults["counts"]
    assert "missing" in faults["positions_m"]
    (tmp_path / "s" / "series_1_master.h5").unlink()
    with pytest.raises(UnknownFormatError, match="no EIGER master"), open_scan(tmp_path / "s"):
        pass


@pytest.mark.parametrize("name", ["../outside.h5", "/etc/passwd", "other/series_1_data_000001.h5"])
def test_a_master_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    master = write_eiger(tmp_path / "s")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file["entry/data/data"] = frames()
    with h5py.File(master, "r+") as file:
        del file["entry/data/data_000001"]
        file["entry/data/data_000001"] = h5py.ExternalLink(name, "/entry/data/data")
    with open_scan(tmp_path / "s") as (source,):
        assert any("not beside the master" in fault.message for fault in source.faults)


def test_no_link_of_a_master_is_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["mask"] = np.ones((NY, NX), np.uint32)
        file["entry/data/data"] = frames() + 1
        file["positions_m"] = positions()
    master = write_eiger(tmp_path / "s")
    with h5py.File(master, "r+") as file:
        del file[f"{SPECIFIC}/pixel_mask"], file["entry/instrument/detector/detector_distance"]
        file[f"{SPECIFIC}/pixel_mask"] = h5py.ExternalLink(str(outside), "/mask")
        file["entry/elsewhere"] = h5py.ExternalLink(str(outside), "/")
        file["entry/instrument/detector/detector_distance"] = h5py.SoftLink("/entry/elsewhere/mask")
        file["positions_m"] = h5py.SoftLink("/entry/elsewhere/positions_m")
    with open_scan(tmp_path / "s") as (source,):
        assert (source.mask, source.distance_m, source.positions_m) == (None, None, None)
        assert source.frames is not None
        told = [fault.field for fault in source.faults if f"is in {str(outside)!r}, which is not beside it" in fault.message]
        assert sorted(told) == ["distance_m", "mask", "positions_m"]
    data = tmp_path / "s" / "series_1_data_000001.h5"
    with h5py.File(data, "r+") as file:
        del file["entry/data/data"]
        file["entry/data/data"] = h5py.ExternalLink(str(outside), "/entry/data/data")
    with pytest.raises(HostileFileError, match="/entry/data/data: external link"), open_scan(tmp_path / "s"):
        pass
    as_text(tmp_path / "s" / "series_1_positions.txt")
    with open_scan(tmp_path / "s") as (source,):
        assert source.frames is None
        assert f"is in {str(outside)!r}, which is not beside it" in str(source.faults)
    with h5py.File(master, "r+") as file:
        del file["entry/data"]
        file["entry/data"] = h5py.ExternalLink(str(outside), "/entry/data")
    with pytest.raises(UnknownFormatError, match="no EIGER master"), open_scan(tmp_path / "s"):
        pass


def test_a_symbolic_link_in_a_folder_is_refused(tmp_path: Path) -> None:
    write_eiger(tmp_path / "s")
    (tmp_path / "s" / "positions.txt").symlink_to("/etc/hostname")
    with pytest.raises(HostileFileError, match="symbolic link"), open_scan(tmp_path / "s"):
        pass


def with_virtual_frames(master: Path) -> Path:
    """The master with one virtual dataset of all frames in place of its links."""
    layout = h5py.VirtualLayout((P, NY, NX), np.uint32)
    for index, rows in ((1, slice(0, 4)), (2, slice(4, 6))):
        part = h5py.VirtualSource(f"series_1_data_{index:06d}.h5", "entry/data/data", (rows.stop - rows.start, NY, NX), np.uint32)
        layout[rows] = part
    with h5py.File(master, "r+") as file:
        del file["entry/data"]
        file.create_virtual_dataset("entry/data/data", layout, fillvalue=3)
    return master


@pytest.mark.parametrize("zipped", [False, True])
def test_frames_of_a_virtual_dataset_are_those_of_the_links(store: DatasetStore, tmp_path: Path, zipped: bool) -> None:
    for name in ("linked", "virtual"):
        master = write_eiger(tmp_path / name)
        as_text(tmp_path / name / "stage.csv")
        if name == "virtual":
            with_virtual_frames(master)
        folder = tmp_path / name
        path = zip_of(folder, tmp_path / f"{name}.zip") if zipped else folder
        store.create(f"ds_{name}", {"title": name})
        store.add_scan(f"ds_{name}", "a", path)
    linked, virtual = (store.read_scan(f"ds_{name}", "a") for name in ("linked", "virtual"))
    for name, values in linked.items():
        np.testing.assert_array_equal(virtual[name], values)


def test_a_file_that_virtual_frames_lack_is_named(store: DatasetStore, tmp_path: Path) -> None:
    with_virtual_frames(write_eiger(tmp_path / "s"))
    as_text(tmp_path / "s" / "positions.txt")
    (tmp_path / "s" / "series_1_data_000002.h5").unlink()
    with pytest.raises(InvalidScanError, match=r"series_1_data_000002.h5.* is not beside it"):
        store.add_scan("ds_1", "a", tmp_path / "s")
    with pytest.raises(HostileFileError, match=r"'series_1_data_000001.h5', 'series_1_data_000002.h5'; .* ZIP all files"):
        store.add_scan("ds_1", "a", tmp_path / "s" / "series_1_master.h5")


@pytest.mark.parametrize("content", ["", "1 2\n3 4\n", "y_m x_m\n1 a\n", "y_m x_m\n1 nan\n"])
def test_text_that_does_not_name_its_columns_is_refused(store: DatasetStore, tmp_path: Path, content: str) -> None:
    write_eiger(tmp_path / "s")
    (tmp_path / "s" / "positions.txt").write_text(content)
    with pytest.raises(InvalidScanError, match="positions_m"):
        store.add_scan("ds_1", "a", tmp_path / "s")


def test_a_single_file_with_its_data_inside_is_read(tmp_path: Path) -> None:
    master = write_eiger(tmp_path / "s")
    with h5py.File(master, "r+") as file:
        del file["entry/data"]
        file["entry/data/data_000001"] = frames()
        file["positions_m"] = positions()
        file["entry/instrument/detector/beam_center_x"][...] = 0
    with open_scan(master) as (source,):
        assert source.faults == ()
        assert source.beam_centre is None


@pytest.mark.parametrize(
    ("name", "value", "is_told"),
    [
        ("incident_energy", 5470.0, True),
        ("incident_energy", 5420.1, False),
        ("incident_wavelength", 12398.41984 / 5470, True),
        ("incident_wavelength", round(12398.41984 / 5420, 4), False),
    ],
)
def test_a_second_statement_of_the_energy_that_differs_is_told(tmp_path: Path, name: str, value: float, is_told: bool) -> None:
    master = write_eiger(tmp_path / "scan")
    as_hdf5(tmp_path / "scan" / "positions.h5")
    with h5py.File(master, "r+") as file:
        file[f"entry/instrument/beam/{name}"] = value
    with open_scan(tmp_path / "scan") as (source,):
        assert source.energy_ev == 5420.0
        assert [f"5420.00 eV at photon_energy, 5470.00 eV at {name}" in one for one in source.warnings] == [True] * is_told


def test_the_wavelength_gives_the_energy_where_nothing_else_does(tmp_path: Path) -> None:
    master = write_eiger(tmp_path / "scan")
    as_hdf5(tmp_path / "scan" / "positions.h5")
    with h5py.File(master, "r+") as file:
        del file[f"{SPECIFIC}/photon_energy"]
        file["entry/instrument/beam/incident_wavelength"] = 2.2875
    with open_scan(tmp_path / "scan") as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(12398.41984 / 2.2875)
