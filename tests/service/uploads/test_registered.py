"""Which files may be registered: those below the listed folders, links resolved."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import ForbiddenPathError, InvalidInputError
from service.uploads.registered import names_of, opened, registered_files, safe_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A listed folder beside one that is not, each with a file and the first with a link into the second."""
    for name in ("facility", "elsewhere", "facility/empty"):
        (tmp_path / name).mkdir()
    for name in ("facility/a.npz", "facility/b.npz", "elsewhere/a.npz"):
        (tmp_path / name).write_bytes(b"scan")
    (tmp_path / "facility" / "link").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "facility"


def test_a_file_or_all_files_of_a_folder(root: Path) -> None:
    assert registered_files(str(root / "a.npz"), [root], "p").files == [root / "a.npz"]
    (root / "link").unlink()
    assert registered_files(str(root), [root], "p").files == [root / "a.npz", root / "b.npz"]


def test_a_projects_own_folder(root: Path) -> None:
    place = root.parent / "{project}"
    assert registered_files(str(root / "a.npz"), [place], "facility").files
    with pytest.raises(ForbiddenPathError):
        registered_files(str(root / "a.npz"), [place], "elsewhere")


@pytest.mark.parametrize("path", ["link", "link/a.npz", "../elsewhere/a.npz", "..", "missing/../../elsewhere", "x" * 300])
def test_what_lies_elsewhere_is_refused_in_the_same_words(root: Path, path: str) -> None:
    with pytest.raises(ForbiddenPathError, match="not below one of the folders"):
        registered_files(str(root / path), [root], "p")
    with pytest.raises(ForbiddenPathError):
        registered_files(str(root / "a.npz"), [], "p")


def test_a_link_to_a_file_elsewhere_is_refused(root: Path) -> None:
    (root / "c.npz").symlink_to(root.parent / "elsewhere" / "a.npz")
    with pytest.raises(ForbiddenPathError):
        registered_files(str(root), [root], "p")


@pytest.mark.parametrize("path", ["a\0b", "empty"])
def test_what_holds_no_files_or_can_be_no_path_is_refused_by_field(root: Path, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        registered_files(str(root / path), [root], "p")
    assert caught.value.faults[0].field == "path"


def replace_file(root: Path) -> None:
    (root / "a.npz").unlink()
    (root / "a.npz").symlink_to(root.parent / "elsewhere" / "a.npz")


def replace_folder(root: Path) -> None:
    root.rename(root.with_name("moved"))
    root.symlink_to(root.parent / "elsewhere")


def replace_by_fifo(root: Path) -> None:
    (root / "a.npz").unlink()
    os.mkfifo(root / "a.npz")


def remove(root: Path) -> None:
    (root / "a.npz").unlink()


@pytest.mark.parametrize("swap", [replace_file, replace_folder, replace_by_fifo, remove])
def test_what_was_swapped_since_it_was_found_is_refused(root: Path, swap: Callable[[Path], None]) -> None:
    (file,) = registered_files(str(root / "a.npz"), [root.parent / "{project}"], root.name).files
    swap(root)
    with pytest.raises(ForbiddenPathError), opened(file, [root.parent, root], "p"):
        pass


def test_an_open_file_stays_what_was_opened(root: Path) -> None:
    (root.parent / "elsewhere" / "a.npz").write_bytes(b"secret")
    with opened(root / "a.npz", [root], "p") as descriptor:
        replace_file(root)
        assert os.read(descriptor, 100) == b"scan"


def test_files_of_one_name_are_told_apart_or_refused(root: Path) -> None:
    files = [root / name for name in ("e 1.npz", "e-1.h5", "e2.npz", "b.cxi", "b.h5")]
    with pytest.raises(InvalidInputError, match=r"e 1.npz and e-1.h5 .* 'e-1'.*; b.cxi and b.h5 .* rename") as caught:
        names_of(files)
    assert len(caught.value.faults) == 2
    assert names_of(files[1:4]) == {"e-1": files[1], "e2": files[2], "b": files[3]}


def test_files_of_desktops_are_no_measurements(root: Path) -> None:
    (root / "link").unlink()
    for name in (".DS_Store", "._a.npz", "Thumbs.db"):
        (root / name).write_bytes(b"desktop")
    assert [file.name for file in registered_files(str(root), [root], "p").files] == ["a.npz", "b.npz"]


@pytest.mark.parametrize(("stem", "name"), [("scan 5420 eV", "scan-5420-eV"), ("../x", "x"), ("", "scan"), ("ü", "scan")])
def test_names_of_files_become_names_of_scans(stem: str, name: str) -> None:
    assert safe_name(stem) == name
