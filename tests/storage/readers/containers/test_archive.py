import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import HostileFileError, InvalidScanError
from storage.readers.containers.archive import open_archive, unpack
from storage.readers.format import open_scan


def test_an_archive_is_unpacked_into_its_folder(files: Any, tmp_path: Path) -> None:
    path = files.zip(tmp_path / "f", {"a/": b"", "a/b/c.h5": b"1", "d": b"2"})
    with open_archive(path) as archive:
        unpack(archive, tmp_path / "out")
    out = tmp_path / "out"
    unpacked = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert unpacked == {"a/b/c.h5": b"1", "d": b"2"}


def test_an_archive_that_unpacks_to_far_more_than_itself_is_refused(
    files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.readers.containers.limits.SMALL_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", np.random.default_rng(0).bytes(100) * 300)
    with open_archive(tmp_path / "f") as archive, pytest.raises(HostileFileError, match="over 20 to 1"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["counts.npy", ".DS_Store"],
        ["scan/counts.npy", "scan/.DS_Store", "__MACOSX/scan/._counts.npy", "__MACOSX/._scan"],
        ["scan\\counts.npy", "scan\\Thumbs.db"],
        ["scan/", "scan/counts.npy", "scan/._counts.npy", "scan/desktop.ini"],
        ["2024/may/scan/counts.npy", "2024/.DS_Store", "__MACOSX/2024/may/scan/._counts.npy"],
        ["./scan/counts.npy", "./scan/Desktop.ini", "./scan/THUMBS.DB", "./Icon\r"],
        ["a/b/", "a/b/c/", "a/b/c/counts.npy"],
        ["a/../counts.npy"],
    ],
)
def test_what_desktops_add_is_no_part_of_it(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "f", "w") as file:
        for name in names:
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as written elsewhere: ZipFile itself would replace backslashes on Windows
            file.writestr(entry, b"" if name.endswith("/") else b"1")
    if any(".." in name for name in names):
        with pytest.raises(HostileFileError, match="leaves the archive's folder"), open_archive(tmp_path / "f"):
            pass
        return
    with open_archive(tmp_path / "f") as archive:
        assert list(archive.members) == ["counts.npy"]
        unpack(archive, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["counts.npy"]


@pytest.mark.parametrize("names", [["a", "a/b"], ["x" * 300, "y"], ["x/" * 3000 + "a", "y"]])
def test_names_that_no_file_system_can_have_are_a_fault_of_the_file(files: Any, tmp_path: Path, names: list[str]) -> None:
    content = dict.fromkeys(names, b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InvalidScanError, match="is damaged"), open_scan(files.zip(tmp_path / "f", content)):
        pass


@pytest.mark.parametrize("name", ["..\\..\\evil", "\\\\server\\share\\evil", "c:\\evil", "a\\..\\..\\evil", "\\evil"])
def test_backslashes_lead_no_further_than_slashes(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "f", "w") as file:
        file.writestr(name, b"1")
    with pytest.raises(HostileFileError, match="leaves the archive's folder"), open_archive(tmp_path / "f"):
        pass


def test_an_archive_written_as_a_stream_is_read(tmp_path: Path) -> None:
    """Finder and others write sizes after the content (flag bit 3)."""

    class Unseekable(io.RawIOBase):
        def __init__(self, path: Path) -> None:
            self._file = path.open("wb")

        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            return self._file.write(content)

        def close(self) -> None:
            self._file.close()

    stream = Unseekable(tmp_path / "f")
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("counts.npy", b"1" * 100)
    stream.close()
    with open_archive(tmp_path / "f") as archive:
        assert archive.file.infolist()[0].flag_bits & 0x8
        assert archive.file.read(archive.members["counts.npy"]) == b"1" * 100
