"""Which files may be registered: those below the listed folders, links resolved."""

from pathlib import Path

import pytest

from service.errors import ForbiddenPathError, InvalidInputError
from service.uploads.registered import registered_files, safe_name


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
    assert registered_files(str(root / "a.npz"), [root], "p") == [root / "a.npz"]
    (root / "link").unlink()
    assert registered_files(str(root), [root], "p") == [root / "a.npz", root / "b.npz"]


def test_a_projects_own_folder(root: Path) -> None:
    place = root.parent / "{project}"
    assert registered_files(str(root / "a.npz"), [place], "facility")
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


@pytest.mark.parametrize(("stem", "name"), [("scan 5420 eV", "scan-5420-eV"), ("../x", "x"), ("", "scan"), ("ü", "scan")])
def test_names_of_files_become_names_of_scans(stem: str, name: str) -> None:
    assert safe_name(stem) == name
