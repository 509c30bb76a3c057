import io
from dataclasses import replace

import matplotlib
import numpy as np
from matplotlib.image import imread

from tasks.figures.gallery import figure_list
from tasks.figures.study import Study


def test_a_whole_study_has_every_figure_and_each_is_a_picture(pair: Study) -> None:
    figures = figure_list(pair)
    shared = {"state-maps", "histograms", "domain-maps", "domain-fractions", "domain-densities", "domain-spectra",
              "domain-scatter", "elbow"}
    own = {"images", "area-spectra", "references", "resolution", "kramers-kronig", "probe", "convergence"}
    assert figures.keys() == shared | {f"{name}-{s.name}" for name in own for s in pair.specimens}
    for name, drawing in figures.items():
        picture = imread(io.BytesIO(drawing.png))[..., :3]
        assert picture.shape[1] > 900, name
        assert picture.std() > 0.03, name
        assert np.all(picture[0] == 1), f"{name} runs over its margin"
        assert drawing.title
        assert drawing.caption
        assert (drawing.dataset is None) == (name in shared)


def test_one_energy_gives_what_one_energy_can(pair: Study) -> None:
    one = pair.specimens[0]
    assert one.reconstruction is not None
    assert one.reconstruction.probe is not None
    single = replace(
        one, energy_ev=one.energy_ev[:1], absorption=one.absorption[:1], phase=one.phase[:1], maps={}, label=None,
        kk_residual=None, kk_residual_before=None, sample_mask=None,
        reconstruction=replace(
            one.reconstruction, error=one.reconstruction.error[:1], probe=one.reconstruction.probe[:1], frc=None,
            prtf=None, resolution_m=None,
        ),
    )
    figures = figure_list(Study((single,)))
    assert list(figures) == [f"images-{one.name}", f"probe-{one.name}", f"convergence-{one.name}"]


def test_same_study_same_bytes_and_nothing_is_left_behind(pair: Study) -> None:
    before = dict(matplotlib.rcParams)
    bare = replace(pair, domains=None, references=(), specimens=(replace(pair.specimens[0], reconstruction=None),))
    first, second = figure_list(bare), figure_list(bare)
    assert {name: drawing.png for name, drawing in first.items()} == {n: drawing.png for n, drawing in second.items()}
    assert dict(matplotlib.rcParams) == before
