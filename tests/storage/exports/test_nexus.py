"""NeXus files, read by h5py by path."""

from pathlib import Path

import h5py
import numpy as np

from storage.exports.nexus import write_nexus
from storage.exports.source import Source


def test_the_default_path_leads_to_a_signal_along_its_axes(exported: dict[str, Path], one: Source) -> None:
    with h5py.File(exported["nexus"]) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert [node.attrs["NX_class"] for node in (file, entry, data)] == ["NXroot", "NXentry", "NXdata"]
        signal = data[data.attrs["signal"]]
        assert signal.name == "/ds_a/maps/edge_energy"
        np.testing.assert_array_equal(signal[...], one.read("ds_a/maps", "edge_energy"))
        assert [data[axis].shape[0] for axis in data.attrs["axes"]] == list(signal.shape)
        assert "edge_jump" in data.attrs["auxiliary_signals"]
        assert (signal.attrs["units"], data["y"].attrs["units"]) == ("eV", "m")
        assert [signal.dims[axis].label for axis in (0, 1)] == ["y", "x"]
        np.testing.assert_array_equal(signal.dims[0]["y"][...], one.read("ds_a/maps", "y"))


def test_every_group_of_an_entry_can_be_plotted(exported: dict[str, Path]) -> None:
    with h5py.File(exported["nexus"]) as file:
        groups = [group for entry in file.values() for group in entry.values() if isinstance(group, h5py.Group)]
        data = [group for group in groups if group.attrs["NX_class"] == "NXdata"]
        assert [group.name for group in data] == [
            "/ds_a/domains",
            "/ds_a/maps",
            "/ds_a/reconstruction",
            "/ds_a/spectra",
            "/run/domains",
        ]
        for group in data:
            assert group[group.attrs["signal"]].shape == tuple(group[axis].shape[0] for axis in group.attrs["axes"]), group.name
        assert file["ds_a/reconstruction/probe"].dtype == np.complex64
        assert file["run/domains"].attrs["elbow"] == 4
        assert file["run/parameters"].attrs["run"] == "made up"


def test_all_datasets_are_entries(both: Source, tmp_path: Path) -> None:
    write_nexus(both, tmp_path / "all.nxs")
    with h5py.File(tmp_path / "all.nxs") as file:
        assert sorted(file) == ["ds_a", "ds_b", "run"]
