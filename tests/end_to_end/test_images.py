"""Images from elsewhere: a run's own objects brought back in three formats, absorption alone, and a real stack of iron."""

import re
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import numpy as np
import pytest
from lab import Job, Lab
from measurements import FOLDER

IRON: Final = FOLDER / "fe_l_stxm_stack.zip"
SPREAD: Final = 1e-3
"""Most that a map may change, as a share of its spread."""
FORMATS: Final = ("cxi", "ptychodus", "ptyr")
MAPS: Final = ("edge_energy", "pre_edge_ratio", "electron_ratio", "n_absorber")


def spread_of(values: np.ndarray[Any, Any]) -> float:
    """Half the distance of the percentiles at 16 and 84."""
    return float(np.subtract(*np.percentile(values, [84, 16]))) / 2


def placed(lab: Lab, job: Job, dataset: str, names: tuple[str, ...], like: tuple[Job, str]) -> list[np.ndarray[Any, Any]]:
    """Arrays over y and x of a run, cut to the pixels that those of another run's dataset lie on."""
    cut = []
    for axis in "yx":
        here, there = lab.array(job, f"{dataset}/maps/{axis}"), lab.array(like[0], f"{like[1]}/maps/{axis}")
        first = int(np.argmin(np.abs(here - there[0])))
        np.testing.assert_allclose(here[first : first + len(there)], there, rtol=0, atol=1e-3 * (here[1] - here[0]))
        cut.append(slice(first, first + len(there)))
    return [lab.array(job, f"{dataset}/{name}")[tuple(cut)] for name in names]


@pytest.fixture(scope="module")
def brought_back(lab: Lab, main_job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Job]:
    """A dataset of each format, in one run that takes the objects as they are."""
    folder, datasets = tmp_path_factory.mktemp("brought_back"), []
    for name in FORMATS:
        lab.client.save(f"/runs/{main_job.id}/export", folder / name, params={"format": name})
        datasets.append(lab.create(title=name, kind="images"))
        lab.put(datasets[-1], "stack", folder / name).raise_for_status()
        lab.client.seal(datasets[-1])
    options = {
        "kkr": {"mode": "off"}, "align": {"drift": "none", "gauge": "none"}, "domains": {"n_domains": 4, "replicates": 0},
    }  # fmt: skip
    return datasets, lab.run(datasets, options, "brought back", is_drawn=False)


@pytest.mark.parametrize("name", FORMATS)
def test_objects_brought_back_give_the_same_maps(
    lab: Lab, main_job: Job, pristine: str, brought_back: tuple[list[str], Job], name: str
) -> None:
    datasets, job = brought_back
    assert job.view["state"] == "succeeded", job.view["error"]
    dataset = datasets[FORMATS.index(name)]
    paths = tuple(f"maps/{one}" for one in ("mask", *MAPS))
    kept, *before = placed(lab, main_job, pristine, paths, (job, dataset))
    assert kept.sum() == lab.array(main_job, f"{pristine}/maps/mask").sum()
    np.testing.assert_array_equal(lab.array(job, f"{dataset}/maps/mask"), kept)
    for one, expected in zip(MAPS, before, strict=True):
        found = lab.array(job, f"{dataset}/maps/{one}")
        assert np.abs(found - expected)[kept].max() < SPREAD * spread_of(expected[kept]), one


def thinned(stack: Path, path: Path) -> Path:
    """Write every second pixel of every second row of a stack of images: its whole field, in a quarter of the pixels."""

    def axis(found: re.Match[str]) -> str:
        points = found[2].split(",")[::2]
        return f"{found[1]}{len(points)}, {', '.join(points)}"

    with ZipFile(stack) as whole, ZipFile(path, "w") as part:
        for name in whole.namelist():
            text = whole.read(name).decode()
            if name.endswith(".hdr"):
                text = re.sub(r"([PQ]Axis = [^(]*\()\d+,([^)]*)", axis, text)
            else:
                text = "\n".join("\t".join(row.split()[::2]) for row in text.splitlines()[::2])
            part.writestr(name, text)
    return path


@pytest.mark.skipif(not IRON.exists(), reason="needs fe_l_stxm_stack.zip of the real data")
def test_the_stack_of_iron_goes_from_one_file_to_optical_densities(lab: Lab, tmp_path: Path) -> None:
    absorber = {"element": "Fe", "edge": "L3"}
    dataset = lab.create(title="iron", kind="images", absorber=absorber, sample={"formula": "Fe2O3"})
    lab.put(dataset, "stack", thinned(IRON, tmp_path / "thinned.zip")).raise_for_status()
    lab.client.seal(dataset)
    options = {
        "fit": {"model": "l3_l2"}, "chemistry": {"preset": "chantler"},
        "domains": {"n_domains": 3, "space": "components", "replicates": 0},
    }  # fmt: skip
    job = lab.run([dataset], options, "iron", is_drawn=False)
    assert job.view["state"] == "succeeded", job.view["error"]
    energy, absorption = (lab.array(job, f"{dataset}/spectra/{name}") for name in ("energy", "absorption"))
    sample = lab.array(job, f"{dataset}/spectra/sample_mask")
    density = 2 * np.nanmean(absorption[:, sample], axis=1)
    assert len(energy) == 123
    assert 0.2 < sample.mean() < 0.8, "the specimen, with an empty area beside it"
    assert 709 <= energy[density.argmax()] <= 710, "the L3 line"
    assert (lab.array(job, f"{dataset}/spectra/incident_intensity") > 0).all()
    assert len(lab.array(job, "components/eigenspectrum")) > 1
    mask, label = lab.array(job, f"{dataset}/maps/mask"), lab.array(job, f"{dataset}/domains/label")
    line = 2 * (absorption[(energy > 709) & (energy < 711)].mean(axis=0) - absorption[energy < 705].mean(axis=0))
    assert mask[sample].mean() > 0.2, "the white line shows the iron, whose edge jump is small"
    assert np.median(line[mask]) > 4 * np.median(line[sample & ~mask]), "what is left out has hardly any iron"
    assert (label[mask] > 0).mean() > 0.9
    assert not label[~mask].any()


def test_an_exported_gauge_is_for_images_alone(lab: Lab, pristine: str) -> None:
    answer = lab.http.post("/runs", json={"datasets": [pristine], "options": {"align": {"gauge": "none"}}})
    assert answer.status_code == 422
    assert "options.align.gauge" in answer.text
