import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from places import on_disk

from storage.atomic import move_into_place
from storage.datasets import upload
from storage.datasets.store import DatasetStore
from storage.errors import (
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetSealedError,
    FieldError,
    InvalidNameError,
    InvalidScanError,
    ScanConflictError,
    UnknownFormatError,
)

WRITERS = ["npz", "plain", "cxi"]


def everything_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.name != ".lock"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_scan_comes_back_as_it_was(store: DatasetStore, files: Any, tmp_path: Path, writer: str) -> None:
    added = store.add_scan("ds_1", "scan-a", getattr(files, writer)(tmp_path / "file.npz"))
    assert added.created
    (info,) = added.scans
    given = files.measurement()
    assert (info.name, info.n_positions, info.n_pixels) == ("scan-a", 6, 16)
    stored = [path.stat().st_size for path in (store.root / "ds_1" / "scans" / "scan-a").rglob("*") if path.is_file()]
    assert info.n_bytes == store.scans("ds_1")[0].n_bytes == sum(stored), "what it takes on disk"
    assert info.energy_ev == pytest.approx(5420, abs=1e-6)
    scan = store.read_scan("ds_1", "scan-a")
    assert scan["counts"].dtype == np.uint16
    np.testing.assert_array_equal(scan["counts"], given["counts"])
    np.testing.assert_allclose(scan["positions_m"], given["positions_m"], rtol=1e-12)
    assert scan["mask"].all()
    assert scan["probe"] is None
    assert (scan["distance_m"], scan["detector_pixel_size_m"]) == (1.5, 75e-6)


def test_scans_are_listed_by_energy_and_read_by_name(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    for name, energy in (("a", 5500.0), ("b", 5420.0), ("c", 5465.5)):
        store.add_scan("ds_1", name, files.npz(tmp_path / "f.npz", energy_ev=energy))
    assert [info.name for info in store.scans("ds_1")] == ["b", "c", "a"]
    assert store.read_scan("ds_1", "c")["energy_ev"] == 5465.5
    with pytest.raises(DatasetNotFoundError, match="no scan d"):
        store.read_scan("ds_1", "d")


def test_the_stored_group_is_labelled_zarr_in_whole_frames(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.add_scan("ds_1", "a", files.npz(tmp_path / "f.npz"))
    group = zarr.open_group(store=store.root / "ds_1" / "scans" / "a", mode="r")
    counts = group["counts"]
    assert isinstance(counts, zarr.Array)
    assert counts.metadata.dimension_names == ("position", "v", "u")  # type: ignore[union-attr]
    assert counts.chunks[1:] == (16, 16)
    assert counts.attrs["units"] == "count"
    assert set(group.attrs) >= {"energy_ev", "sha256", "digest"}


def test_the_same_bytes_twice_are_one_scan_and_other_bytes_a_conflict(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    first, other = files.npz(tmp_path / "a.npz"), files.npz(tmp_path / "b.npz", energy_ev=5500.0)
    added = store.add_scan("ds_1", "a", first)
    again = store.add_scan("ds_1", "a", first)
    assert (again.created, again.scans) == (False, added.scans)
    with pytest.raises(ScanConflictError, match="other bytes"):
        store.add_scan("ds_1", "a", other)
    assert len(store.scans("ds_1")) == 1


def test_a_file_of_several_entries_becomes_several_scans_or_none(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    good = files.cxi(tmp_path / "good.cxi", {"energy_ev": 5420.0}, {"energy_ev": 5465.0})
    assert [info.name for info in store.add_scan("ds_1", "pair", good).scans] == ["pair.1", "pair.2"]
    assert not store.add_scan("ds_1", "pair", good).created
    before = everything_below(on_disk(store.root))
    bad = files.cxi(tmp_path / "bad.cxi", {"energy_ev": 5500.0}, {"energy_ev": 5500.001}, {"positions_m": None})
    with pytest.raises(InvalidScanError) as raised:
        store.add_scan("ds_1", "bad", bad)
    fields = {fault.field for fault in raised.value.faults}
    assert fields == {"entry_2.energy_ev", "entry_3.positions_m"}
    assert everything_below(on_disk(store.root)) == before


def test_every_fault_is_reported_at_once_and_nothing_is_left(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.add_scan("ds_1", "kept", files.npz(tmp_path / "kept.npz", energy_ev=5500.0))
    before = everything_below(on_disk(store.root))
    counts = np.ones((6, 16, 16), np.float32)
    counts[2, 3, 4], counts[1, 0, 0], counts[0, 5, 5] = np.nan, -1, 0.5
    path = files.npz(
        tmp_path / "f.npz", counts=counts, positions_m=np.zeros((5, 2)), energy_ev=5.42, distance_m=None,
        detector_pixel_size_m=-1.0,
    )  # fmt: skip
    with pytest.raises(InvalidScanError) as raised:
        store.add_scan("ds_1", "bad", path)
    messages = [f"{fault.field}: {fault.message}" for fault in raised.value.faults]
    for part in (
        "energy_ev: photon energy 5.42 is neither",
        "keV",
        "distance_m: missing",
        "detector_pixel_size_m: must be positive",
        "positions_m: 5 positions for 6 frames",
        "counts: not finite (mask such pixels): 1 pixels from frame 2, row 3, column 4",
        "counts: negative (mask gaps and dead pixels): 1 pixels from frame 1, row 0, column 0",
        "counts: not whole numbers",
    ):
        assert any(part in message for message in messages), (part, messages)
    assert everything_below(on_disk(store.root)) == before
    assert str(raised.value).count("; ") >= 7


def test_scans_of_one_dataset_must_fit_together(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.add_scan("ds_1", "a", files.npz(tmp_path / "a.npz"))
    other = files.npz(tmp_path / "b.npz", counts=np.ones((6, 8, 8), np.uint8), distance_m=1.6, detector_pixel_size_m=55e-6)
    with pytest.raises(InvalidScanError) as raised:
        store.add_scan("ds_1", "b", other)
    assert {fault.field for fault in raised.value.faults} == {
        "energy_ev", "counts", "distance_m", "detector_pixel_size_m",
    }  # fmt: skip
    assert "duplicate energy: 5420.000 eV is there as scan a" in str(raised.value)


def test_what_the_dataset_says_goes_before_what_the_file_says(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.create("ds_2", {"distance_m": 2.0, "detector_pixel_size_m": None, "n_pixels": 12, "orientation": 1})
    store.add_scan("ds_2", "a", files.npz(tmp_path / "a.npz"))
    scan = store.read_scan("ds_2", "a")
    assert (scan["distance_m"], scan["detector_pixel_size_m"]) == (2.0, 75e-6)
    cropped = files.measurement()["counts"][:, 2:14, 2:14]
    np.testing.assert_array_equal(scan["counts"], np.roll(cropped[:, ::-1], 1, axis=1))


def test_a_further_check_is_reported_by_field(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidScanError, match="positions_m: no overlap at 6 positions"):
        store.add_scan(
            "ds_1", "a", files.npz(tmp_path / "a.npz"),
            check=lambda record: ([("positions_m", f"no overlap at {record.n_positions} positions")], []),
        )  # fmt: skip


def test_a_sealed_dataset_takes_nothing_and_holds_what_its_scans_share(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    first = files.cxi(tmp_path / "a.cxi", bad_pixels=np.eye(16, dtype=np.uint32))
    store.add_scan("ds_1", "a", first)
    bad = np.zeros((16, 16), np.uint32)
    bad[0, 5] = 0x10
    store.add_scan("ds_1", "b", files.cxi(tmp_path / "b.cxi", energy_ev=5500.0, bad_pixels=bad))
    store.seal("ds_1")
    store.seal("ds_1")
    attributes = store.attributes("ds_1")
    assert attributes == {
        "title": "a particle", "sealed": True, "distance_m": 1.5, "detector_pixel_size_m": 75e-6, "n_pixels": 16,
    }  # fmt: skip
    stored = np.asarray(zarr.open_array(store.root / "ds_1" / "mask", mode="r")[...])
    np.testing.assert_array_equal(stored, ~np.eye(16, dtype=bool) & (bad == 0))
    with pytest.raises(DatasetSealedError):
        store.add_scan("ds_1", "c", files.npz(tmp_path / "c.npz", energy_ev=5600.0))
    assert not store.add_scan("ds_1", "a", first).created


def test_many_writers_of_one_scan_leave_one_whole(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    paths = [files.npz(tmp_path / f"{i}.npz", distance_m=1.5 + i * 1e-6) for i in range(6)]
    outcomes: list[str] = []

    def put(path: Path) -> None:
        try:
            outcomes.append("created" if store.add_scan("ds_1", "a", path).created else "same")
        except (ScanConflictError, InvalidScanError) as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=put, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ScanConflictError"] * 5 + ["created"]
    assert store.read_scan("ds_1", "a")["counts"].shape == (6, 16, 16)
    assert sorted(os.listdir(on_disk(store.root) / "ds_1")) == [".lock", "scans", "zarr.json"]


def test_two_writers_of_one_energy_under_two_names_leave_one(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    path = files.npz(tmp_path / "a.npz")
    results: list[object] = []

    def put(name: str) -> None:
        try:
            results.append(store.add_scan("ds_1", name, path))
        except InvalidScanError as error:
            results.append(error)

    threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [result for result in results if isinstance(result, InvalidScanError)]
    assert len(errors) == 3
    assert all("duplicate energy" in str(error) for error in errors)
    assert len(store.scans("ds_1")) == 1


def test_a_failure_while_putting_scans_in_place_takes_all_back(
    store: DatasetStore, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def fail_second(source: Path, final: Path) -> None:
        calls.append(final)
        if len(calls) == 2:
            raise OSError("disk full")
        move_into_place(source, final)

    monkeypatch.setattr("storage.datasets.upload.move_into_place", fail_second)
    with pytest.raises(OSError, match="disk full"):
        store.add_scan("ds_1", "pair", files.cxi(tmp_path / "f.cxi", {"energy_ev": 5420.0}, {"energy_ev": 5465.0}))
    assert store.scans("ds_1") == []
    assert os.listdir(on_disk(store.root) / "ds_1" / "scans") == ["zarr.json"]


def test_the_digest_names_what_is_stored_not_how_it_came(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.create("ds_2", {})
    store.create("ds_3", {"orientation": 1})
    plain = files.plain(tmp_path / "a.h5")
    same = store.add_scan("ds_1", "a", files.npz(tmp_path / "a.npz")).scans[0]
    assert store.add_scan("ds_2", "b", plain).scans[0].digest == same.digest
    assert store.add_scan("ds_3", "b", plain).scans[0].digest != same.digest


def test_datasets_are_created_once_listed_and_deleted(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.create("ds_0", {})
    with pytest.raises(DatasetExistsError):
        store.create("ds_0", {})
    assert store.ids() == ["ds_0", "ds_1"]
    assert DatasetStore(tmp_path / "nowhere").ids() == []
    store.add_scan("ds_1", "a", files.npz(tmp_path / "a.npz"))
    store.delete("ds_1")
    assert os.listdir(on_disk(store.root)) == ["ds_0"]
    for call in (store.scans, store.attributes, store.delete, store.mask, store.seal):
        with pytest.raises(DatasetNotFoundError):
            call("ds_1")
    with pytest.raises(DatasetNotFoundError, match="no scans"):
        store.mask("ds_0")


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "/etc", "zarr.json", "a b", "é", "a" * 129, "a\n"])
def test_names_cannot_lead_elsewhere(store: DatasetStore, files: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidNameError):
        store.create(name, {})
    with pytest.raises(InvalidNameError):
        store.add_scan("ds_1", name, files.npz(tmp_path / "a.npz"))


def test_a_file_of_no_known_format_says_what_is_known(store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "f.cxi").write_text("energy,5420")
    with pytest.raises(UnknownFormatError, match=r"file: is none of CXI.*b'energy,5'") as raised:
        store.add_scan("ds_1", "a", tmp_path / "f.cxi")
    assert isinstance(raised.value.faults[0], FieldError)


def test_frames_are_read_in_blocks(store: DatasetStore, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.readers.record.BLOCK_BYTES", 2000)
    monkeypatch.setattr("storage.layout.TARGET_CHUNK_BYTES", 3000)
    store.add_scan("ds_1", "a", files.plain(tmp_path / "a.h5"))
    assert len(os.listdir(on_disk(store.root) / "ds_1" / "scans" / "a" / "counts" / "c")) == 3
    np.testing.assert_array_equal(store.read_scan("ds_1", "a")["counts"], files.measurement()["counts"])


GROWTH = """
import resource, sys
from collections.abc import Callable
from pathlib import Path
from storage.atomic import move_into_place
from storage.datasets.store import DatasetStore
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
DatasetStore(Path(sys.argv[1])).add_scan("ds_1", "a", Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_memory_does_not_grow_with_the_scan(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    path = files.plain(tmp_path / "a.h5", counts=None, positions_m=np.random.default_rng(0).random((600, 2)) * 1e-5)
    with h5py.File(path, "r+") as file:
        counts = file.create_dataset("counts", (600, 512, 512), np.uint16, chunks=(1, 512, 512), compression="gzip")
        frame = np.random.default_rng(0).poisson(3, (512, 512)).astype(np.uint16)
        packed = zlib.compress(frame.tobytes(), 1)
        for number in range(600):  # packed once, because h5py would pack it 600 times
            counts.id.write_direct_chunk((number, 0, 0), packed)
        assert counts.nbytes == 300 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(store.root), str(path)],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert int(done.stdout) < 130 * 2**20


def test_the_siemens_star_is_read_whole(store: DatasetStore, measured_file: Callable[[str], Path]) -> None:
    (info,) = store.add_scan("ds_1", "star", measured_file("siemens_star.cxi")).scans
    assert (info.n_positions, info.n_pixels) == (516, 128)
    assert info.energy_ev == pytest.approx(8800, abs=0.01)
    assert info.distance_m == pytest.approx(1.70344288)
    scan = store.read_scan("ds_1", "star")
    assert scan["counts"].dtype == np.uint16
    assert scan["probe"].shape == (1, 128, 128)
    assert scan["probe"].dtype == np.complex64
    pixel = 1.239841984e-6 / info.energy_ev * info.distance_m / (128 * info.detector_pixel_size_m)
    assert pixel == pytest.approx(25e-9, rel=1e-3)
    assert 0 < np.ptp(scan["positions_m"], axis=0).max() < 20e-6
    # the direct beam falls on the middle of the frame
    rows = scan["counts"].sum(axis=(0, 2), dtype=np.int64)
    assert abs((rows * np.arange(128)).sum() / rows.sum() - 64) < 4


def test_the_petra_file_is_read_whole(store: DatasetStore, measured_file: Callable[[str], Path]) -> None:
    (info,) = store.add_scan("ds_1", "p25", measured_file("petra3_p25_nearfield.cxi")).scans
    assert (info.n_positions, info.n_pixels) == (200, 100)
    assert info.energy_ev == pytest.approx(12658.02, abs=0.01)
    assert info.detector_pixel_size_m == pytest.approx(55e-6)
    assert store.read_scan("ds_1", "p25")["mask"].sum() == 9995


@pytest.mark.parametrize("moment", ["while it is read", "before it is published"])
def test_a_dataset_that_is_deleted_under_an_upload_is_gone_whole(
    store: DatasetStore, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nothing comes back of it, and the sender reads that it is gone, not that its file is wrong."""
    place = "write_scans" if moment == "while it is read" else "flush_tree"
    original = getattr(upload, place)

    def delete_first(*given: Any) -> Any:
        store.delete("ds_1")
        return original(*given)

    monkeypatch.setattr(upload, place, delete_first)
    with pytest.raises(DatasetNotFoundError, match="it was deleted"):
        store.add_scan("ds_1", "a", files.npz(tmp_path / "f.npz"))
    assert [path.name for path in store.root.iterdir() if not path.name.startswith(".")] == []


def test_an_upload_into_a_dataset_that_was_just_deleted_makes_no_folder(
    store: DatasetStore, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete_first(attributes: Any) -> bool:
        store.delete("ds_1")
        return False

    monkeypatch.setattr(upload, "holds_images", delete_first)
    with pytest.raises(DatasetNotFoundError, match="it was deleted"):
        store.add_scan("ds_1", "a", files.npz(tmp_path / "f.npz"))
    assert not (store.root / "ds_1").exists()
