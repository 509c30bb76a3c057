import io
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import HostileFileError, UnknownFormatError
from storage.readers.containers.archive import NpyMember, open_archive, read_npy, unpack


def npy(values: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version=version)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<u2", ">u4", "<f8", "|b1", "<c8"])
def test_members_are_read_whole_and_in_slices_in_any_order(
    files: Any, tmp_path: Path, version: tuple[int, int], dtype: str
) -> None:
    values = (np.arange(30).reshape(5, 3, 2) % 7).astype(dtype)
    path = files.zip(tmp_path / "f", {"a.npy": npy(values, version)})
    with open_archive(path) as archive, closing(NpyMember(archive, "a.npy")) as member:
        assert (member.shape, member.dtype) == (values.shape, values.dtype)
        for key in (slice(0, 2), slice(2, 5), slice(1, 3), slice(4, 9), slice(3, 3), ()):
            np.testing.assert_array_equal(member[key], values[key] if key != () else values)


def test_a_number_is_an_array_without_axes(files: Any, tmp_path: Path) -> None:
    path = files.zip(tmp_path / "f", {"a.npy": npy(np.float64(5420.0))})
    with open_archive(path) as archive:
        assert NpyMember(archive, "a.npy")[()] == 5420.0
    (tmp_path / "b.npy").write_bytes(npy(np.eye(3)))
    np.testing.assert_array_equal(read_npy(tmp_path / "b.npy"), np.eye(3))


@pytest.mark.parametrize("values", [np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros(2, [("a", "u2")])])
def test_other_layouts_are_refused(files: Any, tmp_path: Path, values: Any) -> None:
    path = files.zip(tmp_path / "f", {"a.npy": npy(values)})
    with open_archive(path) as archive, pytest.raises(UnknownFormatError, match="plain numbers in C order"):
        NpyMember(archive, "a.npy")


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
    monkeypatch.setattr("storage.readers.containers.archive.SMALL_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "f", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", np.random.default_rng(0).bytes(100) * 300)
    with open_archive(tmp_path / "f") as archive, pytest.raises(HostileFileError, match="over 20 to 1"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
