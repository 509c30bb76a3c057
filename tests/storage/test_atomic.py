import os
from pathlib import Path

import pytest

from storage.atomic import PREFIX, abandoned, move_into_place, remove_tree, staged, write_file


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
