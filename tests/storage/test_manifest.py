"""Files are held to their manifest, whichever part of them Zarr asks for."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from storage.errors import DamagedError
from storage.manifest import VerifiedStore, as_json, check, describe, digest_of_file, find_damage, from_json, part_of

VALUES = np.arange(1200, dtype=np.uint16).reshape(12, 10, 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A group with an array of three chunks, and one in shards."""
    path = tmp_path / "store"
    group = zarr.create_group(store=path)
    group.create_array("a", data=VALUES, chunks=(4, 10, 10))
    group.create_array("sharded", data=VALUES, chunks=(1, 10, 10), shards=(4, 10, 10))
    return path


def test_a_manifest_survives_json(folder: Path) -> None:
    files = describe(folder)
    assert from_json(json.loads(json.dumps(as_json(files)))) == files
    assert {"zarr.json", "a/zarr.json", "a/c/0/0/0", "a/c/2/0/0"} <= set(files)
    assert files["a/c/0/0/0"] == digest_of_file(folder / "a/c/0/0/0")


@pytest.mark.parametrize("array", ["a", "sharded"])
@pytest.mark.parametrize("with_files", [True, False])
def test_whole_data_are_read_as_they_are(folder: Path, array: str, with_files: bool) -> None:
    store = VerifiedStore(folder, describe(folder) if with_files else None)
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")[array][...], VALUES)  # type: ignore[index]
    np.testing.assert_array_equal(zarr.open_array(store, path=array, mode="r")[5], VALUES[5])
    assert "none" not in zarr.open_group(store, mode="r")


@pytest.mark.parametrize("array", ["a", "sharded"])
@pytest.mark.parametrize("with_files", [True, False])
def test_a_missing_chunk_is_an_error_and_not_fill_values(folder: Path, array: str, with_files: bool) -> None:
    store = VerifiedStore(folder, describe(folder) if with_files else None)
    (folder / array / "c/1/0/0").unlink()
    with pytest.raises(DamagedError, match=f"{array}/c/1/0/0 is missing"):
        zarr.open_array(store, path=array, mode="r")[...]
    np.testing.assert_array_equal(zarr.open_array(store, path=array, mode="r")[:4], VALUES[:4])


@pytest.mark.parametrize("array", ["a", "sharded"])
def test_every_single_bit_counts(folder: Path, array: str) -> None:
    store = VerifiedStore(folder, describe(folder))
    chunk = folder / array / "c/0/0/0"
    whole = chunk.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(30):
        place, bit = int(random.integers(len(whole))), 1 << int(random.integers(8))
        chunk.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        with pytest.raises(DamagedError, match="holds other bytes"):
            zarr.open_array(store, path=array, mode="r")[0]


def test_a_file_that_appeared_later_is_no_part_of_the_store(folder: Path) -> None:
    store = VerifiedStore(folder, describe(folder))
    zarr.create_array(folder / "later", data=VALUES)
    assert "later" not in zarr.open_group(store, mode="r")


def test_each_kind_of_damage_is_named(folder: Path) -> None:
    files = describe(folder)
    (folder / "a/c/0/0/0").unlink()
    (folder / "a/c/1/0/0").write_bytes(b"short")
    (folder / "a/zarr.json").write_bytes((folder / "a/zarr.json").read_bytes().replace(b"uint16", b"uint32"))
    missing, cut, changed = find_damage(folder, files)
    assert missing == "a/c/0/0/0 is missing"
    assert "has 5 bytes" in cut
    assert changed == "a/zarr.json holds other bytes than were written"
    assert check(folder, "zarr.json", files["zarr.json"]) == (folder / "zarr.json").read_bytes()


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        (None, b"0123456789"),
        (RangeByteRequest(2, 5), b"234"),
        (OffsetByteRequest(7), b"789"),
        (SuffixByteRequest(3), b"789"),
        (SuffixByteRequest(30), b"0123456789"),
    ],
)
def test_parts_of_a_file(tmp_path: Path, asked: ByteRequest | None, part: bytes) -> None:
    (tmp_path / "c").write_bytes(b"0123456789")
    assert b"0123456789"[part_of(asked, 10)] == part
    buffer = VerifiedStore(tmp_path).get_sync("c", prototype=default_buffer_prototype(), byte_range=asked)
    assert buffer is not None
    assert buffer.to_bytes() == part
