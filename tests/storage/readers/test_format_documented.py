"""Every format has a worked example in the documentation, which is run and read; spoilt in any array, it is refused in words."""

import re
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.datasets.store import DatasetStore
from storage.errors import InvalidScanError
from storage.readers import format as scan_format
from storage.readers import image_format
from storage.readers.format import READERS, open_scan
from storage.readers.image_format import open_images

DOCS = Path(__file__).parents[3] / "docs"
EIGER = next(reader.name for reader in READERS if "EIGER" in reader.name)

CENTRE = 400 * np.exp(-np.sum((np.indices((16, 16)) - 8) ** 2, axis=0) / 20)
COUNTS = np.random.default_rng(0).poisson(CENTRE + 1, (100, 16, 16)).astype(np.int32)
Y_M, X_M = (2e-7 * axis.ravel() for axis in np.indices((10, 10)))
ENERGIES_EV = np.array([700.0, 705.0, 710.0])
ABSORPTION = np.random.default_rng(1).uniform(0.1, 0.5, (3, 18, 20))
VALUES: dict[str, Any] = {
    "counts": COUNTS, "x": X_M, "y": Y_M, "dark": np.zeros((2, 16, 16)), "energies_ev": ENERGIES_EV, "absorption": ABSORPTION,
    "objects": np.exp(-ABSORPTION - 0.4j).astype(np.complex64),
}  # fmt: skip
NEEDED: dict[str, dict[str, list[str]]] = {
    "measurements.md": {
        "CXI": ["entry_1/data_1/data", "entry_1/data_1/translation", "entry_1/instrument_1/source_1/energy"],
        "Dectris EIGER": ["entry/data/data", "entry/instrument/detector/detectorSpecific/photon_energy"],
        "ptypy .ptyd": ["chunks/0/data", "chunks/0/positions", "meta/energy"],
        "PtyLab": ["ptychogram", "encoder", "wavelength"],
        "NSLS-II HXN": ["diffamp", "points", "lambda_nm"],
        "MAX IV NanoMAX": [
            "entry/measurement/Eiger/data", "entry/measurement/pseudo/x", "entry/measurement/pseudo/y",
            "entry/snapshots/pre_scan/energy",
        ],
        "Diamond": ["entry1/instrument/_andorrastor/data", "entry1/Counter1/sample_y", "entry1/Counter1/sample_x"],
        "SLS cSAXS": ["entry/data/data", "entry/instrument/monochromator/energy"],
        "HDF5, NPZ": ["counts", "positions_m", "energy_ev"],
    },
    "images.md": {
        "HDF5, NPZ": ["optical_density", "energy_ev", "pixel_size_m"],
        "NeXus NXstxm": ["entry1/counter0/data", "entry1/counter0/energy", "entry1/counter0/sample_y"],
        "CXI with image_n": ["entry_1/image_1/image_size", "entry_1/instrument_1/source_1/energy"],
        "ptypy .ptyr": ["content/obj/S00G00/data", "content/obj/S00G00/_energy", "content/obj/S00G00/_psize"],
        "ptychodus product (HDF5)": ["object"],
        "PtychoShelves": ["reconstruction/p/objects/object_0", "reconstruction/p/energy", "reconstruction/p/dx_spec"],
        "cdtools": ["obj", "obj_basis", "wavelength"],
        "xanespy": ["sample/aligned/optical_depths", "sample/aligned/energies", "sample/aligned/pixel_sizes"],
    },
}  # fmt: skip
"""Arrays of each example, HDF5 or a ZIP of it, without which nothing can be read, the frames or images first."""


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8").partition("## Worked examples")[2]


def examples(name: str) -> dict[str, str]:
    return dict(re.findall(r"^### ([^\n]+)\n\n```python\n(.+?)\n```", page(name), re.M | re.S))


ALL = [(name, form) for name in NEEDED for form in examples(name)]
CASES = [(name, form) for name, form in ALL if any(form.startswith(start) for start in NEEDED[name])]


def test_every_example_of_a_measurement_in_hdf5_is_spoilt() -> None:
    spoilt_forms = {form for name, form in CASES if name == "measurements.md"}
    assert spoilt_forms == {reader.name for reader in READERS}, "a format needs an example, and its arrays in NEEDED above"


def written(folder: Path, name: str, form: str) -> Path:
    """Run a page's preamble and the example of a format; return the file that it calls ``upload``."""
    values = dict(VALUES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in (page(name).partition("```python\n")[2].partition("```")[0], examples(name)[form]):
            exec(code, values)
    return folder / str(values["upload"])


@pytest.mark.parametrize(("name", "readers"), [("measurements.md", READERS), ("images.md", image_format.READERS)])
def test_every_format_has_a_worked_example(name: str, readers: Any) -> None:
    names = {reader.name for reader in readers}
    assert len(names) == len(readers), "two readers have one name"
    assert set(examples(name)) == names, f"docs/{name}: the heading of a format's example must be its name in READERS"


@pytest.mark.parametrize("form", examples("measurements.md"))
def test_the_example_of_a_measurement_is_read_by_its_reader(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def noted(reader: Any) -> Any:
        def read(*given: Any) -> Any:
            used.append(reader.name)
            return reader.read(*given)

        return replace(reader, read=read)

    monkeypatch.setattr(scan_format, "READERS", tuple(noted(reader) for reader in READERS))
    with open_scan(written(tmp_path, "measurements.md", form)) as (source,):
        assert source.faults == ()
        assert source.frames is not None
        np.testing.assert_array_equal(source.frames[0:100], COUNTS)
        np.testing.assert_allclose(np.asarray(source.positions_m), np.stack([Y_M, X_M], axis=1), atol=1e-13)
        assert source.energy_ev == pytest.approx(7112)
        assert source.distance_m in (None, pytest.approx(2.0))
    assert (used or [EIGER]) == [form], "an EIGER master is read with all files of its folder, not through the table"


@pytest.mark.parametrize("form", examples("images.md"))
def test_the_example_of_images_is_read_by_its_reader(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def noted(reader: Any) -> Any:
        def read(opened: Any) -> Any:
            used.append(reader.name)
            return reader.read(opened)

        return replace(reader, read=read)

    monkeypatch.setattr(image_format, "READERS", tuple(noted(reader) for reader in image_format.READERS))
    with open_images(written(tmp_path, "images.md", form)) as sources:
        assert [source.faults for source in sources] == [()] * len(sources)
        assert [source.energy_ev for source in sources] == [pytest.approx(one) for one in ENERGIES_EV[: len(sources)]]
        for source, absorption in zip(sources, ABSORPTION, strict=False):
            assert source.pixel_size_m == pytest.approx(20e-9)
            assert source.image is not None
            image, i0 = np.asarray(source.image[()]), source.i0 or 1e4
            found = {
                "object": -np.log(abs(image)),
                "optical_density": abs(image) / 2,
                "transmission": -np.log(abs(image)) / 2,
                "intensity": -np.log(abs(image) / i0) / 2,
            }[source.quantity]
            np.testing.assert_allclose(found, absorption, atol=1e-4)
    assert set(used) == {form}


def members(path: Path) -> Iterator[tuple[Path, str]]:
    """(file, path within it) of every array of a file, or of the HDF5 files that a ZIP was made of."""
    for name in zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else [path.name]:
        if h5py.is_hdf5(path.parent / name):
            places: list[str] = []

            def visit(place: str, node: Any, found: list[str] = places) -> None:
                if isinstance(node, h5py.Dataset):
                    found.append(place)

            with h5py.File(path.parent / name) as file:
                file.visititems(visit)
            yield from ((path.parent / name, place) for place in places)


def spoil(file: Path, place: str, how: str) -> None:
    """Remove an array, keep its first entry, make it NaN, give it a unit that is none, or store it in another file."""
    with h5py.File(file, "r+") as opened:
        values = opened[place][()]
        if how == "unit":
            opened[place].attrs["units"] = opened[place].attrs["unit"] = "furlong"
            return
        del opened[place]
        if how == "elsewhere":
            opened[place] = h5py.ExternalLink("/etc/passwd", "x")
        elif how != "missing":
            opened[place] = (values[:1] if len(values) > 1 else values[..., :1]) if how == "cut" else values * np.nan


@contextmanager
def spoilt(how: str, upload: Path, file: Path, place: str) -> Iterator[None]:
    """The upload with one array spoilt; the file that it is in is as it was afterwards."""
    kept = file.with_suffix(".kept")
    shutil.copy(file, kept)
    spoil(file, place, how)
    if zipfile.is_zipfile(upload):
        names = zipfile.ZipFile(upload).namelist()
        with zipfile.ZipFile(upload, "w") as archive:
            for name in names:
                archive.write(upload.parent / name, name)
    yield
    shutil.move(kept, file)


def opened(name: str, upload: Path) -> AbstractContextManager[Sequence[Any]]:
    return open_scan(upload) if name == "measurements.md" else open_images(upload)


def needed_of(name: str, form: str) -> list[str]:
    return next(places for start, places in NEEDED[name].items() if form.startswith(start))


@pytest.mark.parametrize("how", ["missing", "nan", "unit", "elsewhere", "cut"])
@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name[:-3]}-{form[:20]}" for name, form in CASES])
def test_an_example_without_what_it_needs_is_refused_by_field(name: str, form: str, how: str, tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "datasets")
    numbers = {"distance_m": 2.0, "detector_pixel_size_m": 75e-6} if name == "measurements.md" else {"kind": "images"}
    upload, needed = written(tmp_path, name, form), needed_of(name, form)
    chosen = {"unit": needed[1:], "cut": needed[:1]}.get(how, needed)
    places = {place: file for file, place in reversed([*members(upload)])}
    for number, place in enumerate(chosen):
        store.create(f"ds_{number}", {"title": "spoilt", **numbers})
        with spoilt(how, upload, places[place], place), pytest.raises(InvalidScanError) as caught:
            store.add_scan(f"ds_{number}", "a", upload)
        assert all(fault.field and fault.message for fault in caught.value.faults), place


@pytest.mark.parametrize("how", ["missing", "elsewhere"])
@pytest.mark.parametrize(("name", "form"), CASES, ids=[f"{name[:-3]}-{form[:20]}" for name, form in CASES])
def test_whatever_else_an_example_lacks_is_read_without_or_refused(name: str, form: str, how: str, tmp_path: Path) -> None:
    upload, needed = written(tmp_path, name, form), needed_of(name, form)
    for file, place in [*members(upload)]:
        if place not in needed:
            with spoilt(how, upload, file, place), suppress(InvalidScanError), opened(name, upload) as sources:
                assert sources
