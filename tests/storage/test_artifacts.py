import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import storage.atomic
from storage.artifacts import ARRAYS, ArtifactStore
from storage.atomic import write_file
from storage.errors import ArtifactMissingError, InvalidNameError
from storage.location import MANIFEST, Location

KEY = "3f" * 32


@pytest.fixture
def artifacts(place: Location) -> ArtifactStore:
    return ArtifactStore(place / "units")


def names_in(folder: Location) -> list[str]:
    """Names of what lies in a folder; none where it is gone."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def wait_for_flushes() -> None:
    """Return once everything written until now is on the disk: one thread flushes, in order."""
    storage.atomic._flusher().submit(lambda: None).result(timeout=30)


def test_what_is_written_is_read(artifacts: ArtifactStore) -> None:
    arrays = {
        "object": np.arange(12.0).reshape(3, 4).astype(np.complex64) * 1j,
        "cycle": np.array(7),
        "mask": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
    }
    assert not artifacts.has(KEY)
    artifacts.write(KEY, arrays, {"seconds": 1.5})
    assert artifacts.has(KEY)
    found = artifacts.read(KEY)
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype
    assert list(artifacts.read(KEY, "mask")) == ["mask"]
    assert artifacts.attrs(KEY) == {"seconds": 1.5}
    assert artifacts.keys() == [KEY]
    assert artifacts.n_bytes(KEY) > 12 * 8


def test_a_step_is_two_files(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {name: np.arange(3) for name in "abcdef"}, {"n": 1})
    assert names_in(artifacts.path(KEY)) == ["arrays.bin", MANIFEST]


def test_a_writer_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    may_go_on = threading.Event()

    def slowly(path: Path) -> None:
        assert may_go_on.wait(30)
        flushed.append(path)

    monkeypatch.setattr(storage.atomic, "flush", slowly)
    artifacts = ArtifactStore(tmp_path)
    artifacts.write(KEY, {"a": np.arange(5)}, {})
    np.testing.assert_array_equal(artifacts.read(KEY)["a"], np.arange(5))
    assert not flushed
    may_go_on.set()
    folder = tmp_path / KEY[:2] / KEY
    wait_for_flushes()
    assert set(flushed) == {folder / ARRAYS, folder / MANIFEST, folder, folder.parent}


def test_a_step_that_the_disk_refuses_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.atomic, "flush", full)
    artifacts = ArtifactStore(tmp_path)
    artifacts.write(KEY, {"a": np.arange(5)}, {})
    wait_for_flushes()
    assert not artifacts.has(KEY)
    assert "No space left on device" in caplog.text
    assert artifacts.keys() == []


def test_a_step_deleted_before_it_is_on_the_disk_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_go_on, flush = threading.Event(), storage.atomic.flush

    def later(path: Path) -> None:
        assert may_go_on.wait(30)
        flush(path)

    monkeypatch.setattr(storage.atomic, "flush", later)
    artifacts = ArtifactStore(tmp_path)
    artifacts.write(KEY, {"a": np.arange(5)}, {})
    artifacts.delete(KEY)
    may_go_on.set()
    wait_for_flushes()
    assert not caplog.records


def test_arrays_need_not_be_contiguous_and_may_be_changed_once_read(artifacts: ArtifactStore) -> None:
    values = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2].T
    artifacts.write(KEY, {"a": values, "text": np.array(["y", "x"])}, {})
    found = artifacts.read(KEY)
    np.testing.assert_array_equal(found["a"], values)
    assert list(found["text"]) == ["y", "x"]
    found["a"][0, 0] = 7


def test_the_second_writer_of_a_key_changes_nothing(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.array([1])}, {"n": 1})
    artifacts.write(KEY, {"a": np.array([2])}, {"n": 2})
    assert artifacts.read(KEY, "a")["a"] == [1]
    assert artifacts.attrs(KEY) == {"n": 1}
    assert names_in(artifacts.root / KEY[:2]) == [KEY]


def test_a_writer_that_dies_leaves_no_step(artifacts: ArtifactStore) -> None:
    class Interrupted(BaseException):
        pass

    class Values:
        def __array__(self, *_: object, **__: object) -> np.ndarray[Any, Any]:
            raise Interrupted

    with pytest.raises(Interrupted):
        artifacts.write(KEY, {"a": np.ones(3), "b": Values()}, {})  # type: ignore[dict-item]
    assert not artifacts.has(KEY)
    assert names_in(artifacts.root / KEY[:2]) == []


@pytest.mark.parametrize("manifest", [None, b"", b"{", b"[]", b'{"key": "another"}'])
def test_a_step_without_its_own_readable_manifest_does_not_exist_and_can_be_written(
    artifacts: ArtifactStore, manifest: bytes | None
) -> None:
    artifacts.write(KEY, {"a": np.array([1])}, {})
    path = artifacts.root / KEY[:2] / KEY / MANIFEST
    path.unlink()
    if manifest is not None:
        write_file(path, manifest)
    assert not artifacts.has(KEY)
    with pytest.raises(ArtifactMissingError, match="not finished"):
        artifacts.read(KEY)
    artifacts.write(KEY, {"a": np.array([2])}, {})
    assert artifacts.read(KEY, "a")["a"] == [2]


def test_an_unknown_array_is_named(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.array([1])}, {})
    with pytest.raises(ArtifactMissingError, match="'b'"):
        artifacts.read(KEY, "b")


def test_damage_is_found(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.arange(3)}, {})
    assert artifacts.verify(KEY) == []
    write_file(artifacts.path(KEY) / ARRAYS, b"short")
    (fault,) = artifacts.verify(KEY)
    assert fault == "arrays.bin has 5 bytes, at least 24 were written"


def test_a_deleted_unit_is_gone_and_deleting_twice_is_no_error(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.arange(3)}, {})
    artifacts.delete(KEY)
    artifacts.delete(KEY)
    assert not artifacts.has(KEY)
    assert artifacts.keys() == []


@pytest.mark.parametrize("key", ["", "a", "../../etc", "a/b", ".hidden", "a" * 200])
def test_keys_cannot_lead_elsewhere(artifacts: ArtifactStore, key: str) -> None:
    with pytest.raises(InvalidNameError):
        artifacts.has(key)


def rewrite(path: Location, change: Callable[[bytes], bytes]) -> None:
    write_file(path, change(path.read_bytes()))


def flipped(content: bytes) -> bytes:
    """The same bytes but for one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def make_folder(path: Location) -> None:
    path.unlink()
    path.mkdir()
    write_file(path / "inside", b"")


DAMAGE: dict[str, tuple[str, Callable[[Location], object]]] = {
    "a bit flipped": (ARRAYS, lambda path: rewrite(path, flipped)),
    "zeros": (ARRAYS, lambda path: rewrite(path, lambda content: bytes(len(content)))),
    "cut": (ARRAYS, lambda path: rewrite(path, lambda content: content[:-1])),
    "empty": (ARRAYS, lambda path: write_file(path, b"")),
    "deleted": (ARRAYS, lambda path: path.unlink()),
    "a folder": (ARRAYS, make_folder),
    "a description changed": (MANIFEST, lambda path: rewrite(path, lambda text: text.replace(b"<f8", b"<u8"))),
    "the manifest of other digests": (MANIFEST, lambda path: rewrite(path, lambda text: text.replace(b"0", b"1"))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_step_is_never_read_and_makes_room_for_a_whole_one(artifacts: ArtifactStore, kind: str) -> None:
    values = np.arange(300.0)
    artifacts.write(KEY, {"a": values, "b": values}, {"seconds": 1.5})
    name, damage = DAMAGE[kind]
    damage(artifacts.path(KEY) / name)
    assert not artifacts.has(KEY) or artifacts.verify(KEY)
    with pytest.raises(ArtifactMissingError):
        artifacts.read(KEY)
    assert not artifacts.has(KEY), "so that it is computed again"
    artifacts.write(KEY, {"a": values}, {})
    np.testing.assert_array_equal(artifacts.read(KEY, "a")["a"], values)


def test_bytes_after_the_last_array_are_damage_that_harms_no_reading(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.arange(3)}, {})
    rewrite(artifacts.path(KEY) / ARRAYS, lambda content: content + b"x")
    assert artifacts.verify(KEY) == ["arrays.bin has 25 bytes, 24 were written"]
    np.testing.assert_array_equal(artifacts.read(KEY)["a"], np.arange(3))


@pytest.mark.parametrize("change", [lambda text: text.replace(b"1.5", b"2.5"), lambda text: b"", lambda text: b"[]"])
def test_attributes_that_were_changed_are_not_read(artifacts: ArtifactStore, change: Callable[[bytes], bytes]) -> None:
    artifacts.write(KEY, {}, {"seconds": 1.5})
    rewrite(artifacts.path(KEY) / MANIFEST, change)
    with pytest.raises(ArtifactMissingError, match="not finished"):
        artifacts.attrs(KEY)
    assert not artifacts.has(KEY)


@pytest.mark.parametrize("is_written_anew", [True, False])
def test_a_step_that_another_process_changes_while_it_is_read_is_an_error_and_stays_as_that_left_it(
    artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch, is_written_anew: bool
) -> None:
    artifacts.write(KEY, {"a": np.ones(3)}, {})
    manifest = artifacts._manifest

    def changed_after(key: str) -> object:
        found = manifest(key)
        monkeypatch.setattr(artifacts, "_manifest", manifest)
        artifacts.delete(KEY)
        if is_written_anew:
            artifacts.write(KEY, {"a": np.full(3, 2.0)}, {})
        return found

    monkeypatch.setattr(artifacts, "_manifest", changed_after)
    with pytest.raises(ArtifactMissingError):
        artifacts.read(KEY, "a")
    assert artifacts.has(KEY) == is_written_anew


def test_what_an_earlier_version_left_is_listed_for_removal_but_not_read(artifacts: ArtifactStore) -> None:
    artifacts.write(KEY, {"a": np.ones(3)}, {})
    manifest = artifacts.path(KEY) / MANIFEST
    write_file(artifacts.path(KEY) / "unit.json", manifest.read_bytes())
    manifest.unlink()
    assert not artifacts.has(KEY)
    assert artifacts.keys() == [KEY]
    assert artifacts.n_bytes(KEY) > 24
    assert artifacts.finished(KEY) == pytest.approx(artifacts.path(KEY).stat().st_mtime)
    artifacts.delete(KEY)
    assert artifacts.keys() == []
    with pytest.raises(ArtifactMissingError):
        artifacts.finished(KEY)
