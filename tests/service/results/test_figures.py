"""Figures drawn from published results alone; `tests/service/stages/test_results.py` compares them with the steps of a run."""

import io

import numpy as np
import pytest
from PIL import Image
from published import write_published

from service.errors import NotFoundError
from service.results import figures
from service.results.figures import draw_figure, published_study
from storage.results import ResultsStore
from tasks.options.run import RunOptions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    path = tmp_path_factory.mktemp("run") / "results.zarr"
    write_published(path, ["ds_a", "ds_b"])
    return ResultsStore(path)


def test_nothing_but_the_results_is_needed(store: ResultsStore) -> None:
    study = published_study(store, RunOptions())
    first, second = study.specimens
    assert (first.name, second.name, first.title, first.group) == ("ds_a", "ds_b", "made up", "g")
    assert first.pixel_size_m == pytest.approx(15e-9)
    assert first.phase is not None
    assert study.domains is not None
    assert (study.domains.elbow, study.descriptors) == (4, ("edge_energy", "electron_ratio"))
    np.testing.assert_array_equal(first.maps["edge_energy"], store.read("ds_a/maps", "edge_energy")[0])
    assert list(study.theory) == ["LiVO2"]


def test_a_figure_is_drawn_once_for_all_who_ask(store: ResultsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dark = draw_figure(store, RunOptions(), "elbow", "dark")
    corner = np.asarray(Image.open(io.BytesIO(dark)))[0, 0]
    assert corner.tolist() == [0x1B, 0x21, 0x24]
    monkeypatch.setattr(figures, "published_study", None)
    assert draw_figure(store, RunOptions(), "elbow", "dark") == dark


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_vectors_have_their_text_as_text(store: ResultsStore, form: figures.Form, start: bytes) -> None:
    drawn = draw_figure(store, RunOptions(), "elbow", form)
    assert drawn.startswith(start)
    assert form == "pdf" or b"Number of domains" in drawn


def test_a_figure_that_the_results_do_not_suffice_for_is_not_found(store: ResultsStore) -> None:
    with pytest.raises(NotFoundError, match="suffice for no figure 'references-ds_a'"):
        draw_figure(store, RunOptions(), "references-ds_a", "pdf")
