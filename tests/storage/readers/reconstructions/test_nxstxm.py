"""NXstxm stacks, written field by field."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.readers.image_format import open_images

STACK = np.arange(3 * 16 * 20, dtype=np.float32).reshape(3, 16, 20) + 1

FIXED = np.array([b"energy", b"sample_y", b"sample_x"])


def write(path: Path, axes: Any = None, units: str = "um", **changed: Any) -> Path:
    fields = {
        "data": STACK,
        "energy": np.array([700.0, 705.0, 710.0]),
        "sample_y": -638.1 + 0.08 * np.arange(16),
        "sample_x": -4736.6 + 0.08 * np.arange(20),
        **changed,
    }
    with h5py.File(path, "w") as file:
        file["entry1/definition"] = "NXstxm"
        group = file.create_group("entry1/counter0")
        group.attrs["NX_class"] = "NXdata"
        if axes is not None:
            group.attrs["axes"] = axes
        for name, value in fields.items():
            if value is not None:
                group[name] = value
        for name in {"sample_y", "sample_x"} & set(group):
            group[name].attrs["units"] = units
    return path


@pytest.mark.parametrize("axes", [None, ["energy", "sample_y", "sample_x"], np.bytes_("energy:sample_y:sample_x"), FIXED])
def test_images_come_with_their_energies_and_pixel(tmp_path: Path, axes: Any) -> None:
    with open_images(write(tmp_path / "f", axes)) as sources:
        assert [one.energy_ev for one in sources] == [700.0, 705.0, 710.0]
        assert all(one.quantity == "intensity" and one.faults == () for one in sources)
        assert sources[0].pixel_size_m == pytest.approx(80e-9)
        assert sources[2].image is not None
        np.testing.assert_array_equal(sources[2].image[()], STACK[2])


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"axes": ["sample_y", "sample_x", "energy"], "data": STACK.transpose(1, 2, 0)}, "image", "transpose the data"),
        ({"data": STACK.transpose(0, 2, 1)}, "image", "rows and columns swapped"),
        ({"data": STACK[:2]}, "image", "2 images for 3 energies"),
        ({"sample_x": None}, "pixel_size_m", "missing"),
        ({"sample_x": np.r_[0.0, np.arange(19) + 5.0]}, "pixel_size_m", "even steps"),
        ({"sample_y": 0.16 * np.arange(16)}, "pixel_size_m", "square"),
        ({"units": "eV"}, "pixel_size_m", "no unit of length"),
        ({"energy": np.array([7.0, 7.1, 7.2])}, "energy_ev", "keV"),
    ],
)
def test_what_is_missing_or_wrong_is_named(tmp_path: Path, changed: dict[str, Any], field: str, words: str) -> None:
    with open_images(write(tmp_path / "f", **changed)) as (source, *_):
        found = [fault.message for fault in source.faults if fault.field == field]
    assert any(words in message for message in found), found


@pytest.mark.parametrize(("shape", "is_taken"), [((3,), True), ((3, 1, 1), True), ((1,), False), ((3, 16, 20), False)])
def test_a_monitor_is_taken_where_it_has_a_reading_an_energy_and_told_of_otherwise(
    tmp_path: Path, shape: tuple[int, ...], is_taken: bool
) -> None:
    path = write(tmp_path / "f")
    with h5py.File(path, "r+") as file:
        file["entry1/control/data"] = np.full(shape, 2e3)
    with open_images(path) as sources:
        assert [source.i0 for source in sources] == [2e3 if is_taken else None] * 3
        assert ["entry1/control/data holds" in one for one in sources[0].warnings] == [True] * (not is_taken)
