"""The figure of a plan shows every chosen energy where it lies on the expected spectra."""

import io

import numpy as np
import pytest
from panels import panels
from PIL import Image

from tasks.figures.plan import plan_figure, plan_png
from tasks.planning.plan import EnergyPlan, PlanOptions, plan_energies


@pytest.fixture(scope="module")
def plan() -> EnergyPlan:
    return plan_energies(PlanOptions(energies=11, step_ev=4.0, dose="split"))


def test_energies_stand_on_the_expected_spectra(plan: EnergyPlan) -> None:
    above, below = panels(plan_figure(plan))
    points = above.collections[-1].get_offsets()
    np.testing.assert_allclose(points[:, 0], plan.energy_ev)
    assert points[0, 1] < 1 < 4 < points[-1, 1]
    sizes = above.collections[-1].get_sizes()
    np.testing.assert_allclose(sizes / sizes.sum(), plan.share)
    assert "(eV)" in below.get_xlabel()
    assert "electrons" in above.get_ylabel()


def test_the_picture_is_a_png(plan: EnergyPlan) -> None:
    with Image.open(io.BytesIO(plan_png(plan))) as image:
        assert image.width > 1000
        assert np.asarray(image.convert("L")).std() > 10
