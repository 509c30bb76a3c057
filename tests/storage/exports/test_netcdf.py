"""netCDF files, read by the library of Unidata."""

from pathlib import Path

import netCDF4
import numpy as np

from storage.exports.source import Source


def test_the_library_reads_every_variable_with_dimensions_and_units(exported: dict[str, Path], one: Source) -> None:
    with netCDF4.Dataset(exported["netcdf"]) as file:
        assert sorted(file.groups) == ["domains", "ds_a"]
        spectra = file["ds_a/spectra"]
        absorption = spectra["absorption"]
        assert absorption.dimensions == ("energy", "y", "x")
        assert {name: len(spectra.dimensions[name]) for name in absorption.dimensions} == {"energy": 5, "y": 12, "x": 15}
        np.testing.assert_array_equal(absorption[...], one.read("ds_a/spectra", "absorption"))
        assert (spectra["energy"].units, spectra["energy"][:].tolist()) == ("eV", one.read("ds_a/spectra", "energy").tolist())
        assert file["domains/descriptor"][:].tolist() == ["edge_energy", "electron_ratio"]
        assert file["domains"].elbow == 4


def test_complex_numbers_and_truth_values_are_in_types_that_netcdf_has(exported: dict[str, Path], one: Source) -> None:
    probe = one.read("ds_a/reconstruction", "probe")
    with netCDF4.Dataset(exported["netcdf"]) as file:
        group = file["ds_a/reconstruction"]
        np.testing.assert_array_equal(group["probe_real"][...] + 1j * group["probe_imag"][...], probe)
        np.testing.assert_array_equal(file["ds_a/maps/mask"][...], one.read("ds_a/maps", "mask").astype(np.int8))
