"""NXstxm files, read by h5py by the paths of the definition, and by our own reader."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from published import PIXEL_SIZE_M

from storage.errors import ExportError
from storage.exports.nxstxm import write_nxstxm
from storage.exports.source import Source
from storage.readers.image_format import open_images

REQUIRED = (
    "title", "start_time", "end_time", "definition", "instrument/source/type", "instrument/source/name",
    "instrument/source/probe", "instrument/monochromator/energy", "instrument/detector/data", "instrument/sample_x/data",
    "instrument/sample_y/data", "sample/rotation_angle", "Counter1/stxm_scan_type", "Counter1/data", "Counter1/energy",
    "Counter1/sample_y", "Counter1/sample_x", "control/data",
)  # fmt: skip
"""Fields that the definition requires of a sample image stack."""


def test_the_definition_is_followed(exported: dict[str, Path], one: Source) -> None:
    with h5py.File(exported["nxstxm"]) as file:
        entry = file["entry1"]
        assert [name for name in REQUIRED if name not in entry] == []
        assert entry["definition"][()] == b"NXstxm"
        data = entry["Counter1"]
        assert data.attrs["NX_class"] == "NXdata"
        assert [str(axis) for axis in data.attrs["axes"]] == ["energy", "sample_y", "sample_x"]
        density = -np.log(data["data"][...] / entry["control/data"][...][:, None, None])
        np.testing.assert_allclose(density, 2 * one.read("ds_a/spectra", "absorption"), atol=1e-6)
        assert data["stxm_scan_type"][()] == b"sample image stack"


def test_our_reader_finds_energies_and_pixels(exported: dict[str, Path], one: Source) -> None:
    with open_images(exported["nxstxm"]) as sources:
        assert [source.energy_ev for source in sources] == pytest.approx(one.read("ds_a/spectra", "energy").tolist())
        assert sources[0].pixel_size_m == pytest.approx(PIXEL_SIZE_M)
        assert [source.i0 for source in sources] == [1.0] * 5


def test_one_dataset_a_file(both: Source, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="name one of them"):
        write_nxstxm(both, tmp_path / "out.nxs")
