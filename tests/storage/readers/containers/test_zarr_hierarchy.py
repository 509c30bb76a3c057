import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.datasets.store import DatasetStore
from storage.errors import HostileFileError, UnknownFormatError
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
    path = filled.root / "ds_1"
    (path / ".lock").unlink()
    if form == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", path))
    elif form == "zip of a folder":
        path = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", filled.root, "ds_1"))
    filled.create("ds_2", {})
    added = filled.add_scan("ds_2", "all", path)
    assert [(info.name, info.energy_ev) for info in added.scans] == [
        ("all.1", pytest.approx(5420)), ("all.2", pytest.approx(5500)),
    ]  # fmt: skip
    digests = [info.digest for info in filled.scans("ds_1")]
    assert [info.digest for info in added.scans] == digests


def test_one_scan_of_a_dataset_is_a_scan(filled: DatasetStore, tmp_path: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "one"), "zip", filled.root / "ds_1" / "scans" / "a")
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
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9]}}}, "256 MiB"),
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
    (filled.root / "ds_1" / "scans" / "c").symlink_to("/etc")
    with pytest.raises(HostileFileError, match="symbolic link"), open_scan(filled.root / "ds_1"):
        pass
