import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from places import on_disk

from storage.datasets.store import DatasetStore
from storage.errors import HostileFileError, InvalidScanError, UnknownFormatError
from storage.readers.containers.zarr_hierarchy import open_zarr_folder
from storage.readers.format import open_scan


@pytest.fixture
def filled(store: DatasetStore, files: Any, tmp_path: Path) -> DatasetStore:
    store.add_scan("ds_1", "b", files.npz(tmp_path / "b.npz", energy_ev=5500.0))
    probe = np.full((16, 16), 2 - 1j, np.complex64)
    store.add_scan("ds_1", "a", files.cxi(tmp_path / "a.cxi", bad_pixels=np.eye(16, dtype=np.uint32), probe=probe))
    store.seal("ds_1")
    return store


@pytest.mark.parametrize("form", ["zip", "zip of a folder", "folder"])
def test_a_dataset_comes_back_from_its_own_store(filled: DatasetStore, tmp_path: Path, form: str) -> None:
    path = on_disk(filled.root) / "ds_1"
    (path / ".lock").unlink()
    if form == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", path))
    elif form == "zip of a folder":
        path = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", on_disk(filled.root), "ds_1"))
    filled.create("ds_2", {})
    added = filled.add_scan("ds_2", "all", path)
    assert [(info.name, round(info.energy_ev, 6)) for info in added.scans] == [
        ("all.1", 5420.0), ("all.2", 5500.0),
    ]  # fmt: skip
    digests = [info.digest for info in filled.scans("ds_1")]
    assert [info.digest for info in added.scans] == digests


def test_one_scan_of_a_dataset_is_a_scan(filled: DatasetStore, tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "one"), "zip", on_disk(filled.root) / "ds_1" / "scans" / "a")
    with open_scan(Path(path)) as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(5420)
        assert source.probe is not None
        assert source.probe[0, 0, 0] == 2 - 1j


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"data_type": "string"}, "data type string"),
        ({"data_type": {"name": "struct"}}, "data type"),
        ({"codecs": [{"name": "pickle"}]}, "pickle"),
        ({"codecs": [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}]}, "pickle"),
        ({"storage_transformers": [{"name": "x"}]}, "storage transformers"),
        ({"shape": [10**6, 1000, 1000]}, "expands from 0 bytes"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9, 1, 1]}}}, "256 MiB"),
        ({"shape": [-1]}, "whole numbers"),
        ({"zarr_format": 2}, "not 3"),
        ({"codecs": None}, "damaged"),
    ],
)
def test_metadata_is_audited_before_zarr_sees_it(files: Any, tmp_path: Path, changed: dict[str, Any], cause: str) -> None:
    group = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    path = files.zip(tmp_path / "f", {"zarr.json": group, "counts/zarr.json": files.zarr_metadata(**changed)})
    with pytest.raises(HostileFileError, match=cause), open_scan(path):
        pass


def test_zarr_without_counts_is_named(files: Any, tmp_path: Path) -> None:
    path = files.zip(tmp_path / "f", {"zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'})
    with pytest.raises(UnknownFormatError, match="without an array named counts"), open_scan(path):
        pass


def test_a_symbolic_link_in_a_folder_is_refused(filled: DatasetStore) -> None:
    (on_disk(filled.root) / "ds_1" / "scans" / "c").symlink_to("/etc")
    with pytest.raises(HostileFileError, match="symbolic link"), open_scan(on_disk(filled.root) / "ds_1"):
        pass


def write_counts(path: Path, shards: tuple[int, ...] | None, fill: int, counts: Any, chunks: tuple[int, ...]) -> Path:
    group = zarr.create_group(store=path, overwrite=True)
    array = group.create_array(
        "counts", shape=counts.shape, dtype=counts.dtype, chunks=chunks, shards=shards, fill_value=fill,
        config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = counts
    return path


def unwritten(path: Path) -> list[int]:
    with open_zarr_folder(path) as hierarchy:
        return np.flatnonzero(hierarchy.array("counts").unwritten_frames()).tolist()


@pytest.mark.parametrize("fill", [0, 77])
@pytest.mark.parametrize("shards", [None, (4, 4, 8)])
def test_a_chunk_that_is_not_there_leaves_its_frames_unwritten(tmp_path: Path, fill: int, shards: Any) -> None:
    counts = np.random.default_rng(0).poisson(5, (11, 4, 6)).astype(np.uint16)
    path = write_counts(tmp_path / "z", shards, fill, counts, (2, 4, 8))
    assert unwritten(path) == []
    (path / "counts" / "c" / "1" / "0" / "0").unlink()
    assert unwritten(path) == (list(range(2, 4)) if shards is None else list(range(4, 8)))
    shutil.rmtree(path / "counts" / "c")
    assert unwritten(path) == list(range(11))


@pytest.mark.parametrize(("fill", "missing"), [(0, []), (77, [2, 3])])
def test_a_dark_corner_may_be_left_out_where_the_fill_value_is_zero(tmp_path: Path, fill: int, missing: list[int]) -> None:
    counts = np.ones((6, 8, 8), np.uint16)
    path = write_counts(tmp_path / "z", None, fill, counts, (2, 4, 4))
    (path / "counts" / "c" / "1" / "1" / "1").unlink()
    assert unwritten(path) == missing
    for name in ("0/1", "1/0"):
        (path / "counts" / "c" / "1" / name).unlink()
    assert unwritten(path) == [2, 3]


def test_a_shard_without_some_of_its_chunks_is_looked_into(tmp_path: Path) -> None:
    group = zarr.create_group(store=tmp_path / "z", overwrite=True)
    array = group.create_array("counts", shape=(9, 4, 4), dtype="u2", chunks=(1, 4, 4), shards=(4, 4, 4), fill_value=0)
    array[:6] = 1
    assert unwritten(tmp_path / "z") == [6, 7, 8]


def test_a_chunk_in_an_archive_is_missed_too(filled: DatasetStore, tmp_path: Path) -> None:
    path = on_disk(filled.root) / "ds_1" / "scans" / "a"
    shutil.rmtree(path / "counts" / "c")
    archive = Path(shutil.make_archive(str(tmp_path / "one"), "zip", path))
    filled.create("ds_2", {})
    with pytest.raises(InvalidScanError, match=r"never written, or only in part: 6 \(frames 0-5\)"):
        filled.add_scan("ds_2", "a", archive)
    (on_disk(filled.root) / "ds_1" / "scans" / "b" / "positions_m" / "c" / "0" / "0").unlink()
    archive = Path(shutil.make_archive(str(tmp_path / "two"), "zip", path.with_name("b")))
    with pytest.raises(InvalidScanError, match="positions_m: was never written"):
        filled.add_scan("ds_2", "a", archive)


@pytest.mark.parametrize(
    ("codecs", "cause"),
    [
        ([{"name": "bytes"}, {"name": "gzip"}, {"name": "gzip"}], "compressed more than once"),
        ([{"name": "bytes"}, {"name": "zstd"}, {"name": "crc32c"}, {"name": "blosc"}], "compressed more than once"),
        ([{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "gzip"}, {"name": "zstd"}]}}], "more than once"),
    ],
)
def test_chunks_compressed_twice_are_refused(files: Any, tmp_path: Path, codecs: Any, cause: str) -> None:
    group = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    path = files.zip(tmp_path / "f", {"zarr.json": group, "counts/zarr.json": files.zarr_metadata(codecs=codecs)})
    with pytest.raises(HostileFileError, match=cause), open_scan(path):
        pass


@pytest.mark.parametrize(
    "changed",
    [
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 4, 4]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}}},
        {"shape": [2.0, 4, 4]},
        {"shape": [True, 4, 4]},
    ],
)
def test_a_grid_that_cannot_be_is_refused(files: Any, tmp_path: Path, changed: dict[str, Any]) -> None:
    group = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    path = files.zip(tmp_path / "f", {"zarr.json": group, "counts/zarr.json": files.zarr_metadata(**changed)})
    with pytest.raises(HostileFileError, match="whole numbers, one chunk extent"), open_scan(path):
        pass
