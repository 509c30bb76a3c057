from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError, UnknownFormatError
from storage.readers.containers.hdf5 import find_node, is_hdf5, open_hdf5


@pytest.mark.parametrize("block", [0, 512, 4096])
def test_a_file_is_known_by_its_signature_also_after_a_user_block(files: Any, tmp_path: Path, block: int) -> None:
    path = tmp_path / "no-suffix"
    with h5py.File(path, "w", userblock_size=block) as file:
        file["a"] = 1
    assert is_hdf5(path)
    with open_hdf5(path) as file:
        assert find_node(file, "a") is not None


@pytest.mark.parametrize("content", [b"", b"\x89HDF", bytes(512) + b"\x89HDF\r\n\x1a", b"x" * 5000])
def test_other_files_are_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.h5").write_bytes(content)
    assert not is_hdf5(tmp_path / "f.h5")


def test_only_arrays_are_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["group/array"] = np.arange(3)
        file["empty"] = h5py.Empty("f4")
        file["broken"] = h5py.SoftLink("/no/such")
        file["loop"] = h5py.SoftLink("/loop")
        file["type"] = np.dtype("f8")
    with open_hdf5(tmp_path / "f") as file:
        assert {name: find_node(file, name) is not None for name in ("group/array", *file, "array/x", "..")} == {
            "group/array": True, "group": False, "empty": False, "broken": False, "loop": False, "type": False,
            "array/x": False, "..": False,
        }  # fmt: skip


def test_groups_linked_to_themselves_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["a/b"] = file["/"]
        file["a/c"] = 1
    with open_hdf5(tmp_path / "f") as file:
        assert find_node(file, "a/b/a/b/a/c") is not None


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file["a/x"] = h5py.ExternalLink("other", "/")
        file.create_dataset("b", (3,), "u1", external=[("/etc/hostname", 0, 3)])
    with pytest.raises(HostileFileError) as raised, open_hdf5(tmp_path / "f"):
        pass
    assert sorted(fault.field for fault in raised.value.faults) == ["/a/x", "/b"]


def test_external_links_may_be_left_alone_but_nothing_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other", "w") as file:
        file["a"] = 1
    with h5py.File(tmp_path / "f", "w") as file:
        file["x"] = h5py.ExternalLink("other", "/")
        file["y"] = h5py.SoftLink("/x/a")
        file["z/relative"] = h5py.SoftLink("here")
        file["z/here"] = 2
        assert file["x/a"][()] == file["y"][()] == 1
    with open_hdf5(tmp_path / "f", external=True) as file:
        assert find_node(file, "x/a") is find_node(file, "x") is find_node(file, "y") is None
        assert find_node(file, "z/relative") is not None
    with h5py.File(tmp_path / "f", "r+") as file:
        file.create_dataset("b", (3,), "u1", external=[("/etc/hostname", 0, 3)])
    with pytest.raises(HostileFileError, match="external storage"), open_hdf5(tmp_path / "f", external=True):
        pass


def test_sparse_frames_compress_well_and_are_no_bomb(tmp_path: Path) -> None:
    counts = np.zeros((300, 512, 512), np.uint16)
    counts[:, 200:300, 200:300] = np.random.default_rng(0).poisson(0.05, (300, 100, 100))
    with h5py.File(tmp_path / "f", "w") as file:
        file.create_dataset("counts", data=counts, chunks=(10, 512, 512), compression="gzip", compression_opts=1)
    assert counts.nbytes > 64 * 2**20
    with open_hdf5(tmp_path / "f") as file:
        assert find_node(file, "counts") is not None


def test_a_damaged_file_is_no_crash(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f")
    content = bytearray(path.read_bytes())
    content[96:400] = bytes(304)
    path.write_bytes(bytes(content))
    with pytest.raises(UnknownFormatError), open_hdf5(path):
        pass


SHAPE = (8, 4, 6)


@pytest.mark.parametrize(
    ("written", "chunks", "unwritten"),
    [
        ([], (1, 4, 6), range(8)),
        ([slice(0, 4)], (1, 4, 6), range(4, 8)),
        ([slice(0, 4)], (3, 4, 6), range(6, 8)),
        ([slice(0, 8)], (3, 2, 6), []),
        ([slice(0, 2), slice(5, 8)], (1, 2, 3), range(2, 5)),
        ([(slice(0, 8), slice(0, 2))], (2, 2, 6), range(8)),
        ([(slice(0, 8), slice(0, 2)), (slice(0, 4), slice(2, 4))], (2, 2, 6), range(4, 8)),
    ],
)
@pytest.mark.parametrize("fill", [0, 77])
def test_frames_of_which_a_chunk_was_never_written_are_found(
    tmp_path: Path, written: list[Any], chunks: tuple[int, ...], unwritten: Any, fill: int
) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        counts = file.create_dataset("counts", SHAPE, np.uint16, chunks=chunks, fillvalue=fill, compression="gzip")
        for part in written:
            counts[part] = 5
    with open_hdf5(tmp_path / "f") as file:
        node = find_node(file, "counts")
        assert node is not None
        assert np.flatnonzero(node.unwritten_frames()).tolist() == list(unwritten)
        assert (node[0] == 5).all() or 0 in unwritten


def test_arrays_without_chunks_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f", "w") as file:
        file.create_dataset("never", SHAPE, np.uint16)
        file.create_dataset("number", (), np.float64)
        file["written"], file["value"], file["nothing"] = np.zeros(SHAPE), 5.0, np.zeros((0, 3))
    with open_hdf5(tmp_path / "f") as file:
        found = {name: np.count_nonzero(node.unwritten_frames()) for name in file if (node := find_node(file, name))}
    assert found == {"never": 8, "number": 1, "written": 0, "value": 0, "nothing": 0}
