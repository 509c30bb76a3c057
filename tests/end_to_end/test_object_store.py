"""A service whose data are in an S3 bucket: the same arrays as on a file system, also when a worker dies on the way."""

import time
import warnings
from collections.abc import Iterator

import httpx
import numpy as np
import psutil
import pytest
import xarray as xr
from lab import BRIEF_OPTIONS, Array, Job, Lab, OpenLab, Writer, brief_specimen

from api.cli.administration.maintenance import all_stores
from api.client.ptyxas import PREFIX
from service.settings import DataPaths, Settings
from storage.artifacts import ArtifactStore
from storage.atomic import PREFIX as STAGING
from storage.datasets.store import DatasetStore
from storage.location import ObjectPath
from storage.results import ResultsStore

Stored = tuple[Lab, str, Job, DataPaths]
"""What the fixture of that name holds."""
DRAWN = ("state-maps", "histograms", "elbow", "images", "probe", "convergence")
"""Figures that are drawn: of one specimen and of all, with domains and without."""
WAIT_S = 180


def kill_a_worker(lab: Lab) -> None:
    """End one worker process without a warning."""
    children = psutil.Process(lab.serving.process.pid).children(recursive=True)
    next(child for child in children if "spawn_main" in " ".join(child.cmdline())).kill()


@pytest.fixture(scope="module")
def stored(
    bucket: str,
    own_lab: OpenLab,
    writers: dict[str, Writer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stored]:
    """A service, a dataset, a run one of whose workers was killed, and where all of it is."""
    folder, storage = tmp_path_factory.mktemp("objects"), f"{bucket}/service"
    with own_lab(folder / "data", "--storage", storage) as lab:
        paths = DataPaths.of(Settings(data_dir=folder / "data", storage=storage))
        dataset = lab.upload(brief_specimen(), folder, [writers["cxi"]])
        run = lab.submit([dataset], BRIEF_OPTIONS, is_drawn=DRAWN)
        until = time.monotonic() + WAIT_S
        while len(ArtifactStore(paths.artifacts).keys()) < 3:
            assert time.monotonic() < until, "no step was stored"
            time.sleep(0.1)
        kill_a_worker(lab)
        yield lab, dataset, lab.job(run, list(lab.client.follow(run))), paths


def test_the_arrays_are_those_of_a_file_system(stored: Stored, undisturbed: dict[str, Array]) -> None:
    _, dataset, job, paths = stored
    assert job.view["state"] == "succeeded", job.view["error"]
    store = ResultsStore(paths.results(job.id))
    assert len(undisturbed) > 40
    for path, values in undisturbed.items():
        group, _, name = path.rpartition("/")
        found = store.read(group.replace("it", dataset, 1) if group.startswith("it") else group, name)[0]
        np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-6 * np.nanmax(np.abs(values), initial=0), err_msg=path)


def test_nothing_but_the_catalogue_is_in_the_data_folder(stored: Stored) -> None:
    lab, _, _, _ = stored
    files = [path for path in lab.serving.data_dir.rglob("*") if path.is_file() and "dask" not in path.parts]
    of_the_killed = [path for path in files if any(part.startswith(STAGING) for part in path.parts)]
    kept = {path.name for path in files if path not in of_the_killed}
    assert "catalogue.sqlite" in kept
    assert not {name for name in kept if name.endswith((".bin", ".png", ".part")) or name == "zarr.json"}


def test_results_are_opened_over_http_and_from_the_bucket(stored: Stored) -> None:
    lab, dataset, job, paths = stored
    url = f"{lab.serving.url}{PREFIX}/runs/{job.id}/results.zarr"
    found = paths.results(job.id)
    assert isinstance(found, ObjectPath)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_datatree(url, engine="zarr") as over_http:
            maps = over_http[f"{dataset}/maps"].to_dataset().load()
        with xr.open_dataset(found.zarr_store(read_only=True), group=f"{dataset}/maps", engine="zarr") as direct:  # type: ignore[arg-type]
            xr.testing.assert_equal(maps, direct.load())
    assert np.isfinite(maps["edge_energy"]).any()


def test_files_are_served_in_parts_and_by_their_tags(stored: Stored) -> None:
    lab, dataset, job, _ = stored
    url = f"/runs/{job.id}/results.zarr/{dataset}/spectra/absorption/c/0/0/0"
    whole = lab.http.get(url).raise_for_status()
    assert len(whole.content) > 100
    assert lab.http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    for asked, part in (("bytes=10-19", slice(10, 20)), ("bytes=-7", slice(-7, None)), ("bytes=90-", slice(90, None))):
        answer = lab.http.get(url, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, whole.content[part])
        assert answer.headers["content-range"].endswith(f"/{len(whole.content)}")
    assert lab.http.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert lab.http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"another"'}).content == whole.content
    head = lab.http.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    assert lab.http.get(f"/runs/{job.id}/results.zarr/{dataset}/nothing/c/0").status_code == 404


def test_figures_images_tables_exports_and_the_page_are_served(stored: Stored) -> None:
    lab, dataset, job, _ = stored
    listed = lab.client.call("GET", f"/runs/{job.id}/figures")["items"]
    assert len(listed) > 5
    assert lab.http.get(f"/runs/{job.id}/figures/{listed[0]['name']}.png").content.startswith(b"\x89PNG")
    assert lab.http.get(f"/runs/{job.id}/images/{dataset}/edge_energy.png").content.startswith(b"\x89PNG")
    assert len(lab.client.call("GET", f"/runs/{job.id}/energies")["items"]) == len(brief_specimen().scans)
    assert lab.http.get(f"/runs/{job.id}/export", params={"format": "csv"}).content.startswith(b"PK")
    assert lab.client.call("GET", f"/datasets/{dataset}")["state"] == "sealed"
    page = httpx.get(f"{lab.serving.url}/?run={job.id}")
    assert page.status_code == 200
    assert listed[0]["title"] in page.text


def test_all_of_it_is_whole_and_what_is_removed_is_gone(stored: Stored) -> None:
    lab, dataset, job, paths = stored
    artifacts, datasets = ArtifactStore(paths.artifacts), DatasetStore(paths.datasets)
    assert [damage for damage in map(artifacts.verify, artifacts.keys()) if damage] == []
    assert datasets.verify(dataset) == []
    assert [ResultsStore(path).verify() for path in all_stores(paths)] == [[]]
    assert lab.http.delete(f"/runs/{job.id}").status_code == 204
    assert list(paths.runs.rglob("*")) == []
    assert lab.http.delete(f"/datasets/{dataset}").status_code == 204
    assert datasets.ids() == []
    assert lab.client.call("GET", "/datasets")["items"] == []
