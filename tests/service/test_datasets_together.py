"""A registered folder whose files need each other is read as its ZIP is; any other file by file."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from service.errors import ForbiddenPathError, InvalidInputError
from service.uploads.open_files import OpenFolder
from service.uploads.sandbox import belong_together, ingest

ENERGIES_EV = (5420.0, 5430.0)
SIDE = 4
POSITIONS_M = 1e-7 * np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), axis=-1).reshape(-1, 2)


def counts(energy_ev: float) -> np.ndarray:
    disc = np.hypot(*np.indices((32, 32)) - 15.5) < 10
    return np.random.default_rng(int(energy_ev)).poisson(50 * disc, (SIDE**2, 32, 32)).astype(np.uint32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """EIGER masters of two energies, each with two files of data and one of positions."""
    folder = tmp_path / "facility" / "particle 7"
    folder.mkdir(parents=True)
    for energy_ev in ENERGIES_EV:
        stem = f"e{energy_ev:.0f}"
        with h5py.File(folder / f"{stem}_master.h5", "w") as master:
            detector = master.create_group("entry/instrument/detector")
            detector["detectorSpecific/photon_energy"], detector["detector_distance"] = energy_ev, 1.5
            detector["x_pixel_size"] = detector["y_pixel_size"] = 75e-6
            detector["beam_center_x"] = detector["beam_center_y"] = 16.0
            for number, rows in enumerate((slice(0, 9), slice(9, 16)), 1):
                data = f"data_{number:06d}"
                with h5py.File(folder / f"{stem}_{data}.h5", "w") as file:
                    file["entry/data/data"] = counts(energy_ev)[rows]
                master[f"entry/data/{data}"] = h5py.ExternalLink(f"{stem}_{data}.h5", "/entry/data/data")
        np.savetxt(folder / f"{stem}_positions.txt", POSITIONS_M, header="y_m x_m", comments="")
    return folder


def scans_of(bench: Any, dataset_id: str) -> list[dict[str, Any]]:
    """Scans of a dataset, by energy."""
    names = sorted((scan.energy_ev, scan.name) for scan in bench.datasets.get(dataset_id).scans)
    return [bench.store.read_scan(dataset_id, name) for _, name in names]


def test_a_folder_of_masters_and_their_data_is_what_its_zip_is(make_bench: Callable[..., Any], folder: Path) -> None:
    bench = make_bench(register_roots=(folder.parent,))
    view = bench.datasets.register(str(folder), bench.spec)
    assert (view.state, view.energies_ev) == ("sealed", list(ENERGIES_EV))
    assert sorted(scan.name for scan in view.scans) == ["particle-7.1", "particle-7.2"]
    packed = folder.parent / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    of_zip = bench.datasets.register(str(packed), bench.spec)
    for energy_ev, scan, other in zip(ENERGIES_EV, scans_of(bench, view.id), scans_of(bench, of_zip.id), strict=True):
        np.testing.assert_array_equal(scan["counts"], counts(energy_ev))
        np.testing.assert_allclose(scan["positions_m"], POSITIONS_M)
        for name, values in scan.items():
            np.testing.assert_array_equal(values, other[name])
    assert [path.name for path in bench.store.root.iterdir() if path.name.startswith(".staging")] == []


def test_a_file_that_a_master_lacks_is_named_and_nothing_is_left(make_bench: Callable[..., Any], folder: Path) -> None:
    (folder / "e5430_data_000002.h5").unlink()
    bench = make_bench(register_roots=(folder.parent,))
    with pytest.raises(InvalidInputError, match=r"e5430_data_000002\.h5"):
        bench.datasets.register(str(folder), bench.spec)
    assert bench.store.ids() == []


def test_files_swapped_for_links_after_they_were_looked_at_bring_nothing_in(
    make_bench: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = folder.parent.parent / "secret.h5"
    secret.write_bytes((folder / "e5420_data_000001.h5").read_bytes())

    def look_then_swap(*arguments: Any) -> bool:
        found = belong_together(*arguments)
        (folder / "e5420_data_000001.h5").unlink()
        (folder / "e5420_data_000001.h5").symlink_to(secret)
        return found

    monkeypatch.setattr("service.uploads.registered.belong_together", look_then_swap)
    bench = make_bench(register_roots=(folder.parent,))
    with pytest.raises(ForbiddenPathError):
        bench.datasets.register(str(folder), bench.spec)
    assert bench.store.ids() == []


def test_what_is_swapped_while_it_is_read_changes_nothing(
    make_bench: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap_then_read(request: Any, *limits: Any) -> tuple[list[str], bool]:
        assert isinstance(request.file, OpenFolder)
        moved = folder.with_name("moved")
        folder.rename(moved)
        folder.mkdir()
        for file in moved.iterdir():
            (folder / file.name).symlink_to("/etc/hostname")
        return ingest(request, *limits)

    monkeypatch.setattr("service.datasets.ingest", swap_then_read)
    bench = make_bench(register_roots=(folder.parent,))
    view = bench.datasets.register(str(folder), bench.spec)
    for energy_ev, scan in zip(ENERGIES_EV, scans_of(bench, view.id), strict=True):
        np.testing.assert_array_equal(scan["counts"], counts(energy_ev))


def test_a_folder_of_too_many_files_that_need_each_other_is_refused(
    make_bench: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.uploads.registered.MOST_TOGETHER", 5)
    bench = make_bench(register_roots=(folder.parent,))
    with pytest.raises(
        InvalidInputError, match=r"holds 8 files, of which some need others: register .* of up to 5 files"
    ) as caught:
        bench.datasets.register(str(folder), bench.spec)
    assert [fault.field for fault in caught.value.faults] == ["path"]


def test_files_that_need_no_others_are_scans_of_their_own_names(
    make_bench: Callable[..., Any], scan_bytes: Callable[..., bytes], folder: Path
) -> None:
    for file in folder.iterdir():
        file.unlink()
    for number in range(2):
        (folder / f"e{number}.npz").write_bytes(scan_bytes(5420.0 + number))
    with h5py.File(folder / "e2.h5", "w") as file:
        file["counts"], file["positions_m"], file["energy_ev"] = counts(5430.0), POSITIONS_M, 5430.0
        file["distance_m"], file["detector_pixel_size_m"] = 1.5, 75e-6
    bench = make_bench(register_roots=(folder.parent,))
    view = bench.datasets.register(str(folder), bench.spec)
    assert [scan.name for scan in view.scans] == ["e0", "e1", "e2"]
