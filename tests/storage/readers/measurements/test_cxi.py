from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.format import open_scan
from storage.readers.record import ScanSource

JOULE_EV = 1.602176634e-19


def read(path: Path) -> tuple[ScanSource, Any]:
    """The file's one scan, and its frames."""
    with open_scan(path) as (source,):
        return source, None if source.frames is None else source.frames[0 : source.frames.shape[0]]


def faults_of(path: Path) -> list[str]:
    return [f"{fault.field}: {fault.message}" for fault in read(path)[0].faults]


def test_every_field_is_found_and_x_is_the_column(files: Any, tmp_path: Path) -> None:
    bad = np.zeros((16, 16), np.uint32)
    bad[1, 2] = 1
    path = files.cxi(tmp_path / "f", bad_pixels=bad, probe=np.full((16, 16), 1 + 2j))
    source, frames = read(path)
    given = files.measurement()
    assert source.faults == ()
    assert source.energy_ev == pytest.approx(5420, rel=1e-12)
    np.testing.assert_allclose(source.positions_m, given["positions_m"])
    np.testing.assert_array_equal(frames, given["counts"])
    assert source.mask is not None
    assert np.argwhere(~source.mask).tolist() == [[1, 2]]
    assert source.probe is not None
    assert (source.probe.shape, source.probe.dtype) == ((1, 16, 16), np.complex64)


@pytest.mark.parametrize(
    "place", ["data_1/translation", "sample_1/geometry_1/translation", "instrument_1/detector_1/translation"]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_positions_are_found_wherever_they_are(files: Any, tmp_path: Path, place: str, transposed: bool) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        values = file["entry_1/sample_1/geometry_1/translation"][()]
        del file["entry_1/sample_1"]
        file[f"entry_1/{place}"] = values.T if transposed else values
    np.testing.assert_allclose(read(path)[0].positions_m, files.measurement()["positions_m"])


def test_a_soft_link_within_the_file_is_followed_and_a_broken_one_is_nothing(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        file["entry_1/data_1/data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        file["entry_1/data_1/translation"] = h5py.SoftLink("/nowhere")
    source, frames = read(path)
    assert source.faults == ()
    assert frames.shape == (6, 16, 16)


@pytest.mark.parametrize(
    ("stored", "units", "energy_ev"),
    [
        (5420 * JOULE_EV, None, 5420.0),
        (5420.0, None, 5420.0),
        (5420.0, "eV", 5420.0),
        (5.42, "keV", 5420.0),
        (5420 * JOULE_EV, "J", 5420.0),
        (np.full(6, 5420.0), None, 5420.0),
        (np.array([5420.0]), b"eV", 5420.0),
    ],
)
def test_energies_in_joules_and_electronvolts_are_told_apart(
    files: Any, tmp_path: Path, stored: Any, units: Any, energy_ev: float
) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = stored
        if units is not None:
            file["entry_1/instrument_1/source_1/energy"].attrs["units"] = units
    assert read(path)[0].energy_ev == pytest.approx(energy_ev)


@pytest.mark.parametrize("stored", [5.42, 0.0, -5420.0, np.nan, np.inf, 3e9, 1e-9, np.array([5420.0, 5421.0]), np.zeros(0), 1j])
def test_energies_that_cannot_be_are_refused(files: Any, tmp_path: Path, stored: Any) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = stored
    (fault,) = faults_of(path)
    assert fault.startswith("energy_ev: ")


@pytest.mark.parametrize("field", ["counts", "positions_m", "energy_ev"])
def test_a_missing_field_is_named_with_where_it_was_looked_for(files: Any, tmp_path: Path, field: str) -> None:
    (fault,) = faults_of(files.cxi(tmp_path / "f", **{field: None}))
    assert fault.startswith(f"{field}: missing: nothing at ")


@pytest.mark.parametrize(
    ("field", "place", "value"),
    [
        ("counts", "instrument_1/detector_1/data", np.ones((6, 16))),
        ("counts", "instrument_1/detector_1/data", np.ones((0, 16, 16))),
        ("counts", "instrument_1/detector_1/data", np.ones((6, 16, 16), complex)),
        ("positions_m", "sample_1/geometry_1/translation", np.ones((6, 4))),
        ("positions_m", "sample_1/geometry_1/translation", np.full((6, 3), np.nan)),
        ("positions_m", "sample_1/geometry_1/translation", np.array([b"a", b"b"])),
        ("distance_m", "instrument_1/detector_1/distance", -1.0),
        ("detector_pixel_size_m", "instrument_1/detector_1/y_pixel_size", 55e-6),
        ("mask", "instrument_1/detector_1/mask", np.zeros(16, np.uint32)),
        ("probe", "instrument_1/source_1/illumination", np.full((16, 16), np.nan)),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(files: Any, tmp_path: Path, field: str, place: str, value: Any) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        if place in file["entry_1"]:
            del file[f"entry_1/{place}"]
        file[f"entry_1/{place}"] = value
    assert [fault.split(":")[0] for fault in faults_of(path)] == [field]


def test_lengths_in_other_units_are_converted_and_unknown_units_refused(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f", distance_m=1500.0)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/detector_1/distance"].attrs["units"] = "mm"
    assert read(path)[0].distance_m == 1.5
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/detector_1/distance"].attrs["units"] = "furlong"
    assert "furlong" in faults_of(path)[0]


def test_a_nexus_raster_states_the_beams_energy_and_its_frames_in_rows(files: Any, tmp_path: Path) -> None:
    path = tmp_path / "raster.nxs"
    given = files.measurement()
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry_1")
        entry["definition"] = "NXcxi_ptycho"
        entry["instrument_1/source_1/energy"] = 3e9
        entry["instrument_1/beam_1/incident_beam_energy"] = 5420 * JOULE_EV
        entry["instrument_1/detector_1/data"] = given["counts"].reshape(2, 3, 16, 16)
        y, x = given["positions_m"].T
        entry["data_1/translation"] = np.stack([x, y, 0 * x], -1).reshape(2, 3, 3)
        entry["instrument_1/detector_1/beam_center_x"] = 9.0
        entry["instrument_1/detector_1/beam_center_y"] = 7.0
    source, frames = read(path)
    assert source.faults == ()
    assert source.energy_ev == pytest.approx(5420)
    assert source.beam_centre_px == (7.0, 9.0)
    np.testing.assert_array_equal(frames, given["counts"])
    np.testing.assert_allclose(source.positions_m, given["positions_m"])


def test_entries_are_read_in_the_order_of_their_numbers(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f", *({"energy_ev": 5400.0 + i} for i in range(11)))
    with open_scan(path) as sources:
        assert [source.label for source in sources] == [f"entry_{i}" for i in range(1, 12)]
        assert sources[10].energy_ev == pytest.approx(5410)


def test_a_mask_of_every_frame_is_bad_where_any_is(files: Any, tmp_path: Path) -> None:
    bad = np.zeros((6, 16, 16), np.uint8)
    bad[3, 1, 2] = bad[4, 5, 6] = 1
    mask = read(files.cxi(tmp_path / "f", bad_pixels=bad))[0].mask
    assert mask is not None
    assert np.argwhere(~mask).tolist() == [[1, 2], [5, 6]]
