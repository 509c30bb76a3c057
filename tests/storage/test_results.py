import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from storage.errors import LayoutError, ResultsError
from storage.results import SEAL, Group, ResultsStore, plain, write_results

E, Y, X = 3, 4, 5


def tree() -> dict[str, Group]:
    grid = {"y": np.arange(Y) * 15e-9, "x": np.arange(X) * 15e-9}
    energies = np.array([5420.0, 5465.5, 5540.0])
    random = np.random.default_rng(0)
    return {
        "ds_1/spectra": Group(
            {"energy": energies, **grid, "axis": np.array(["y", "x"])},
            {
                "absorption": random.random((E, Y, X), np.float32),
                "vacuum_mask": random.random((Y, X)) > 0.5,
                "shift": random.random((E, 2), np.float32),
            },
            {"kk_slope": np.float32(0.98)},
        ),
        "ds_1/maps": Group(
            grid,
            {
                "edge_energy": np.full((Y, X), np.nan, np.float32),
                "status": np.zeros((Y, X), np.int8),
                "mask": np.zeros((Y, X), bool),
            },
        ),
        "domains": Group(
            {
                "dataset": np.array(["ds_1", "ds_2"]),
                "dataset_group": np.array(["as-prepared", "delithiated"]),
                "domain": np.arange(1, 3),
                "k": np.arange(1, 13),
            },
            {"fraction": np.full((2, 2), 0.5), "inertia": np.arange(12.0)},
            {"elbow": 4},
        ),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run_1" / "results.zarr"


def test_xarray_opens_it_labelled_and_equal(path: Path) -> None:
    write_results(path, tree(), {"options": {"kkr": {"mode": "joint"}}, "numpy": np.__version__})
    with xr.open_datatree(path, engine="zarr") as found:
        assert found.attrs["options"] == {"kkr": {"mode": "joint"}}
        spectra = found["ds_1/spectra"]
        assert spectra.attrs["kk_slope"] == pytest.approx(0.98)
        absorption = spectra["absorption"]
        assert absorption.dims == ("energy", "y", "x")
        assert absorption.dtype == np.float32
        assert absorption.attrs["units"] == "1"
        assert absorption.energy.attrs == {"units": "eV", "long_name": "photon energy"}
        np.testing.assert_array_equal(absorption, tree()["ds_1/spectra"].variables["absorption"])
        np.testing.assert_array_equal(absorption.sel(energy=5465.5), absorption[1])
        assert spectra["vacuum_mask"].dtype == bool
        assert float(spectra["shift"].sel(axis="x")[1]) == tree()["ds_1/spectra"].variables["shift"][1, 1]
        assert np.isnan(found["ds_1/maps/edge_energy"]).all()
        assert found["ds_1/maps/status"].dtype == np.int8
        domains = found["domains"]
        assert float(domains["fraction"].sel(dataset="ds_2", domain=1)) == 0.5
        assert list(domains["dataset_group"].values) == ["as-prepared", "delithiated"]
        assert "dataset_group" in domains.coords
    with xr.open_dataset(path, engine="zarr", group="ds_1/maps", consolidated=True) as maps:
        assert set(maps.data_vars) == {"edge_energy", "status", "mask"}


def test_every_chunk_is_a_file_so_that_a_missing_one_is_never_read_as_empty(path: Path) -> None:
    write_results(path, tree(), {})
    keys = ResultsStore(path).keys()
    assert {f"ds_1/spectra/absorption/c/{e}/0/0" for e in range(E)} <= set(keys)
    assert "ds_1/maps/status/c/0/0" in keys


def test_a_store_that_fails_leaves_nothing(path: Path) -> None:
    bad = {**tree(), "ds_1/mpas": Group()}
    with pytest.raises(LayoutError, match="mpas"):
        write_results(path, bad, {})
    assert list(path.parent.iterdir()) == []


def test_of_two_writers_at_once_one_gets_the_place_and_neither_spoils_the_other(path: Path) -> None:
    class Slow:
        """An array during whose reading another writer, of a service that died, ends its work."""

        shape, dtype = (Y, X), np.dtype(np.float32)

        def __getitem__(self, index: object) -> np.ndarray:
            if not path.exists():
                write_results(path, tree(), {"writer": "the other"})
            return np.zeros((Y, X), np.float32)[index]  # type: ignore[index]

    with pytest.raises(ResultsError, match="already there"):
        write_results(path, {"ds_1/maps": Group({}, {"edge_energy": Slow()})}, {"writer": "this"})
    assert ResultsStore(path).verify() == []
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with pytest.raises(ResultsError, match="already there"):
        write_results(path, tree(), {})


@pytest.mark.parametrize(
    ("group", "cause"),
    [
        (Group({}, {"edge": np.zeros((Y, X), np.float32)}), "no 'edge'"),
        (Group({}, {"edge_energy": np.zeros((Y, X))}), "float64"),
        (Group({"y": np.arange(3.0)}, {"edge_energy": np.zeros((Y, X), np.float32)}), "along y"),
        (Group({}, {"edge_energy": np.zeros(X, np.float32)}), r"\(5,\)"),
    ],
)
def test_arrays_that_do_not_fit_the_layout_are_refused(path: Path, group: Group, cause: str) -> None:
    with pytest.raises(LayoutError, match=cause):
        write_results(path, {"ds_1/maps": group}, {})


def test_only_keys_of_the_seal_are_served(path: Path) -> None:
    write_results(path, tree(), {})
    (path.parent / "secret").write_text("")
    (path / "added-later").write_text("")
    store = ResultsStore(path)
    found = store.resolve_key("zarr.json")
    assert found is not None
    assert found.path == path / "zarr.json"
    assert found.size == found.path.stat().st_size
    for key in (
        "../secret",
        "/etc/passwd",
        "added-later",
        "",
        ".",
        "ds_1",
        "ds_1/../zarr.json",
        SEAL,
        "\0",
        "zarr.json/",
    ):
        assert store.resolve_key(key) is None


def test_a_store_that_is_not_sealed_says_so_instead_of_missing(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(ResultsError, match="not finished"):
        ResultsStore(path).resolve_key("zarr.json")
    assert not ResultsStore(path).is_sealed()


def test_damage_is_found(path: Path) -> None:
    write_results(path, tree(), {})
    store = ResultsStore(path)
    assert store.verify() == []
    chunk = path / "ds_1/maps/status/c/0/0"
    chunk.write_bytes(bytes(reversed(chunk.read_bytes())))
    (path / "domains/fraction/zarr.json").unlink()
    assert sorted(store.verify()) == ["domains/fraction/zarr.json", "ds_1/maps/status/c/0/0"]


def test_part_of_an_array_is_read_by_name(path: Path) -> None:
    write_results(path, tree(), {})
    values, attributes = ResultsStore(path).read("ds_1/spectra", "absorption", (1,))
    np.testing.assert_array_equal(values, tree()["ds_1/spectra"].variables["absorption"][1])
    assert attributes["units"] == "1"
    for group, variable in (("ds_1/spectra", "none"), ("../x", "y"), ("ds_1", "spectra")):
        with pytest.raises(ResultsError, match="hold no"):
            ResultsStore(path).read(group, variable)


def test_attributes_become_json() -> None:
    given = {
        "a": np.float64("nan"),
        "b": np.arange(2),
        "c": (True, None),
        "d": Path("x"),
        5: np.int8(3),
        "e": np.str_("s"),
    }
    assert plain(given) == {"a": None, "b": [0, 1], "c": [True, None], "d": "x", "5": 3, "e": "s"}


def test_writing_warns_of_nothing(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_results(path, tree(), {})
