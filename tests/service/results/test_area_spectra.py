"""Areas of published results: which pixels they are, and what is read of them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published import SIGMA_ABSORPTION, true_parameters, write_published

from service.errors import InvalidInputError, NotFoundError
from service.results.area_spectra import Area, pixels_of, read_area_spectrum
from storage.errors import ResultsDamagedError
from storage.results import Group, ResultsStore, write_results
from tasks.xanes.model import PARAMETERS

SHAPE = (30, 40)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    path = tmp_path_factory.mktemp("run") / "results.zarr"
    write_published(path, ["ds_a"], SHAPE, n_energies=20)
    return ResultsStore(path)


def test_a_box_is_taken_whole_from_any_corner_and_a_polygon_by_centres() -> None:
    box = pixels_of(Area("d", box=(2, 3, 5, 8)), SHAPE, "areas.0")
    assert box.sum() == 4 * 6
    assert box[2:6, 3:9].all()
    assert np.array_equal(box, pixels_of(Area("d", box=(5, 8, 2, 3)), SHAPE, "areas.0"))
    inside = pixels_of(Area("d", polygon=[(1.5, 1.5), (1.5, 5.5), (4.5, 5.5), (4.5, 1.5)]), SHAPE, "areas.0")
    assert np.argwhere(inside).min(axis=0).tolist() == [2, 2]
    assert np.argwhere(inside).max(axis=0).tolist() == [4, 5]


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        ({"pixel": (30, 0)}, "areas.4.pixel"),
        ({"box": (0, 0, 5, 40)}, "areas.4.box"),
        ({"polygon": [(0.1, 0.1), (0.2, 0.3), (0.3, 0.1)]}, "areas.4.polygon"),
        ({"polygon": [(90.0, 90.0), (95.0, 90.0), (92.0, 99.0)]}, "areas.4.polygon"),
    ],
)
def test_an_area_without_pixels_is_refused_by_name(shape: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        pixels_of(Area("d", **shape), SHAPE, "areas.4")
    assert [fault.field for fault in refused.value.faults] == [field]


def test_of_images_in_parts_only_those_are_read_that_hold_the_area(
    tmp_path: Path, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.layout.IMAGE_CHUNK_BYTES", 4 * 40 * 8)
    write_published(tmp_path / "results.zarr", ["ds_a"], SHAPE, n_energies=20)
    parted = ResultsStore(tmp_path / "results.zarr")
    assert parted.array("ds_a/spectra", "absorption").chunks == (1, 8, 40)
    areas = [Area("ds_a", pixel=(8, 5)), Area("ds_a", box=(6, 3, 25, 30)), Area("ds_a", pixel=(29, 39))]
    for area in areas:
        whole, parts = (read_area_spectrum(one, area, "areas.0") for one in (store, parted))
        np.testing.assert_array_equal(parts.absorption, whole.absorption)
        np.testing.assert_array_equal(parts.phase, whole.phase)
        np.testing.assert_equal(parts.ratios, whole.ratios)
    for part in (tmp_path / "results.zarr").glob("ds_a/spectra/absorption/c/*/1/0"):
        part.write_bytes(b"damaged")
    write_time = (tmp_path / "results.zarr" / "zarr.json").stat().st_mtime
    os.utime(tmp_path / "results.zarr" / "zarr.json", (write_time + 1, write_time + 1))  # nothing is taken from memory
    assert read_area_spectrum(ResultsStore(parted.path), areas[2], "areas.0").n_pixels == 1
    with pytest.raises(ResultsDamagedError):
        read_area_spectrum(ResultsStore(parted.path), areas[0], "areas.0")


def test_an_area_is_read_with_its_errors_fit_and_ratios(store: ResultsStore) -> None:
    found = read_area_spectrum(store, Area("ds_a", "A", box=(10, 10, 19, 10)), "areas.0")
    assert (found.n_pixels, found.n_kept, found.fit_refused) == (10, 10, "")
    assert found.absorption_sigma == pytest.approx(np.full(20, SIGMA_ABSORPTION / np.sqrt(10)))
    assert found.phase == pytest.approx(np.full(20, -0.9), abs=0.01)
    truth = true_parameters(SHAPE)[PARAMETERS.index("edge_energy"), 10, 10]
    assert found.fit is not None
    assert abs(found.fit.parameters["edge_energy"] - truth) < 4 * found.fit.sigma["edge_energy"] < 4
    assert found.ratios["electron_ratio"][0] == pytest.approx(38)


def test_errors_count_what_neighbouring_pixels_share(store: ResultsStore, tmp_path: Path) -> None:
    write_published(tmp_path / "results.zarr", ["ds_a"], SHAPE, n_energies=20, blur_px=0.7)
    blurred, box = ResultsStore(tmp_path / "results.zarr"), Area("ds_a", "A", box=(5, 5, 14, 24))
    alone, shared = (read_area_spectrum(one, box, "areas.0") for one in (store, blurred))
    factor = pytest.approx(2 * np.sqrt(np.pi) * 0.7, rel=0.1)  # less at the border of the area
    assert shared.absorption_sigma[0] / alone.absorption_sigma[0] == factor
    assert shared.phase_sigma[0] / alone.phase_sigma[0] == factor
    for name in ("electron_ratio", "pre_edge_ratio"):
        assert shared.ratios[name][1] / alone.ratios[name][1] == factor
    assert read_area_spectrum(blurred, Area("ds_a", "B", pixel=(9, 9)), "areas.0").absorption_sigma == pytest.approx(
        np.full(20, SIGMA_ABSORPTION)
    )


def test_a_pixel_without_maps_is_fitted_and_one_with_maps_has_their_fit(store: ResultsStore) -> None:
    kept = read_area_spectrum(store, Area("ds_a", pixel=(15, 20)), "areas.0")
    assert kept.fit is not None
    assert kept.fit.parameters["edge_energy"] == store.read("ds_a/maps", "edge_energy")[0][15, 20]
    vacuum = read_area_spectrum(store, Area("ds_a", pixel=(0, 0)), "areas.0")
    assert vacuum.fit is not None
    assert (vacuum.n_kept, vacuum.n_pixels) == (0, 1)


def test_other_datasets_and_few_energies_are_told(store: ResultsStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="ds_b"):
        read_area_spectrum(store, Area("ds_b", pixel=(0, 0)), "areas.0")
    write_published(tmp_path / "few.zarr", ["ds_a"], SHAPE, n_energies=4)
    few = read_area_spectrum(ResultsStore(tmp_path / "few.zarr"), Area("ds_a", box=(5, 5, 9, 9)), "areas.0")
    assert few.fit is None
    assert "at least 10 energies" in few.fit_refused


def rewritten(store: ResultsStore, path: Path, absorption: np.ndarray[Any, Any], has_phase: bool = True) -> ResultsStore:
    """The spectra of the dataset with another absorption, without its maps."""
    arrays = {name: store.read("ds_a/spectra", name)[0] for name in ("phase", "sigma_absorption", "sigma_phase") if has_phase}
    coords = {name: store.read("ds_a/spectra", name)[0] for name in ("energy", "y", "x")}
    group = Group(coords, {**arrays, "absorption": absorption}, {"absorber": {"element": "V", "edge": "K"}})
    write_results(path, {"ds_a/spectra": group}, {"run": "made up", "datasets": []})
    return ResultsStore(path)


def test_of_absorption_alone_the_phase_is_unknown(store: ResultsStore, tmp_path: Path) -> None:
    absorption = store.read("ds_a/spectra", "absorption")[0]
    alone = rewritten(store, tmp_path / "alone.zarr", absorption, has_phase=False)
    found = read_area_spectrum(alone, Area("ds_a", box=(10, 10, 14, 14)), "areas.0")
    assert found.fit is not None
    np.testing.assert_allclose(found.absorption, absorption[:, 10:15, 10:15].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal([found.phase, found.phase_sigma], np.full((2, 20), np.nan))


def test_pixels_that_some_energy_has_not_seen_are_left_out(store: ResultsStore, tmp_path: Path) -> None:
    absorption = store.read("ds_a/spectra", "absorption")[0].copy()
    absorption[3, :12] = np.nan
    holed = rewritten(store, tmp_path / "holed.zarr", absorption)
    whole, part = (read_area_spectrum(holed, Area("ds_a", box=(top, 10, 19, 19)), "areas.0") for top in (12, 5))
    assert part.n_pixels == whole.n_pixels == 80
    for name in ("absorption", "absorption_sigma", "phase", "phase_sigma"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
    unseen = read_area_spectrum(holed, Area("ds_a", box=(5, 10, 9, 19)), "areas.0")
    assert (unseen.n_pixels, unseen.fit) == (0, None)
    assert unseen.fit_refused == "no pixel of the area was seen at every energy"
