"""A stored scan is read back as it was written, or not at all: with its manifest, and from before there were any."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import on_disk

from storage.datasets.framing import reorient
from storage.datasets.store import DatasetStore
from storage.datasets.stored_scan import manifest_of, read_turned
from storage.errors import DatasetDamagedError
from storage.location import MANIFEST


@pytest.fixture(params=["with its manifest", "from before manifests"])
def scan(
    request: pytest.FixtureRequest, store: DatasetStore, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A scan of three chunks of counts, with a probe."""
    monkeypatch.setattr("storage.layout.TARGET_CHUNK_BYTES", 2 * 4 * 64**2)
    counts = np.random.default_rng(0).poisson(20, (6, 64, 64)).astype(np.uint16)
    probe = np.random.default_rng(1).random((64, 64)).astype(np.complex64)
    fields: dict[str, Any] = {"counts": counts, "positions_m": files.measurement()["positions_m"], "probe": probe}
    np.savez(tmp_path / "file.npz", energy_ev=5420.0, distance_m=1.5, detector_pixel_size_m=75e-6, **fields)
    store.add_scan("ds_1", "a", tmp_path / "file.npz")
    path = on_disk(store.root) / "ds_1" / "scans" / "a"
    assert len(list((path / "counts" / "c").iterdir())) == 3
    if request.param != "with its manifest":
        (path / MANIFEST).unlink()
    return path


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flip(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :])


def change_attribute(path: Path, name: str, value: object) -> None:
    content = json.loads(path.read_text())
    content["attributes"][name] = value
    path.write_text(json.dumps(content))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a chunk of counts deleted": lambda scan: (scan / "counts/c/1/0/0").unlink(),
    "a bit of counts flipped": lambda scan: flip(scan / "counts/c/1/0/0"),
    "a chunk of counts cut": lambda scan: rewrite(scan / "counts/c/2/0/0", lambda content: content[: len(content) // 2]),
    "a chunk of counts empty": lambda scan: (scan / "counts/c/0/0/0").write_bytes(b""),
    "positions deleted": lambda scan: (scan / "positions_m/c/0/0").unlink(),
    "positions flipped": lambda scan: flip(scan / "positions_m/c/0/0"),
    "the mask deleted": lambda scan: next((scan / "mask/c").rglob("0")).rename(scan / "elsewhere"),
    "the probe flipped": lambda scan: flip(next(path for path in (scan / "probe/c").rglob("*") if path.is_file())),
    "another energy": lambda scan: change_attribute(scan / "zarr.json", "energy_ev", 5430.0),
    "another distance": lambda scan: change_attribute(scan / "zarr.json", "distance_m", 1.6),
    "fewer frames": lambda scan: rewrite(scan / "counts/zarr.json", lambda text: text.replace(b"6,\n", b"5,\n", 1)),
    "counts not described": lambda scan: (scan / "counts/zarr.json").unlink(),
}


def test_a_whole_scan_is_read(scan: Path, store: DatasetStore) -> None:
    read = store.read_scan("ds_1", "a")
    assert read["counts"].shape == (6, 64, 64)
    assert (read["energy_ev"], read["distance_m"]) == (5420.0, 1.5)
    assert store.verify("ds_1") == []
    turned = store.read_scan("ds_1", "a", orientation=5)
    np.testing.assert_array_equal(turned["counts"], reorient(read["counts"], 5))
    np.testing.assert_array_equal(turned["positions_m"], read["positions_m"])


@pytest.mark.parametrize("kind", DAMAGE)
def test_no_damage_is_read_as_a_measurement(scan: Path, store: DatasetStore, kind: str) -> None:
    DAMAGE[kind](scan)
    with pytest.raises(DatasetDamagedError, match=r"scan a of dataset ds_1 is damaged: .*; restore it from a copy"):
        store.read_scan("ds_1", "a")
    assert store.verify("ds_1")


def test_verify_names_the_file(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    for name, energy_ev in (("a", 5420.0), ("b", 5430.0)):
        store.add_scan("ds_1", name, files.npz(tmp_path / "f.npz", energy_ev=energy_ev))
    assert set(manifest_of(on_disk(store.root) / "ds_1/scans/a") or ()) >= {"zarr.json", "counts/zarr.json", "counts/c/0/0/0"}
    flip(on_disk(store.root) / "ds_1/scans/b/counts/c/0/0/0")
    (fault,) = store.verify("ds_1")
    assert fault == "scan b: counts/c/0/0/0 holds other bytes than were written"
    (on_disk(store.root) / "ds_1/zarr.json").write_bytes(b"")
    assert "zarr.json cannot be read" in store.verify("ds_1")[0]


def test_frames_are_turned_block_by_block_and_seen_as_they_are_stored() -> None:
    class Stored:
        """Four frames in chunks of three."""

        values = np.arange(4 * 5 * 5).reshape(4, 5, 5)
        shape, dtype, chunks = values.shape, values.dtype, (3, 5, 5)

        def __getitem__(self, index: Any) -> Any:
            return self.values[index]

    seen: list[bytes] = []
    turned = read_turned(Stored(), 6, lambda block: seen.append(bytes(block)))
    np.testing.assert_array_equal(turned, reorient(Stored.values, 6))
    assert b"".join(seen) == Stored.values.tobytes()
    assert len(seen) == 2
