"""A data folder that an older version wrote goes on: catalogue of revision 0001, finished steps as Zarr with ``unit.json``.

``tests/data/older_data.zip`` has a dataset of one energy, a run on it that succeeded, without its figures, and one that the end
of the service interrupted.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import xarray as xr

from service.bootstrap import Service
from service.errors import ConflictError, ResultsNotReadyError
from service.settings import Settings
from service.stages.pipeline import build_graph
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from tasks.options.run import OPTIONS

OLDER: Final = Path(__file__).parents[1] / "data" / "older_data.zip"
DATASET, PUBLISHED, INTERRUPTED = "ds_faab5f1ab580db14", "run_03dd7626a6805d49", "run_09761278459d8850"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service on that folder, without its cluster."""
    folder = tmp_path_factory.mktemp("older")
    with zipfile.ZipFile(OLDER) as archive:
        archive.extractall(folder)
    service = Service(Settings(data_dir=folder, min_free_bytes=0))
    service.datasets.start()
    yield service
    service.datasets.stop()
    service._catalogue.close()


def test_datasets_are_whole_and_can_be_analysed(service: Service) -> None:
    (dataset,) = service.datasets.page().items
    assert (dataset.id, dataset.state, [scan.energy_ev for scan in dataset.scans or ()]) == (DATASET, "sealed", [5420.0])
    store = DatasetStore(service.settings.location("datasets"))
    assert store.verify(DATASET) == []
    assert store.read_scan(DATASET, "e0")["counts"].shape == (16, 32, 32)


def test_results_open(service: Service) -> None:
    root = service.settings.data_dir / "runs" / PUBLISHED / "results.zarr"
    with xr.open_datatree(root, engine="zarr") as tree:
        assert list(tree.children[DATASET].children) == ["reconstruction", "spectra"]
    with xr.open_dataset(root, group=f"{DATASET}/reconstruction", engine="zarr") as group:
        error = group["error"].values
    (row,) = service.runs.results.energies(PUBLISHED)
    assert (row.energy_ev, row.n_cycles) == (5420.0, 5)
    assert row.r_factor == pytest.approx(error[0, -1])
    assert service.runs.results.image(PUBLISHED, DATASET, "phase").startswith(b"\x89PNG")
    with service.runs.results.export(PUBLISHED, "nexus").file as exported:
        exported.seek(0)
        assert exported.read(8) == b"\x89HDF\r\n\x1a\n"


def test_figures_that_are_gone_are_named_and_computed_again(service: Service) -> None:
    assert service.runs.get(PUBLISHED).state == "succeeded"
    assert service.runs.retry(PUBLISHED).state == "queued"


def test_a_run_that_was_interrupted_goes_on_from_its_beginning(service: Service) -> None:
    """Its options are read under the names that they have now; its finished steps are in another format and not used."""
    run = service.runs.get(INTERRUPTED)
    assert run.state == "running"
    with pytest.raises(ResultsNotReadyError):
        service.runs.results.figures(INTERRUPTED)
    with pytest.raises(ConflictError, match="cancel it first"):
        service.runs.delete(INTERRUPTED)
    options = OPTIONS.validate_python(dict(run.options))
    assert (options.reconstruct.cycles, options.reconstruct.start_from) == (100_000, "optics")
    graph = build_graph(service.runs._inputs.read([DATASET]), options, INTERRUPTED)
    artifacts = ArtifactStore(service.settings.data_dir / "units")
    assert list((service.settings.data_dir / "units").glob("*/*/unit.json"))
    assert [step.name for step in graph.steps.values() if artifacts.has(step.key)] == []
