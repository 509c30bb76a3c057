"""Groups in HDF5: dimensions without coordinates, and attributes of any kind."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from storage.exports.hdf5 import as_they_are, attribute, copy_group
from storage.exports.source import Source
from storage.results import Group, ResultsStore, write_results


def test_a_dimension_without_a_coordinate_is_a_scale_without_values(tmp_path: Path) -> None:
    write_results(tmp_path / "r.zarr", {"ds_a/domains": Group({}, {"label": np.ones((3, 4), np.int8)})}, {})
    with h5py.File(tmp_path / "out.h5", "w") as file:
        copy_group(Source(ResultsStore(tmp_path / "r.zarr"), "run_1", ["ds_a"]), "ds_a/domains", file, as_they_are)
        assert [dim.label for dim in file["label"].dims] == ["y", "x"]
        assert file["x"].attrs["NAME"].startswith(b"This is a netCDF dimension but not a netCDF variable")


@pytest.mark.parametrize(("value", "stored"), [(3, 3), ("a", "a"), (None, "null"), ({"k": [1]}, '{"k": [1]}')])
def test_attributes_that_hdf5_has_no_type_for_are_json(value: object, stored: object) -> None:
    assert attribute(value) == stored
