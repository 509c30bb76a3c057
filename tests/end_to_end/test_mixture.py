"""References uploaded with a run explain every pixel of a particle that is V2O3 on one side and V2O5 on the other."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from lab import Job, Lab, Writer
from oxides import OxideMixture

N_ENERGIES = 14


class MixtureRun(NamedTuple):
    """The truth, the dataset, and the run that mapped it."""

    made: OxideMixture
    dataset: str
    job: Job


@pytest.fixture(scope="module")
def mixture(
    lab: Lab,
    oxide_mixture: Callable[..., OxideMixture],
    writers: dict[str, Writer],
    tmp_path_factory: pytest.TempPathFactory,
) -> MixtureRun:
    made = oxide_mixture(seed=1, n_energies=N_ENERGIES, n_positions_side=8, n_pixels=48, radius_m=0.28e-6)
    dataset = lab.upload(made.measured, tmp_path_factory.mktemp("files"), [writers["cxi"]])
    options = {
        "reconstruct": {"cycles": 50}, "kkr": {"start": 60}, "domains": {"n_domains": 2, "replicates": 0},
        "references": {"xdi": list(made.references)},
    }  # fmt: skip
    return MixtureRun(made, dataset, lab.run([dataset], options, "mixture", is_drawn=["mixture-maps", "references"]))


def test_shares_of_measured_oxides_are_within_a_twentieth(lab: Lab, mixture: MixtureRun) -> None:
    made, dataset, job = mixture
    assert (job.view["state"], job.view["error"]) == ("succeeded", None)
    y_m, x_m = (lab.array(job, f"{dataset}/maps/{axis}") for axis in "yx")
    share, inside = made.share(y_m, x_m, lab.array(job, f"{dataset}/spectra/phase")[0])
    fraction = lab.array(job, f"{dataset}/references/fraction")
    inside &= np.isfinite(fraction[0])
    assert inside.sum() > 500
    np.testing.assert_allclose(fraction[:, inside].sum(axis=0), 1, atol=1e-5)
    error = fraction[1][inside] - share[inside]
    assert abs(np.median(error)) < 0.02
    assert np.sqrt(np.mean(error**2)) < 0.05
    assert np.mean(np.abs(error) < 0.05) > 0.85


def test_shares_are_published_by_name_and_drawn(lab: Lab, mixture: MixtureRun) -> None:
    _, dataset, job = mixture
    names = [figure["name"] for figure in lab.client.call("GET", f"/runs/{job.id}/figures")["items"]]
    assert {"mixture-maps", f"references-{dataset}"} <= set(names)
    assert list(lab.array(job, "references/reference")) == ["V2O3", "V2O5"]
    edges = lab.array(job, "references/edge_energy")
    assert edges == pytest.approx([5478.60, 5481.96], abs=0.15)
