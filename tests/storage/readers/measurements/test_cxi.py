from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.format import open_scan
from storage.readers.record import BeamCentre, ScanSource

JOULE_EV = 1.602176634e-19


def read(path: Path) -> tuple[ScanSource, Any]:
    """The file's one scan, and its frames."""
    with open_scan(path) as (source,):
        return source, None if source.frames is None else source.frames[0 : source.frames.shape[0]]


def positions_are_as_given(source: ScanSource, files: Any) -> None:
    assert source.positions_m is not None
    np.testing.assert_allclose(source.positions_m, files.measurement()["positions_m"])


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
    positions_are_as_given(source, files)
    np.testing.assert_array_equal(frames, given["counts"])
    assert source.mask is not None
    assert np.argwhere(~source.mask).tolist() == [[1, 2]]
    assert source.probe is not None
    assert source.probe.shape == (1, 16, 16)
    assert source.probe.dtype == np.complex64


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
    positions_are_as_given(read(path)[0], files)


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


@pytest.mark.parametrize(
    ("stored", "units", "words"),
    [
        (3000.0, "MeV", "storage ring's"), (3.0, "GeV", "storage ring's"), (3e9, "eV", "storage ring's"),
        (3e9, None, "neither joules"), (3e9 * JOULE_EV, None, "neither joules"), (3e9 * JOULE_EV, "J", "storage ring's"),
        (3.0, None, "looks like keV"), (29.0, "eV", "30 to 200000 eV"), (2.1e5, "eV", "30 to 200000 eV"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["source_1/energy", "beam_1/incident_beam_energy"])
def test_an_energy_that_no_photon_of_a_beamline_has_is_refused(
    files: Any, tmp_path: Path, place: str, stored: float, units: str | None, words: str
) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file[f"entry_1/instrument_1/{place}"] = stored
        if units:
            file[f"entry_1/instrument_1/{place}"].attrs["units"] = units
    (fault,) = faults_of(path)
    assert words in fault


@pytest.mark.parametrize("declared", ["definition", "NX_class", "class as bytes"])
@pytest.mark.parametrize("energy", [2999.0, np.full(6, 6000.0), np.array([1500])])
def test_the_rings_energy_is_not_taken_for_the_photons(files: Any, tmp_path: Path, declared: str, energy: Any) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = energy
        if declared == "definition":
            file["entry_1/definition"] = "NXcxi_ptycho"
        else:
            file["entry_1/instrument_1/source_1"].attrs["NX_class"] = "NXsource" if declared == "NX_class" else b"NXsource"
    (fault,) = faults_of(path)
    assert "NeXus means the storage ring there" in fault
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/beam_1/incident_beam_energy"] = 5420.0
    assert read(path)[0].energy_ev == 5420.0


def test_a_bare_energy_of_a_source_is_told_of(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = 3000.0
    source, _ = read(path)
    assert source.energy_ev == 3000.0
    assert source.warnings == (
        "3000 at instrument_1/source_1/energy has no unit: taken for the photons' energy in eV; it must not be the storage "
        "ring's in MeV",
    )
    assert read(files.cxi(tmp_path / "g"))[0].warnings == ()


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
    assert source.beam_centre == BeamCentre(7.0, 9.0)
    np.testing.assert_array_equal(frames, given["counts"])
    positions_are_as_given(source, files)


def test_entries_are_read_in_the_order_of_their_numbers(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f", *({"energy_ev": 5400.0 + i} for i in range(11)))
    with open_scan(path) as sources:
        assert [source.label for source in sources] == [f"entry_{i}" for i in range(1, 12)]
        assert sources[10].energy_ev == pytest.approx(5410)


def test_a_mask_of_every_frame_is_read_frame_by_frame(files: Any, tmp_path: Path) -> None:
    bad = np.zeros((6, 16, 16), np.uint8)
    bad[3, 1, 2] = bad[4, 5, 6] = 1
    with open_scan(files.cxi(tmp_path / "f", bad_pixels=bad)) as (source,):
        assert source.mask is None
        assert source.frame_masks is not None
        np.testing.assert_array_equal(source.frame_masks[2:5], bad[2:5] == 0)


def test_masks_of_frames_that_were_never_written_are_named(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        masks = file.create_dataset(f"{DETECTOR}/mask", (6, 16, 16), np.uint32, chunks=(1, 16, 16))
        masks[:4] = 0
    assert faults_of(path) == ["mask: was never written for 2 of 6 frames, or only in part"]


DETECTOR = "entry_1/instrument_1/detector_1"
ENERGY = "entry_1/instrument_1/source_1/energy"
TRANSLATION = "entry_1/sample_1/geometry_1/translation"


def restate(path: Path, place: str, factor: float, unit: Any) -> Path:
    """Multiply what is at ``place`` and let it have a unit."""
    with h5py.File(path, "r+") as file:
        value = file[place][()] * factor
        del file[place]
        file[place] = value
        file[place].attrs["units"] = unit
    return path


UNITS = [
    ("cm", 1e2),
    ("mm", 1e3),
    (b"mm", 1e3),
    ("um", 1e6),
    (np.bytes_(b"\xb5m"), 1e6),
    ("nm", 1e9),
    ("Metres", 1),
    ("1e-6 m", 1e6),
]


@pytest.mark.parametrize(("unit", "per_metre"), [*UNITS, (h5py.Empty("S1"), 1), ("", 1), (np.array(["um"], "S2"), 1e6)])
@pytest.mark.parametrize("place", [f"{DETECTOR}/distance", f"{DETECTOR}/x_pixel_size", TRANSLATION])
def test_every_length_is_converted_from_the_unit_it_states(
    files: Any, tmp_path: Path, place: str, unit: Any, per_metre: float
) -> None:
    source, _ = read(restate(files.cxi(tmp_path / "f"), place, per_metre, unit))
    assert source.faults == ()
    assert source.distance_m == pytest.approx(1.5)
    assert source.detector_pixel_size_m == pytest.approx(75e-6)
    positions_are_as_given(source, files)


@pytest.mark.parametrize(
    ("place", "field"),
    [
        (f"{DETECTOR}/distance", "distance_m"), (f"{DETECTOR}/y_pixel_size", "detector_pixel_size_m"),
        (TRANSLATION, "positions_m"), (ENERGY, "energy_ev"), (f"{DETECTOR}/data", "counts"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("unit", ["furlong", "deg", np.array([b"m", b"um"])])
def test_a_number_in_a_unit_that_it_cannot_have_is_refused(files: Any, tmp_path: Path, place: str, field: str, unit: Any) -> None:
    (fault,) = faults_of(restate(files.cxi(tmp_path / "f"), place, 1, unit))
    assert fault.startswith(f"{field}: unit ")
    assert "is no unit of " in fault


@pytest.mark.parametrize(
    ("value", "unit", "energy_ev"),
    [
        (5.42, "keV", 5420), (5420, "eV", 5420), (0.00542, "MeV", 5420), (5420 * JOULE_EV * 1e15, "fJ", 5420),
        (5420 * JOULE_EV, "eV", 5420),
        (3.0, "GeV", None), (3000, "MeV", None), (3000, "keV", None), (5.42, "eV", None), (5420, "J", None),
    ],
)  # fmt: skip
def test_an_energy_is_converted_and_the_storage_rings_refused(
    files: Any, tmp_path: Path, value: float, unit: str, energy_ev: float | None
) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file[ENERGY] = value
        file[ENERGY].attrs["units"] = unit
    source, _ = read(path)
    assert source.energy_ev == (None if energy_ev is None else pytest.approx(energy_ev))
    assert bool(source.faults) == (energy_ev is None)
    if value == 3.0:
        assert "3e+09 eV (its unit is 'GeV'); it is the storage ring's, not the photons'" in source.faults[0].message


@pytest.mark.parametrize(
    ("value", "unit", "beam", "energy_ev"),
    [
        (2999.0, None, None, None), (2999.0, None, 5420 * JOULE_EV, 5420), (2999.0, "MeV", 5.42e3, 5420),
        (5420.0, "eV", None, 5420), (5420 * JOULE_EV, None, None, 5420),
    ],
)  # fmt: skip
def test_nexus_has_the_ring_where_cxi_has_the_photons(
    files: Any, tmp_path: Path, value: float, unit: str | None, beam: float | None, energy_ev: float | None
) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file["entry_1/definition"] = "NXcxi_ptycho"
        file[ENERGY] = value
        if unit:
            file[ENERGY].attrs["units"] = unit
        if beam:
            file["entry_1/instrument_1/beam_1/incident_beam_energy"] = beam
    source, _ = read(path)
    assert source.energy_ev == (None if energy_ev is None else pytest.approx(energy_ev))
    assert [fault.field for fault in source.faults] == ([] if energy_ev else ["energy_ev"])


@pytest.mark.parametrize(("noise", "one"), [(0.02, True), (1.0, False)])
def test_energies_read_back_at_every_frame_are_one_where_they_agree(files: Any, tmp_path: Path, noise: float, one: bool) -> None:
    path = files.cxi(tmp_path / "f", energy_ev=None)
    with h5py.File(path, "r+") as file:
        file[ENERGY] = 5420 + np.random.default_rng(0).normal(0, noise, 6)
    source, _ = read(path)
    assert (source.energy_ev == pytest.approx(5420, abs=0.05)) if one else "must be one number" in str(source.faults)


@pytest.mark.parametrize(
    ("unit", "scale"), [("mm", 0.075), ("m", 75e-6), ("um", 75), ("pixel", 1), ("pixels", 1), ("", 1), (None, 1), (b"mm", 0.075)]
)
def test_a_beam_centre_is_in_the_unit_it_states(files: Any, tmp_path: Path, unit: Any, scale: float) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        for axis, pixels in (("y", 7.0), ("x", 9.0)):
            file[f"{DETECTOR}/beam_center_{axis}"] = pixels * scale
            if unit is not None:
                file[f"{DETECTOR}/beam_center_{axis}"].attrs["units"] = unit
    source, _ = read(path)
    assert source.faults == ()
    assert source.beam_centre is not None
    assert source.beam_centre.in_pixels(source.detector_pixel_size_m) == pytest.approx((7.0, 9.0))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_beam_centre_that_nobody_set_is_told_and_not_used(files: Any, tmp_path: Path, value: float) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/beam_center_y"] = file[f"{DETECTOR}/beam_center_x"] = value
    source, _ = read(path)
    assert (source.beam_centre, source.faults) == (None, ())
    assert "as where it was never set" in source.warnings[0]


def test_bits_that_inform_mask_nothing_and_nexus_has_bits_of_its_own(files: Any, tmp_path: Path) -> None:
    bits = np.zeros((16, 16), np.uint32)
    bits[4:12, 4:12], bits[1, 2], bits[3, 3] = 0x1000, 0x1004, 0x80000000
    mask = read(files.cxi(tmp_path / "f", bad_pixels=bits))[0].mask
    assert mask is not None
    assert np.argwhere(~mask).tolist() == [[1, 2]]
    path = files.cxi(tmp_path / "g")
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/pixel_mask"] = bits
    mask = read(path)[0].mask
    assert mask is not None
    assert np.count_nonzero(~mask) == 65


def test_the_detector_may_state_where_its_range_ends(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        file[f"{DETECTOR}/saturation_value"] = 11810
    assert read(path)[0].saturation_count == 11810


@pytest.mark.parametrize("name", [b"Vers\xf6hnung", b"Mess\xb5m"])
def test_latin_1_names_do_no_harm(files: Any, tmp_path: Path, name: bytes) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        h5py.h5g.create(file.id, name)
        h5py.h5g.create(file["entry_1"].id, name)
    assert faults_of(path) == []


@pytest.mark.parametrize("probe", [np.zeros((16, 16), complex), np.zeros((2, 16, 16), complex)])
def test_a_probe_without_light_is_refused(files: Any, tmp_path: Path, probe: Any) -> None:
    (fault,) = faults_of(files.cxi(tmp_path / "f", probe=probe))
    assert fault.startswith("probe: is zero everywhere")


@pytest.mark.parametrize("place", [TRANSLATION, f"{DETECTOR}/mask", f"{DETECTOR}/distance"])
def test_a_field_that_was_never_written_is_named(files: Any, tmp_path: Path, place: str) -> None:
    path = files.cxi(tmp_path / "f", bad_pixels=np.zeros((16, 16), np.uint32))
    with h5py.File(path, "r+") as file:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        file.create_dataset(place, shape, dtype, **({"chunks": shape} if shape else {}))
    (fault,) = faults_of(path)
    assert "was never written" in fault


@pytest.mark.parametrize("place", ["instrument_1/detector_2/data", "data_2/data"])
def test_frames_of_another_detector_are_named_as_not_read(files: Any, tmp_path: Path, place: str) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        file[f"entry_1/{place}"] = files.measurement()["counts"][:, :8, :8]
    source, frames = read(path)
    assert source.faults == ()
    np.testing.assert_array_equal(frames, files.measurement()["counts"])
    (warning,) = source.warnings
    assert f"those of {place} are not read" in warning


def test_spectra_and_links_to_the_frames_are_no_other_detector(files: Any, tmp_path: Path) -> None:
    path = files.cxi(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        n = len(files.measurement()["counts"])
        read_from = "data_1/data" if "entry_1/data_1/data" in file else "instrument_1/detector_1/data"
        file["entry_1/data_2/data"] = h5py.SoftLink(f"/entry_1/{read_from}")
        file["entry_1/instrument_1/detector_3/data"] = np.zeros((n, 1, 4096))
    assert read(path)[0].warnings == ()
