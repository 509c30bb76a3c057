"""The absorption of a simulated specimen alone, as a TIFF stack and as NXstxm, against the whole without the constraint."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from imaged import PIXEL_M, imaged
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from service.settings import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.preflight import check_run
from storage.datasets.store import DatasetStore
from storage.exports.nxstxm import write_nxstxm
from storage.exports.source import Source
from storage.results import ResultsStore

OPTIONS: dict[str, Any] = {
    "kkr": {"mode": "off"}, "fit": {"min_jump_to_sigma": 3.0},
    "domains": {"n_domains": 2, "replicates": 0, "descriptors": ["edge_energy", "pre_edge_ratio"]},
}  # fmt: skip
MAPS = ("maps/mask", "maps/edge_energy", "domains/label", "maps/edge_energy_sigma")
Analyse = Callable[..., ResultsStore]


@pytest.fixture(scope="module")
def analyse(tmp_path_factory: pytest.TempPathFactory, read_input: Any, options_of: Any, compute: Any) -> Analyse:
    """``analyse(file, **align)``: the results of a run on the images of one file."""

    def analyse(file: Path, **align: str) -> ResultsStore:
        folder = tmp_path_factory.mktemp("run")
        paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
        store = DatasetStore(paths.datasets)
        about = {"sample": {"name": "", "formula": "LiVO2", "group": ""}, "absorber": {"element": "V", "edge": "K"}}
        store.create(
            "ds_a", {"title": "images", "kind": "images", "provenance": {"created": "2024-05-01T12:00:00+00:00"}} | about
        )
        store.add_scan("ds_a", "stack", file)
        store.seal("ds_a")
        datasets, options = [read_input(store)], options_of(**OPTIONS, align=align)
        check_run(datasets, options)
        compute(paths, build_graph(datasets, options, "run_1"), "spectra", "fit", "maps", "domains", "results")
        return ResultsStore(paths.results("run_1"))

    return analyse


@pytest.fixture(scope="module")
def whole(analyse: Analyse, tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    """Results of objects with their phase."""
    path = tmp_path_factory.mktemp("objects") / "objects.npz"
    np.savez(path, pixel_size_m=PIXEL_M, energy_ev=imaged().energies_ev, object=imaged().objects)
    return analyse(path)


def write_tiff(results: ResultsStore, path: Path) -> None:
    absorption, energies_ev = (results.read("ds_a/spectra", name)[0] for name in ("absorption", "energy"))
    per_cm, image = 1e-2 / PIXEL_M, io.BytesIO()
    stack = np.exp(-2 * absorption).astype(np.float32)
    tifffile.imwrite(image, stack, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", photometric="minisblack")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("transmission.tif", image.getvalue())
        archive.writestr("energies.txt", "\n".join(f"{energy:.4f}" for energy in energies_ev))


def write_stxm(results: ResultsStore, path: Path) -> None:
    write_nxstxm(Source(results, "run_1", ["ds_a"]), path)


@pytest.mark.parametrize("write", [write_tiff, write_stxm])
def test_edge_energies_and_domains_are_those_of_the_whole(
    whole: ResultsStore, analyse: Analyse, tmp_path: Path, write: Callable[[ResultsStore, Path], None]
) -> None:
    write(whole, tmp_path / "stack")
    alone = analyse(tmp_path / "stack", drift="none")
    assert "phase" not in alone.arrays("ds_a/spectra")
    arrays = [placed(store, name, alone) for store in (whole, alone) for name in MAPS]
    (mask, edge, label, sigma), (other_mask, other_edge, other_label, _) = arrays[:4], arrays[4:]
    both = mask & other_mask
    assert both.sum() > 0.95 * mask.sum(), "the rim, which is blurred, is left out with a phase alone"
    difference = np.abs(other_edge - edge)[both] / sigma[both]
    assert np.median(difference) < 0.15, "in standard errors"
    assert adjusted_rand_score(label[both], other_label[both]) > 0.95


def placed(results: ResultsStore, name: str, like: ResultsStore) -> NDArray[Any]:
    """An array (Y, X) of results, cut to the pixels of others; a TIFF does not say where its first pixel is."""
    cut = []
    for axis in "yx":
        here, there = (store.read("ds_a/maps", axis)[0] for store in (results, like))
        first = round((there[0] - here[0]) / (here[1] - here[0]))
        cut.append(slice(first, first + len(there)))
    group, _, array = f"ds_a/{name}".rpartition("/")
    return np.asarray(results.read(group, array)[0][tuple(cut)])
