"""Datasets in an object store are what they are in a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.atomic import unmarked, write_file
from storage.datasets.store import DatasetStore
from storage.errors import (
    DatasetDamagedError,
    DatasetExistsError,
    DatasetNotFoundError,
    DatasetSealedError,
    InvalidScanError,
    ScanConflictError,
)
from storage.location import Location, ObjectPath


@pytest.fixture
def stored(place: Location) -> DatasetStore:
    """A store with one empty dataset, ``ds_1``, on a file system and in an object store."""
    store = DatasetStore(place / "datasets")
    store.create("ds_1", {"title": "a particle"})
    return store


def test_scans_come_back_as_they_were(stored: DatasetStore, files: Any, tmp_path: Path) -> None:
    for name, energy in (("a", 5500.0), ("b", 5420.0)):
        added = stored.add_scan("ds_1", name, files.cxi(tmp_path / "f.cxi", energy_ev=energy))
        assert added.created
        assert added.scans == tuple(info for info in stored.scans("ds_1") if info.name == name)
    assert [info.name for info in stored.scans("ds_1")] == ["b", "a"]
    assert stored.scan_names("ds_1") == ["a", "b"]
    scan = stored.read_scan("ds_1", "a", orientation=1)
    np.testing.assert_array_equal(scan["counts"], np.roll(files.measurement()["counts"][:, ::-1], 1, axis=1))
    assert stored.mask("ds_1").all()
    assert stored.verify("ds_1") == []
    assert set(stored.scan_stamps("ds_1")) == {"a", "b"}
    assert stored.scan_stamp("ds_1", "a") == stored.scan_stamps("ds_1")["a"] != ""


def test_the_same_bytes_twice_are_one_scan_and_other_bytes_a_conflict(stored: DatasetStore, files: Any, tmp_path: Path) -> None:
    first = files.cxi(tmp_path / "a.cxi", {"energy_ev": 5420.0}, {"energy_ev": 5465.0})
    other = files.npz(tmp_path / "b.npz", energy_ev=5500.0)
    assert [info.name for info in stored.add_scan("ds_1", "a", first).scans] == ["a.1", "a.2"]
    assert not stored.add_scan("ds_1", "a", first).created
    with pytest.raises(ScanConflictError):
        stored.add_scan("ds_1", "a", other)
    with pytest.raises(InvalidScanError, match="duplicate energy"):
        stored.add_scan("ds_1", "c", files.npz(tmp_path / "c.npz", energy_ev=5465.0))


def test_a_dataset_is_made_described_sealed_and_removed(stored: DatasetStore, files: Any, tmp_path: Path) -> None:
    assert stored.ids() == ["ds_1"]
    assert stored.is_dataset("ds_1")
    with pytest.raises(DatasetExistsError):
        stored.create("ds_1", {})
    before = stored.stamp("ds_1")
    stored.update("ds_1", lambda attributes: {**attributes, "title": "another"})
    assert stored.attributes("ds_1") == {"title": "another", "sealed": False}
    assert stored.stamp("ds_1") != before
    stored.add_scan("ds_1", "a", files.npz(tmp_path / "f.npz"))
    stored.seal("ds_1")
    assert stored.is_sealed("ds_1")
    assert stored.attributes("ds_1")["n_pixels"] == 16
    with pytest.raises(DatasetSealedError):
        stored.add_scan("ds_1", "b", files.npz(tmp_path / "f.npz", energy_ev=5500.0))
    assert stored.changed("ds_1") > 0
    stored.delete("ds_1")
    assert stored.ids() == []
    assert not stored.is_dataset("ds_1")
    for ask in (stored.attributes, stored.scan_names, stored.delete):
        with pytest.raises(DatasetNotFoundError):
            ask("ds_1")


def test_damage_is_found_and_never_read(stored: DatasetStore, files: Any, tmp_path: Path) -> None:
    stored.add_scan("ds_1", "a", files.npz(tmp_path / "f.npz"))
    write_file(stored.root / "ds_1" / "scans" / "a" / "counts" / "c" / "0" / "0" / "0", b"x")
    assert len(stored.verify("ds_1")) == 1
    with pytest.raises(DatasetDamagedError, match="restore it from a copy"):
        stored.read_scan("ds_1", "a")
    write_file(stored.root / "ds_1" / "zarr.json", b"")
    with pytest.raises(DatasetDamagedError):
        stored.attributes("ds_1")
    assert stored.is_dataset("ds_1")


def test_a_scan_whose_writer_died_is_not_there_and_can_be_sent_again(
    object_folder: ObjectPath, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        pass

    store = DatasetStore(object_folder / "datasets")
    store.create("ds_1", {})
    put = ObjectPath.put

    def dying(path: ObjectPath, content: bytes | Path, *, must_be_new: bool = False) -> None:
        if must_be_new:
            raise Interrupted
        put(path, content, must_be_new=must_be_new)

    path = files.npz(tmp_path / "f.npz")
    with monkeypatch.context() as patch:
        patch.setattr(ObjectPath, "put", dying)
        with pytest.raises(Interrupted):
            store.add_scan("ds_1", "a", path)
    left = object_folder / "datasets" / "ds_1" / "scans" / "a"
    assert left.is_dir()
    assert store.scan_names("ds_1") == []
    assert store.scans("ds_1") == []
    with pytest.raises(DatasetNotFoundError, match="no scan a"):
        store.read_scan("ds_1", "a")
    assert unmarked(object_folder / "datasets", "*/scans/*", -3600) == [left]
    assert store.add_scan("ds_1", "a", path).created
    assert store.verify("ds_1") == []
    assert unmarked(object_folder / "datasets", "*/scans/*", -3600) == []
