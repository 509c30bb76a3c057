"""Data of ptypy, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError
from storage.readers.format import open_scan
from storage.readers.record import BeamCentre

FRAMES = np.random.default_rng(0).poisson(20, (5, 16, 16)).astype(np.int32)
POSITIONS_M = 1e-7 * np.arange(10.0).reshape(5, 2)
META: dict[str, Any] = {
    "energy": 5.42, "distance": 1.5, "psize": np.array([75e-6, 75e-6]), "center": np.array([8.0, 7.0]),
}  # fmt: skip


def write(path: Path, sizes: tuple[int, ...] = (2, 3), weights: np.ndarray | None = None, **changed: Any) -> Path:
    """A file of chunks; a name in ``changed`` is one of ``meta``, or of the first chunk with ``chunk_`` before it."""
    with h5py.File(path, "w") as file:
        begin = 0
        for number, size in enumerate(sizes):
            part = slice(begin, begin + size)
            begin += size
            fields = {"data": FRAMES[part], "positions": POSITIONS_M[part], "indices": np.arange(part.start, part.stop)}
            fields["weights"] = np.zeros(0) if weights is None else weights[part]
            if number == 0:
                fields |= {name.removeprefix("chunk_"): value for name, value in changed.items() if name.startswith("chunk_")}
            for name, value in fields.items():
                if value is not None:
                    file[f"chunks/{number}/{name}"] = value
        for name, value in {**META, **{key: value for key, value in changed.items() if not key.startswith("chunk_")}}.items():
            if value is not None:
                file[f"meta/{name}"] = value
    return path


def test_chunks_are_one_energy_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sizes = (1,) * 5
    with open_scan(write(tmp_path / "f", sizes)) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:5], FRAMES)
        np.testing.assert_array_equal(source.positions_m, POSITIONS_M)
        assert source.energy_ev == pytest.approx(5420)
        assert (source.distance_m, source.detector_pixel_size_m) == (1.5, 75e-6)
        assert source.beam_centre == BeamCentre(8.0, 7.0)
        assert source.mask is None
        assert source.frame_masks is None


def test_weights_of_zero_are_bad_pixels(tmp_path: Path) -> None:
    weights = np.ones(FRAMES.shape)
    weights[3, 1, 2] = 0
    with open_scan(write(tmp_path / "f", weights=weights)) as (source,):
        assert source.frame_masks is not None
        np.testing.assert_array_equal(source.frame_masks[0:5], weights > 0)
    with open_scan(write(tmp_path / "g", weight2d=weights[3])) as (source,):
        np.testing.assert_array_equal(source.mask, weights[3] > 0)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("energy", 5420.0, "eV"), ("energy", 5.42, "keV"), ("energy", 5.42e-3, "MeV"), ("energy", 5420 * 1.602176634e-19, "J"),
        ("distance", 1500.0, "mm"), ("psize", np.array([75.0, 75.0]), "um"), ("psize", 75e-9, "km"),
        ("center", np.array([8.0, 7.0]), "pixel"), ("center", np.array([[8.0], [7.0]]), "px"),
    ],
)  # fmt: skip
def test_a_unit_that_is_stated_counts(tmp_path: Path, name: str, value: Any, unit: str) -> None:
    with h5py.File(write(tmp_path / "f", **{name: value}), "r+") as file:
        file[f"meta/{name}"].attrs["units"] = unit
    with open_scan(tmp_path / "f") as (source,):
        assert source.faults == ()
        assert source.energy_ev == pytest.approx(5420)
        assert source.distance_m == pytest.approx(1.5)
        assert source.detector_pixel_size_m == pytest.approx(75e-6)
        assert source.beam_centre == BeamCentre(8.0, 7.0)


@pytest.mark.parametrize(
    ("name", "unit", "field"),
    [
        ("energy", "m", "energy_ev"), ("distance", "eV", "distance_m"), ("center", "mm", "beam_centre_px"),
        ("psize", "px", "detector_pixel_size_m"),
    ],
)  # fmt: skip
def test_a_unit_of_another_quantity_is_refused(tmp_path: Path, name: str, unit: str, field: str) -> None:
    with h5py.File(write(tmp_path / "f"), "r+") as file:
        file[f"meta/{name}"].attrs["units"] = unit
    with open_scan(tmp_path / "f") as (source,):
        assert [fault.field for fault in source.faults] == [field]
        assert "is no unit of" in source.faults[0].message


def test_numbers_that_are_text_are_missing(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f", distance="None", psize="None", center="None")) as (source,):
        assert source.faults == ()
        assert (source.distance_m, source.detector_pixel_size_m, source.beam_centre) == (None, None, None)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"energy": None}, "energy_ev"),
        ({"energy": 5420.0}, "energy_ev"),
        ({"energy": "None"}, "energy_ev"),
        ({"energy": np.nan}, "energy_ev"),
        ({"energy": np.array([5.42, 5.43])}, "energy_ev"),
        ({"psize": np.array([75e-6, 55e-6])}, "detector_pixel_size_m"),
        ({"distance": -1.0}, "distance_m"),
        ({"propagation": "nearfield"}, "distance_m"),
        ({"chunk_positions": None}, "positions_m"),
        ({"chunk_positions": POSITIONS_M[:1]}, "positions_m"),
        ({"chunk_positions": np.full((2, 2), np.nan)}, "positions_m"),
        ({"chunk_data": FRAMES[0]}, "counts"),
        ({"chunk_data": FRAMES[:2, :8]}, "counts"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str) -> None:
    with open_scan(write(tmp_path / "f", **changed)) as (source,):
        assert {fault.field for fault in source.faults} == {field}


def test_frames_elsewhere_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "f", chunk_data=h5py.ExternalLink("/etc/passwd", "x"))
    with pytest.raises(HostileFileError, match="external link"), open_scan(tmp_path / "f"):
        pass


def test_weights_of_all_frames_count_in_every_form(tmp_path: Path) -> None:
    bad = np.ones(FRAMES.shape[1:])
    bad[1, 2] = 0
    for changed in ({"weight2d": bad}, {"weight2d": bad[np.newaxis]}):
        with open_scan(write(tmp_path / "f", **changed)) as (source,):
            np.testing.assert_array_equal(source.mask, bad > 0)
    for weights in (bad, bad[np.newaxis]):
        with open_scan(write(tmp_path / "f", chunk_weights=weights)) as (source,):
            assert source.faults == ()
            assert source.frame_masks is not None
            np.testing.assert_array_equal(source.frame_masks[0:2], np.stack([bad, bad]) > 0)
            assert source.frame_masks[2:5].all(), "the second chunk has no weights"


@pytest.mark.parametrize("weights", [np.ones((1, 16)), np.ones((3, 16, 16)), np.ones((2, 16, 15)), np.ones((2, 16, 16), complex)])
def test_weights_that_fit_no_frames_are_named(tmp_path: Path, weights: Any) -> None:
    with open_scan(write(tmp_path / "f", chunk_weights=weights)) as (source,):
        assert [fault.field for fault in source.faults] == ["mask"]
    with open_scan(write(tmp_path / "f", weight2d=np.ones((2, 16, 16)))) as (source,):
        assert [fault.field for fault in source.faults] == ["mask"]


def test_no_weights_at_all_may_be_written_as_text(tmp_path: Path) -> None:
    with open_scan(write(tmp_path / "f", weight2d="None")) as (source,):
        assert (source.faults, source.mask, source.frame_masks) == ((), None, None)
