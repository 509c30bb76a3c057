import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from storage.artifacts import MARKER, ArtifactStore
from storage.errors import ArtifactMissingError, InvalidNameError

KEY = "3f" * 32


@pytest.fixture
def units(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "units")


def test_what_is_written_is_read(units: ArtifactStore) -> None:
    arrays = {
        "object": np.arange(12.0).reshape(3, 4).astype(np.complex64) * 1j,
        "cycle": np.array(7),
        "mask": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
    }
    assert not units.has(KEY)
    units.write(KEY, arrays, {"seconds": 1.5})
    assert units.has(KEY)
    found = units.read(KEY)
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
    assert list(units.read(KEY, "mask")) == ["mask"]
    assert units.attrs(KEY) == {"seconds": 1.5}
    assert units.keys() == [KEY]
    assert units.n_bytes(KEY) > 12 * 8


def test_a_large_array_is_cut_along_its_first_axis(units: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.artifacts.CHUNK_BYTES", 100)
    values = np.arange(60, dtype=np.int32).reshape(20, 3)
    units.write(KEY, {"a": values}, {})
    np.testing.assert_array_equal(units.read(KEY, "a")["a"], values)
    assert len(list((units.root / KEY[:2] / KEY / "a" / "c").iterdir())) == 3


def test_the_second_writer_of_a_key_changes_nothing(units: ArtifactStore) -> None:
    units.write(KEY, {"a": np.array([1])}, {"n": 1})
    units.write(KEY, {"a": np.array([2])}, {"n": 2})
    assert units.read(KEY, "a")["a"] == [1]
    assert units.attrs(KEY) == {"n": 1}
    assert os.listdir(units.root / KEY[:2]) == [KEY]


def test_a_writer_that_dies_leaves_no_unit(units: ArtifactStore) -> None:
    class Interrupted(BaseException):
        pass

    class Values:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise Interrupted

    with pytest.raises(Interrupted):
        units.write(KEY, {"a": np.ones(3), "b": Values()}, {})  # type: ignore[dict-item]
    assert not units.has(KEY)
    assert os.listdir(units.root / KEY[:2]) == []


@pytest.mark.parametrize("marker", [None, b"", b"{", b"[]", b'{"key": "another"}'])
def test_a_unit_without_its_own_readable_marker_does_not_exist_and_can_be_written(
    units: ArtifactStore, marker: bytes | None
) -> None:
    units.write(KEY, {"a": np.array([1])}, {})
    path = units.root / KEY[:2] / KEY / MARKER
    path.unlink()
    if marker is not None:
        path.write_bytes(marker)
    assert not units.has(KEY)
    with pytest.raises(ArtifactMissingError, match="not finished"):
        units.read(KEY)
    units.write(KEY, {"a": np.array([2])}, {})
    assert units.read(KEY, "a")["a"] == [2]


def test_an_unknown_array_is_named(units: ArtifactStore) -> None:
    units.write(KEY, {"a": np.array([1])}, {})
    with pytest.raises(ArtifactMissingError, match="'b'"):
        units.read(KEY, "b")


def test_damage_is_found(units: ArtifactStore) -> None:
    units.write(KEY, {"a": np.arange(3)}, {})
    assert units.verify(KEY) == []
    (units.root / KEY[:2] / KEY / "a" / "c" / "0").write_bytes(b"short")
    assert units.verify(KEY) == ["a/c/0"]


def test_a_deleted_unit_is_gone_and_deleting_twice_is_no_error(units: ArtifactStore) -> None:
    units.write(KEY, {"a": np.arange(3)}, {})
    units.delete(KEY)
    units.delete(KEY)
    assert not units.has(KEY)
    assert units.keys() == []


@pytest.mark.parametrize("key", ["", "a", "../../etc", "a/b", ".hidden", "a" * 200])
def test_keys_cannot_lead_elsewhere(units: ArtifactStore, key: str) -> None:
    with pytest.raises(InvalidNameError):
        units.has(key)


@pytest.mark.parametrize("moment", ["before its metadata", "before its chunks"])
def test_a_unit_removed_while_it_is_read_is_no_array_of_zeros(
    units: ArtifactStore, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    units.write(KEY, {"a": np.ones(3)}, {})
    opened = zarr.open_group

    def remove_after_opening(**options: object) -> object:
        group = opened(**options)
        arrays = {"a": group["a"]}
        units.delete(KEY)
        return group if moment == "before its metadata" else arrays

    monkeypatch.setattr("storage.artifacts.zarr.open_group", remove_after_opening)
    with pytest.raises(ArtifactMissingError):
        units.read(KEY, "a")


def test_attributes_of_a_unit_that_is_damaged_are_missing(units: ArtifactStore) -> None:
    units.write(KEY, {}, {"seconds": 1.5})
    (next(units.root.rglob(MARKER)).parent / "zarr.json").unlink()
    with pytest.raises(ArtifactMissingError, match="damaged"):
        units.attrs(KEY)
