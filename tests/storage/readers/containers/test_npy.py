import io
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import UnknownFormatError
from storage.readers.containers import npy as npy_module
from storage.readers.containers.archive import open_archive
from storage.readers.containers.npy import NpyMember, is_npy, read_npy


def npy(values: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version=version)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<u2", ">u4", "<f8", "|b1", "<c8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_members_are_read_whole_and_in_slices_in_any_order(
    files: Any, tmp_path: Path, version: tuple[int, int], dtype: str, order: Any
) -> None:
    values = np.asarray((np.arange(30).reshape(5, 3, 2) % 7).astype(dtype), order=order)
    path = files.zip(tmp_path / "f", {"a.npy": npy(values, version)})
    with open_archive(path) as archive, closing(NpyMember(archive, "a.npy")) as member:
        assert (member.shape, member.dtype) == (values.shape, values.dtype)
        for part in (slice(0, 2), slice(2, 5), slice(1, 3), slice(4, 9), slice(3, 3)):
            np.testing.assert_array_equal(member[part], values[part])
        np.testing.assert_array_equal(member[()], values)
        np.testing.assert_array_equal(member[3, 1:3], values[3, 1:3])
        np.testing.assert_array_equal(member[0, 0:1], values[0, 0:1])


def test_a_number_is_an_array_without_axes(files: Any, tmp_path: Path) -> None:
    path = files.zip(tmp_path / "f", {"a.npy": npy(np.float64(5420.0))})
    with open_archive(path) as archive:
        assert NpyMember(archive, "a.npy")[()] == 5420.0


@pytest.mark.parametrize("values", [np.eye(3), np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))])
def test_a_file_of_its_own_is_read_in_either_order(tmp_path: Path, values: Any) -> None:
    (tmp_path / "b.npy").write_bytes(npy(values))
    assert is_npy(tmp_path / "b.npy")
    np.testing.assert_array_equal(read_npy(tmp_path / "b.npy"), values)


def test_a_large_array_in_fortran_order_is_refused_with_the_way_out(
    files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npy_module, "MAX_FORTRAN_BYTES", 100)
    path = files.zip(tmp_path / "f", {"a.npy": npy(np.asfortranarray(np.zeros((10, 3, 2))))})
    with open_archive(path) as archive, pytest.raises(UnknownFormatError, match=r"Fortran order.*ascontiguousarray"):
        NpyMember(archive, "a.npy")


@pytest.mark.parametrize("values", [np.zeros(2, [("a", "u2")]), np.array([{}], object)])
def test_anything_but_numbers_is_refused(files: Any, tmp_path: Path, values: Any) -> None:
    path = files.zip(tmp_path / "f", {"a.npy": npy(values)})
    with open_archive(path) as archive, pytest.raises(UnknownFormatError, match="must be plain numbers"):
        NpyMember(archive, "a.npy")
