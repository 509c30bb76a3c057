from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from tasks.figures.status import STATUS_COLOURS, status_maps, status_text
from tasks.figures.study import Study
from tasks.xanes.fit import Status


def test_every_status_has_its_own_colour_and_words() -> None:
    assert STATUS_COLOURS.keys() == set(Status)
    assert list(STATUS_COLOURS) == sorted(Status), "the colours are taken by number"
    assert len(set(STATUS_COLOURS.values())) == len(Status)
    assert status_text(Status.NOT_CONVERGED) == "not converged"


@pytest.mark.parametrize("status", list(Status))
def test_a_pixel_has_the_colour_of_its_status(study: Study, status: Status) -> None:
    one = study.specimens[0]
    plain = replace(one, maps={**one.maps, "status": np.full(one.kept().shape, status, dtype=np.int8)})
    figure = status_maps(replace(study, specimens=(plain,)))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    box = figure.axes[0].get_window_extent()
    pixels = np.asarray(canvas.buffer_rgba())[::-1]
    middle = pixels[int((box.y0 + box.y1) / 2), int((box.x0 + box.x1) / 2), :3] / 255
    np.testing.assert_allclose(middle, to_rgb(STATUS_COLOURS[status]), atol=0.005)


def test_the_legend_tells_shares_of_the_specimen(study: Study) -> None:
    some = replace(study, specimens=study.specimens[:1])
    found = np.asarray(some.specimens[0].maps["status"])
    share = np.mean(found[found != Status.MASKED_VACUUM] == Status.MASKED_JUMP)
    labels = [text.get_text() for text in status_maps(some).legends[0].get_texts()]
    assert labels == [f"fitted, {1 - share:.1%}", f"edge jump too small, {share:.1%}"]


@pytest.mark.parametrize("n_specimens", [1, 2])
def test_the_legend_is_no_wider_than_the_figure(study: Study, n_specimens: int) -> None:
    one = study.specimens[0]
    every = np.resize(np.array(list(Status), np.int8), one.kept().shape)
    figure = status_maps(replace(study, specimens=(replace(one, maps={**one.maps, "status": every}),) * n_specimens))
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y0 >= 0
