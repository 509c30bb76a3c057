"""Masters of NanoMAX and the files of their detectors, written field by field."""

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError, InvalidScanError
from storage.readers.format import open_scan

COUNTS = np.random.default_rng(0).poisson(20, (6, 16, 16))
X_UM, Y_UM = np.arange(6.0), 10 + np.arange(6.0)
FIELDS: dict[str, Any] = {
    "entry/measurement/eiger1m/frames": COUNTS, "entry/measurement/pseudo/x": X_UM, "entry/measurement/pseudo/y": Y_UM,
    "entry/snapshots/pre_scan/energy": np.array([7995.0]),
}  # fmt: skip
LINK = h5py.ExternalLink("scan_000012_eiger.hdf5", "/entry/measurement/Eiger/data")


def write(path: Path, **changed: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in {**FIELDS, **{key.replace("__", "/"): value for key, value in changed.items()}}.items():
            if value is not None:
                file[name] = value
    return path


def packed(folder: Path, link: Any = LINK) -> Path:
    """A ZIP of a master and the file of its detector."""
    master = write(folder / "000012.h5", entry__measurement__eiger1m__frames=link)
    with h5py.File(folder / "scan_000012_eiger.hdf5", "w") as file:
        file["entry/measurement/Eiger/data"] = COUNTS
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        for path in (master, folder / "scan_000012_eiger.hdf5"):
            archive.write(path, path.name)
    return folder / "scan.zip"


def test_positions_are_micrometres_and_the_energy_ev(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f")) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:6], COUNTS)
        assert source.positions_m is not None
        np.testing.assert_allclose(source.positions_m, 1e-6 * np.stack([Y_UM, X_UM], axis=1))
        assert source.energy_ev == 7995.0


@pytest.mark.parametrize("target", ["scan_000012_eiger.hdf5", "../raw/scan_000012_eiger.hdf5"])
def test_frames_are_found_in_the_file_beside_the_master(tmp_path: Path, target: str) -> None:
    with open_scan(packed(tmp_path, h5py.ExternalLink(target, LINK.path))) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[2:4], COUNTS[2:4])


def test_no_other_file_is_reached(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["entry/measurement/Eiger/data"] = COUNTS
    with open_scan(packed(tmp_path, h5py.ExternalLink(str(tmp_path / "secret.h5"), LINK.path))) as (source,):
        assert [fault.field for fault in source.faults] == ["counts"]
    with pytest.raises(HostileFileError, match="external link"), open_scan(tmp_path / "000012.h5"):
        pass


def test_a_monitor_that_varies_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "f", entry__measurement__alba__channel1=np.array([1.0, 1.2, 1, 1.2, 1, 1.2]))
    with open_scan(path) as (source,):
        assert "reconstruct.frame_flux" in source.warnings[0]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"entry__measurement__eiger1m__frames": None}, "counts"),
        ({"entry__measurement__merlin__frames": COUNTS}, "counts"),
        ({"entry__measurement__pseudo__y": None}, "positions_m"),
        ({"entry__measurement__pseudo__y": Y_UM[:-1]}, "positions_m"),
        ({"entry__measurement__pseudo__y": Y_UM * np.nan}, "positions_m"),
        ({"entry__snapshots__pre_scan__energy": None}, "energy_ev"),
        ({"entry__snapshots__pre_scan__energy": 7.995}, "energy_ev"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_scan(write(tmp_path / "f", **changed)) as (source,):
        assert [fault.field for fault in source.faults] == [field]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_detectors_file_may_be_virtual_itself(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    write(folder / "000012.h5", entry__measurement__eiger1m__frames=LINK)
    layout = h5py.VirtualLayout(COUNTS.shape, COUNTS.dtype)
    for part in range(2):
        rows = COUNTS[3 * part : 3 * part + 3]
        layout[3 * part : 3 * part + 3] = h5py.VirtualSource(f"part_{part}.h5", "frames", rows.shape, rows.dtype)
        if is_there or part == 0:
            with h5py.File(folder / f"part_{part}.h5", "w") as file:
                file["frames"] = rows
    with h5py.File(folder / LINK.filename, "w") as file:
        file.create_virtual_dataset("entry/measurement/Eiger/data", layout, fillvalue=1)
    if not is_there:
        with pytest.raises(InvalidScanError, match=r"part_1.h5.* is not beside it"), open_scan(folder):
            pass
        return
    with open_scan(folder) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[2:4], COUNTS[2:4])


def test_frames_of_several_detectors_are_a_fault_wherever_they_are(tmp_path: Path) -> None:
    for number, place in enumerate(
        ("entry/measurement/merlin/frames", "entry/measurement/Eiger/data", "entry/instrument/Eiger/data")
    ):
        with open_scan(write(tmp_path / f"f{number}", **{place: COUNTS})) as (source,):
            (fault,) = source.faults
            assert fault.field == "counts"
            assert "several detectors, " in fault.message
            assert place in fault.message
            assert "eiger1m" in fault.message
    same = {
        "entry/measurement/eiger1m/frames": None,
        "entry/measurement/Eiger/data": COUNTS,
        "entry/instrument/Eiger/data": COUNTS,
    }
    with open_scan(write(tmp_path / "same", **same)) as (source,):
        assert source.faults == (), "one detector, in both of its places"


def test_a_detector_whose_file_was_not_sent_is_named(tmp_path: Path) -> None:
    master = write(tmp_path / "000012.h5", entry__measurement__eiger1m__frames=LINK)
    with h5py.File(master, "r+") as file:
        file["entry/measurement/merlin"] = h5py.ExternalLink("scan_000012_merlin.hdf5", "/entry/measurement/Merlin")
    packed_with = tmp_path / "scan.zip"
    with h5py.File(tmp_path / "scan_000012_eiger.hdf5", "w") as file:
        file["entry/measurement/Eiger/data"] = COUNTS
    with h5py.File(tmp_path / "scan_000012_merlin.hdf5", "w") as file:
        file["entry/measurement/Merlin/frames"] = COUNTS
    names = [master.name, "scan_000012_eiger.hdf5", "scan_000012_merlin.hdf5"]
    for sent in (names[:2], names):
        with zipfile.ZipFile(packed_with, "w") as archive:
            for name in sent:
                archive.write(tmp_path / name, name)
        with open_scan(packed_with) as (source,):
            if sent == names:
                assert "several detectors" in source.faults[0].message
            else:
                assert source.faults == ()
                assert "the frames are those of eiger1m; merlin is in another file" in " ".join(source.warnings)
