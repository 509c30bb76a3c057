import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from storage.atomic import write_file
from storage.errors import LayoutError, ResultsDamagedError, ResultsError
from storage.location import SEAL, Location
from storage.results import Group, ResultsStore, plain, write_results

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


def test_every_group_tells_what_is_below_it_and_by_its_own_name(path: Path) -> None:
    write_results(path, tree(), {})
    for name in ("", "ds_1", "ds_1/spectra", "ds_1/maps", "domains"):
        below = {str(file.parent.relative_to(path / name)) for file in (path / name).rglob("zarr.json")} - {"."}
        told = json.loads((path / name / "zarr.json").read_text())["consolidated_metadata"]["metadata"]
        assert told.keys() == below, name
        assert all("consolidated_metadata" not in node or not node["consolidated_metadata"]["metadata"] for node in told.values())


def test_xarray_opens_it_labelled_and_equal(path: Path) -> None:
    write_results(path, tree(), {"options": {"kkr": {"mode": "joint"}}, "numpy": np.__version__})
    with xr.open_datatree(path, engine="zarr") as found:
        assert found.attrs["options"] == {"kkr": {"mode": "joint"}}
        spectra = found["ds_1/spectra"]
        assert spectra.attrs["kk_slope"] == pytest.approx(0.98)
        absorption = spectra.to_dataset()["absorption"]
        assert absorption.dims == ("energy", "y", "x")
        assert absorption.dtype == np.float32
        assert absorption.attrs["units"] == "1"
        assert absorption.energy.attrs == {"units": "eV", "long_name": "photon energy"}
        np.testing.assert_array_equal(absorption, tree()["ds_1/spectra"].variables["absorption"])
        np.testing.assert_array_equal(absorption.sel(energy=5465.5), absorption[1])
        assert spectra["vacuum_mask"].dtype == bool
        assert float(spectra.to_dataset()["shift"].sel(axis="x")[1]) == tree()["ds_1/spectra"].variables["shift"][1, 1]
        assert np.isnan(found["ds_1/maps/edge_energy"]).all()
        assert found["ds_1/maps/status"].dtype == np.int8
        domains = found["domains"].to_dataset()
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

        def __getitem__(self, index: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
            if not path.exists():
                write_results(path, tree(), {"writer": "the other"})
            return np.asarray(np.zeros((Y, X), np.float32)[index])

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
    assert store.resolve_key("zarr.json") == path / "zarr.json"
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
    missing, changed = sorted(store.verify())
    assert missing == "domains/fraction/zarr.json is missing"
    assert changed == "ds_1/maps/status/c/0/0 holds other bytes than were written"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flipped, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("key", ["ds_1/maps/edge_energy/c/0/0", "ds_1/maps/edge_energy/zarr.json"])
def test_what_is_not_what_was_sealed_is_neither_served_nor_read(path: Path, damage: Callable[[Path], object], key: str) -> None:
    write_results(path, tree(), {})
    store = ResultsStore(path)
    assert store.resolve_key(key) is not None
    damage(path / key)
    with pytest.raises(ResultsDamagedError, match=r"damaged: .*edge_energy.* the run can compute them again"):
        store.resolve_key(key)
    with pytest.raises(ResultsDamagedError):
        store.read("ds_1/maps", "edge_energy")
    assert store.resolve_key("ds_1/maps/status/c/0/0") is not None
    assert store.read("ds_1/maps", "status")[0].shape == (Y, X)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {"zarr.json": 3}}'])
def test_a_seal_that_cannot_be_read_is_damage(path: Path, content: bytes) -> None:
    write_results(path, tree(), {})
    (path / SEAL).write_bytes(content)
    with pytest.raises(ResultsDamagedError, match=r"seal.json cannot be read"):
        ResultsStore(path).resolve_key("zarr.json")


def test_images_are_found_by_name(path: Path) -> None:
    write_results(path, tree(), {})
    store = ResultsStore(path)
    assert store.group_of("ds_1", "edge_energy") == "ds_1/maps"
    assert store.group_of("ds_1", "absorption") == "ds_1/spectra"
    assert store.group_of("ds_1", "none") is None
    assert store.dims("ds_1/spectra", "absorption") == ("energy", "y", "x")
    with pytest.raises(ResultsError, match="hold no"):
        store.dims("ds_1/maps", "none")


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


def test_results_are_sealed_read_and_held_to_their_digests_wherever_they_are(place: Location) -> None:
    path = place / "run_1" / "results.zarr"
    if not isinstance(path, Path):
        write_file(path / "ds_1" / "spectra" / "zarr.json", b"of a writer that died")
    assert not ResultsStore(path).is_sealed()
    write_results(path, tree(), {"run": "run_1"})
    store = ResultsStore(path)
    assert store.is_sealed()
    assert store.verify() == []
    assert store.groups() == ["domains", "ds_1/maps", "ds_1/spectra"]
    assert store.attributes("")["run"] == "run_1"
    values, attributes = store.read("ds_1/spectra", "absorption", (slice(1, 2),))
    np.testing.assert_array_equal(values, np.asarray(tree()["ds_1/spectra"].variables["absorption"])[1:2])
    assert attributes["long_name"]
    found = store.resolve_key("ds_1/maps/edge_energy/c/0/0")
    assert found is not None
    assert found.stat().st_size > 0
    assert store.resolve_key("ds_1/maps/edge_energy/c/9/9") is None
    with pytest.raises(ResultsError, match="already there"):
        write_results(path, tree(), {})
    write_file(path / "ds_1" / "maps" / "edge_energy" / "c" / "0" / "0", b"x")
    again = ResultsStore(path)
    assert len(again.verify()) == 1
    with pytest.raises(ResultsDamagedError):
        again.read("ds_1/maps", "edge_energy")
