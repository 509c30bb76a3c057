"""Images in the store: what is accepted and how it is kept, and everything that is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.datasets.store import DatasetStore
from storage.errors import InvalidScanError, ScanConflictError, UnknownFormatError

SHAPE = (18, 20)
RNG = np.random.default_rng(5)
TRANSMISSION = np.exp(-RNG.uniform(0.1, 1.0, (3, *SHAPE)))
OBJECT = (np.sqrt(TRANSMISSION) * np.exp(-0.3j * TRANSMISSION)).astype(np.complex64)
ENERGIES = np.array([700.0, 710.0, 720.0])


@pytest.fixture
def images(tmp_path: Path) -> DatasetStore:
    """A store with one empty dataset of images, ``ds_1``."""
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_1", {"title": "a particle", "kind": "images"})
    return store


def write(path: Path, **changed: Any) -> Path:
    fields = {"energy_ev": ENERGIES, "pixel_size_m": np.array(8e-8), **changed}
    np.savez(path.with_suffix(".npz"), **{name: value for name, value in fields.items() if value is not None})
    return path.with_suffix(".npz")


def faults(images: DatasetStore, path: Path) -> dict[str, str]:
    with pytest.raises(InvalidScanError) as caught:
        images.add_scan("ds_1", "f", path)
    assert images.scan_names("ds_1") == []
    return {fault.field.rpartition(".")[2]: fault.message for fault in caught.value.faults}


def test_a_stack_becomes_an_image_an_energy(images: DatasetStore, tmp_path: Path) -> None:
    path = write(tmp_path / "f", object=OBJECT)
    found = images.add_scan("ds_1", "stack", path)
    assert [(one.name, one.energy_ev) for one in found.scans] == [("stack.1", 700.0), ("stack.2", 710.0), ("stack.3", 720.0)]
    (info, *_) = images.scans("ds_1")
    assert info.image is not None
    assert (info.image.shape, info.image.pixel_size_m, info.image.has_phase) == (SHAPE, 8e-8, True)
    np.testing.assert_allclose(np.mean(info.corners_m, axis=0), 0, atol=1e-15)
    np.testing.assert_array_equal(images.read_image("ds_1", "stack.2")["object"], OBJECT[1])
    assert images.read_image("ds_1", "stack.2")["seen"].all()
    assert not images.add_scan("ds_1", "stack", path).created
    with pytest.raises(ScanConflictError):
        images.add_scan("ds_1", "stack", write(tmp_path / "g", object=2 * OBJECT))
    images.seal("ds_1")
    assert images.is_sealed("ds_1")


@pytest.mark.parametrize(
    ("name", "values", "more", "is_normalised"),
    [
        ("transmission", TRANSMISSION, {}, True),
        ("optical_density", -np.log(TRANSMISSION), {}, True),
        ("absorption", -0.5 * np.log(TRANSMISSION), {}, True),
        ("intensity", 500 * TRANSMISSION, {"i0": np.array(500.0)}, True),
        ("intensity", TRANSMISSION, {}, False),
    ],
)
def test_every_quantity_is_kept_as_amplitude_absorption(
    images: DatasetStore, tmp_path: Path, name: str, values: Any, more: Any, is_normalised: bool
) -> None:
    images.add_scan("ds_1", "s", write(tmp_path / "f", **{name: values}, **more))
    for info, expected in zip(images.scans("ds_1"), TRANSMISSION, strict=True):
        assert info.image is not None
        assert (info.image.has_phase, info.image.is_normalised) == (False, is_normalised)
        np.testing.assert_allclose(
            images.read_image("ds_1", info.name)["absorption"], -0.5 * np.log(expected), rtol=1e-5, atol=1e-6
        )


def test_pixels_without_a_value_and_what_a_reconstruction_never_touched_are_not_seen(
    images: DatasetStore, tmp_path: Path
) -> None:
    untouched = OBJECT.copy()
    untouched[:, :4] = 1.0
    untouched[1, 9, 9] = np.nan
    images.add_scan("ds_1", "s", write(tmp_path / "f", object=untouched))
    seen = [images.read_image("ds_1", info.name)["seen"] for info in images.scans("ds_1")]
    expected = np.ones(SHAPE, bool)
    expected[:4] = False
    np.testing.assert_array_equal(seen[0], expected)
    expected[9, 9] = False
    np.testing.assert_array_equal(seen[1], expected)
    assert "hold no image" in images.scans("ds_1")[0].warnings[0]


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"object": OBJECT.real}, "image", "must be complex"),
        ({"transmission": OBJECT}, "image", "must be real"),
        ({"transmission": 400 * TRANSMISSION}, "image", "counts are called intensity"),
        ({"optical_density": 100 * TRANSMISSION}, "image", "percent"),
        ({"intensity": np.zeros((3, *SHAPE))}, "image", "hold a value"),
        ({"absorption": np.full((3, *SHAPE), 0.5)}, "image", "same number"),
        ({"object": OBJECT[:, :8]}, "image", "pixels a side"),
        ({"object": OBJECT, "pixel_size_m": None}, "pixel_size_m", "missing"),
        ({"object": OBJECT, "pixel_size_m": np.array(80.0)}, "pixel_size_m", "another unit"),
        ({"object": OBJECT, "energy_ev": np.array([700.0, 700.0, 720.0])}, "energy_ev", "duplicate"),
        ({"object": OBJECT.transpose(1, 2, 0)}, "image", "move it to the front"),
    ],
)
def test_what_cannot_be_is_refused_by_field(images: DatasetStore, tmp_path: Path, changed: Any, field: str, words: str) -> None:
    assert words in faults(images, write(tmp_path / "f", **changed))[field]


def test_the_pixel_may_be_the_datasets(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_1", {"title": "a particle", "kind": "images", "pixel_size_m": 5e-9})
    store.add_scan("ds_1", "s", write(tmp_path / "f", object=OBJECT, pixel_size_m=None))
    assert {info.image.pixel_size_m for info in store.scans("ds_1") if info.image} == {5e-9}


def test_images_with_and_without_phase_or_i0_do_not_mix(images: DatasetStore, tmp_path: Path) -> None:
    images.add_scan("ds_1", "a", write(tmp_path / "a", object=OBJECT[0], energy_ev=np.array([690.0])))
    with pytest.raises(InvalidScanError, match="objects with a phase"):
        images.add_scan("ds_1", "b", write(tmp_path / "b", transmission=TRANSMISSION))


def test_each_kind_of_dataset_refuses_files_of_the_other(images: DatasetStore, files: Any, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError):
        images.add_scan("ds_1", "a", files.npz(tmp_path / "a.npz"))
    images.create("ds_2", {"title": "measured"})
    with pytest.raises(UnknownFormatError, match="is a ZIP archive"):
        images.add_scan("ds_2", "a", write(tmp_path / "f", object=OBJECT))


@pytest.mark.parametrize("found", [-1.0, 0.0, np.nan, 80.0])
def test_a_wrong_pixel_of_a_file_matters_only_where_none_is_stated(tmp_path: Path, images: DatasetStore, found: float) -> None:
    path = write(tmp_path / "f", object=OBJECT, pixel_size_m=np.array(found))
    assert set(faults(images, path)) == {"pixel_size_m"}
    images.create("ds_2", {"title": "a particle", "kind": "images", "pixel_size_m": 5e-9})
    images.add_scan("ds_2", "f", path)
    assert {info.image.pixel_size_m for info in images.scans("ds_2") if info.image} == {5e-9}


@pytest.mark.parametrize(
    ("dtype", "end"), [("u2", 65535), ("u2", 16383), ("u2", 4095), ("f4", 65535), ("u1", 255), ("u4", 2**32 - 1)]
)
def test_pixels_at_the_end_of_the_detectors_range_are_left_out(
    images: DatasetStore, tmp_path: Path, dtype: str, end: int
) -> None:
    counts = (0.98 * end * TRANSMISSION).astype(dtype)
    counts[:, 2:5, 3:9] = end
    info = images.add_scan("ds_1", "s", write(tmp_path / "f", intensity=counts)).scans[0]
    stored = images.read_image("ds_1", info.name)
    assert not stored["seen"][2:5, 3:9].any()
    assert stored["seen"].sum() == stored["seen"].size - 18
    assert any(f"18 pixels read {end}, the end of a detector's range" in one for one in info.warnings)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_counts_below_the_end_of_a_range_are_counts(images: DatasetStore, tmp_path: Path, dtype: str) -> None:
    counts = (1023 * TRANSMISSION).astype(dtype)
    counts[:, 0, :4] = 1023
    counts[:, 1, :4] = 1022
    info = images.add_scan("ds_1", "s", write(tmp_path / "f", intensity=counts)).scans[0]
    assert images.read_image("ds_1", info.name)["seen"].all()


@pytest.mark.parametrize("i0", [np.array(5.0), np.array([5.0, 6, 7])])
def test_an_i0_in_another_unit_is_refused(images: DatasetStore, tmp_path: Path, i0: Any) -> None:
    found = faults(images, write(tmp_path / "f", intensity=1e4 * TRANSMISSION, i0=i0))
    assert "leave out one in another unit, such as the ring's current" in found["i0"]


def particle(depth: float) -> Any:
    """(3, Y, X) objects of a round particle whose phase is ``-depth`` times its absorption, on a ramp, with noise."""
    y, x = np.indices(SHAPE)
    absorption = 0.2 * np.exp(-((y - 9) ** 2 + (x - 10) ** 2) / 16)
    noise = 1 + 0.003 * (RNG.normal(size=(3, *SHAPE)) + 1j * RNG.normal(size=(3, *SHAPE)))
    return (np.exp(-absorption * (1 + 1j * depth) + 0.3j * y - 0.1j * x) * noise).astype(np.complex64)


@pytest.mark.parametrize(
    ("depth", "is_told"), [(4.0, False), (0.3, False), (0.0, False), (-0.3, True), (-4.0, True), (-30.0, True)]
)
def test_a_phase_that_rises_where_the_object_absorbs_is_told(
    images: DatasetStore, tmp_path: Path, depth: float, is_told: bool
) -> None:
    for info in images.add_scan("ds_1", "s", write(tmp_path / "f", object=particle(depth))).scans:
        assert ["send the conjugate" in one for one in info.warnings] == [True] * is_told
