import os
import shutil
from pathlib import Path

import pytest

from storage.atomic import (
    PREFIX,
    abandoned,
    discard,
    is_there,
    move_into_place,
    remove_tree,
    size_of,
    staged,
    unmarked,
    write_file,
)
from storage.location import MANIFEST, Location, ObjectPath


def test_what_is_staged_is_there_when_the_block_ends(place: Location, tmp_path: Path) -> None:
    final = place / "made"
    with staged(final) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_bytes(b"12")
        (temporary / MANIFEST).write_bytes(b"345")
        assert not final.exists()
        assert not is_there(final)
    assert is_there(final)
    assert (final / "sub" / "a").read_bytes() == b"12"
    assert size_of(final) == 5
    with pytest.raises(FileExistsError), staged(final) as temporary:
        (temporary / MANIFEST).write_bytes(b"")
    assert (final / MANIFEST).read_bytes() == b"345"
    write_file(final / "sub" / "a", b"678")
    assert (final / "sub" / "a").read_bytes() == b"678"
    remove_tree(final)
    assert not is_there(final)
    assert size_of(final) == 0
    with pytest.raises(FileNotFoundError):
        remove_tree(final)
    assert not list(tmp_path.glob(f"{PREFIX}*")), "nothing is left of what was built"


def test_objects_are_there_once_their_marker_is(object_folder: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    put = ObjectPath.put

    def slowly(path: ObjectPath, content: bytes | Path, *, must_be_new: bool = False) -> None:
        if path.name != MANIFEST:
            assert not is_there(object_folder / "made")
        written.append(path.name)
        put(path, content, must_be_new=must_be_new)

    monkeypatch.setattr(ObjectPath, "put", slowly)
    with staged(object_folder / "made") as temporary:
        for name in ("z", MANIFEST, "a"):
            (temporary / name).write_text(name)
    assert written[-1] == MANIFEST
    assert sorted(written) == ["a", MANIFEST, "z"]


def test_a_marker_that_came_first_stays(object_folder: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    final = object_folder / "made"
    writer = staged(final)
    (writer.__enter__() / MANIFEST).write_text("second")
    monkeypatch.setattr(ObjectPath, "is_file", lambda path: False)  # the first comes right after the second has looked
    (final / MANIFEST).put(b"first", must_be_new=True)
    with pytest.raises(FileExistsError):
        writer.__exit__(None, None, None)
    assert (final / MANIFEST).read_bytes() == b"first"


def test_objects_without_a_marker_are_found_by_age(object_folder: ObjectPath) -> None:
    for name in (f"ab/whole/{MANIFEST}", "ab/whole/arrays.bin", "ab/cut/arrays.bin", "ab/cut/more/c", "elsewhere"):
        (object_folder / name).put(b"1")
    assert unmarked(object_folder, "*/*", older_than_s=-3600) == [object_folder / "ab/cut"]
    assert unmarked(object_folder, "*/*", older_than_s=3600) == []


def test_what_is_built_for_objects_needs_no_folder_of_the_service(object_folder: ObjectPath, tmp_path: Path) -> None:
    elsewhere = ObjectPath(object_folder.bucket, object_folder.key, tmp_path / "only" / "there")
    with staged(elsewhere / "made") as temporary:
        assert not temporary.is_relative_to(tmp_path)
        (temporary / MANIFEST).write_text("1")
    assert (object_folder / "made" / MANIFEST).is_file()
    assert not (tmp_path / "only").exists()


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "made"
    with staged(final) as temporary:
        (temporary / "a").write_text("1")
        assert not final.exists()
    assert (final / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["made"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staged(tmp_path / "made") as temporary:
            (temporary / "a").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(tmp_path) == []


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    final = tmp_path / "made"
    with staged(final) as first:
        (first / "a").write_text("first")
        second = staged(final)
        (second.__enter__() / "a").write_text("second")
    with pytest.raises(FileExistsError):
        second.__exit__(None, None, None)
    assert (final / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["made"]


def test_an_existing_file_or_empty_directory_is_handled(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        move_into_place(tmp_path / "source", tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        move_into_place(tmp_path / "source", tmp_path / "no" / "such")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"1")
    write_file(tmp_path / "a", b"2")
    assert (tmp_path / "a").read_bytes() == b"2"
    assert os.listdir(tmp_path) == ["a"]


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_tree(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_what_dead_writers_left_is_found_by_age(tmp_path: Path) -> None:
    old, new, kept = tmp_path / "x" / f"{PREFIX}old", tmp_path / f"{PREFIX}new", tmp_path / "x" / "kept"
    for path in (old, new, kept):
        path.mkdir(parents=True)
    (old / f"{PREFIX}inside").write_text("")
    os.utime(old, (1, 1))
    assert abandoned(tmp_path, older_than_s=3600) == [old]


def test_what_cannot_be_deleted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for name in ("dataset", f"{PREFIX}dead"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    remove_tree(tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
    assert "dataset is deleted, but still takes room as .staging-" in caplog.text
    with pytest.raises(PermissionError):
        discard(tmp_path / f"{PREFIX}dead")


def test_what_is_gone_already_is_discarded_without_a_word(place: Location) -> None:
    discard(place / "never")
    assert not is_there(place / "never")
