import io
import warnings
from dataclasses import replace
from typing import Literal

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from tasks.figures import areas, domains, maps
from tasks.figures.areas import area_spectra
from tasks.figures.gallery import figure_list
from tasks.figures.images import complex_images
from tasks.figures.study import Specimen, Study
from tasks.figures.style import DPI, MM_PER_INCH, PAGE_MM, draw_png


def test_a_whole_study_has_every_figure_and_each_is_a_picture(pair: Study) -> None:
    figures = figure_list(pair)
    shared = {
        "state-maps",
        "error-maps",
        "status-maps",
        "histograms",
        "domain-maps",
        "domain-fractions",
        "domain-densities",
        "domain-spectra",
        "domain-scatter",
        "elbow",
    }
    own = {"images", "area-spectra", "references", "resolution", "kramers-kronig", "probe", "convergence"}
    assert figures.keys() == shared | {f"{name}-{s.name}" for name in own for s in pair.specimens}
    for name, drawing in figures.items():
        if drawing.dataset != pair.specimens[1].name:  # what is drawn of one specimen is drawn of the other alike
            picture = imread(io.BytesIO(drawing.draw()))[..., :3]
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
        one,
        energy_ev=one.energy_ev[:1],
        absorption=one.absorption[:1],
        phase=one.image("phase")[:1],
        maps={},
        label=None,
        kramers_kronig=None,
        sample_mask=None,
        reconstruction=replace(
            one.reconstruction,
            error=one.reconstruction.error[:1],
            probe=one.reconstruction.probe[:1],
            frc=None,
            prtf=None,
            resolution_m=None,
        ),
    )
    figures = figure_list(Study((single,)))
    assert list(figures) == [f"images-{one.name}", f"probe-{one.name}", f"convergence-{one.name}"]


def test_same_arrays_same_bytes_and_nothing_is_left_behind(study: Study) -> None:
    before = dict(matplotlib.rcParams)
    for build in (complex_images, area_spectra):
        first, second = (draw_png("x", build, study, study.specimens[0]) for _ in range(2))
        assert first == second
    assert dict(matplotlib.rcParams) == before


def emptied(specimen: Specimen) -> Specimen:
    nothing = np.zeros(specimen.kept().shape, dtype=bool)
    return replace(
        specimen,
        sample_mask=nothing,
        maps={**specimen.maps, "mask": nothing},
        label=np.zeros(nothing.shape, np.int8),
        absorption=np.full_like(specimen.absorption, np.nan),
        phase=np.full_like(specimen.phase, np.nan),
        reconstruction=None,
        kramers_kronig=None,
    )


def test_a_study_in_which_nothing_was_kept_still_draws(pair: Study) -> None:
    empty = replace(pair, specimens=tuple(emptied(specimen) for specimen in pair.specimens))
    figures = figure_list(empty)
    assert {"state-maps", "histograms", "domain-maps", "domain-densities", "elbow"} <= figures.keys()
    drawn = [figure for figure in figures.values() if figure.dataset != pair.specimens[1].name]
    assert all(figure.draw().startswith(b"\x89PNG") for figure in drawn)


def test_users_titles_break_nothing(pair: Study) -> None:
    titles = ("50 $ of $x^{", "same $_ title\\")
    renamed = replace(
        pair,
        specimens=tuple(replace(s, title=t, group=t) for s, t in zip(pair.specimens, titles, strict=True)),
        theory={"Fe$2$": 40.0},
        references=(replace(pair.references[0], name="$_"),),
    )
    for build, *rest in (
        (maps.state_maps, ("edge_energy",)),
        (maps.histograms, ("electron_ratio",)),
        (domains.domain_maps, 4),
        (domains.fractions, renamed.domains),
        (areas.reference_spectra, renamed.specimens[0]),
    ):
        assert draw_png("$", build, renamed, *rest).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["W" * 200, "粒" * 200, "long name " * 20])
def test_no_name_widens_a_figure_or_covers_its_data(pair: Study, name: str) -> None:
    named = replace(
        pair,
        specimens=tuple(replace(s, title=name, group=name + s.name) for s in pair.specimens),
        theory={name: 39.0},
        references=tuple(replace(one, name=name) for one in pair.references),
    )
    assert named.domains is not None
    for build, *rest in (
        (maps.state_maps, ("edge_energy", "electron_ratio")),
        (maps.histograms, ("electron_ratio",)),
        (domains.domain_maps, 4),
        (domains.fractions, named.domains),
        (areas.reference_spectra, named.specimens[0]),
    ):
        width = imread(io.BytesIO(draw_png("W", build, named, *rest))).shape[1]
        assert width < 1.05 * PAGE_MM / MM_PER_INCH * DPI


@pytest.mark.parametrize(("file_format", "begins"), [("pdf", b"%PDF-1.4"), ("svg", b"<?xml")])
def test_a_figure_is_drawn_as_vectors_too(pair: Study, file_format: Literal["pdf", "svg"], begins: bytes) -> None:
    figure = figure_list(replace(pair, specimens=tuple(replace(s, title="粒子") for s in pair.specimens)))["domain-maps"]
    first, second = (figure.draw_vector(file_format) for _ in range(2))
    assert first.startswith(begins)
    assert first == second
    if file_format == "svg":
        assert "粒子" in first.decode()


TITLES = (
    "バナジウム酸リチウム 粒子３",
    "钒酸锂颗粒，脱锂后",
    "釩酸鋰顆粒",
    "바나듐산 리튬 입자",
    "частица ваната",
    "σωματίδιο",
    "Ćwiąkała № 3 → β²",
)


@pytest.mark.parametrize("titles", [TITLES[:4], TITLES[4:]])
def test_titles_in_many_languages_have_their_glyphs(pair: Study, titles: tuple[str, ...]) -> None:
    one = pair.specimens[0]
    named = replace(pair, specimens=tuple(replace(one, name=f"ds_{i}", title=t, group=t) for i, t in enumerate(titles)))
    assert named.domains is not None
    shares = np.full((len(titles), 4), 0.25)
    pooled = replace(named.domains, fraction=shares, group_fraction=shares, group_interval=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        draw_png("many", maps.state_maps, named, ("edge_energy",))
        draw_png("many", domains.fractions, replace(named, domains=pooled), pooled)


GLYPHLESS = ("🧪 batch 3 👩‍🔬👍🏽", "ตัวอย่าง 3", "\ue000 粒子\U0001f9ea")


@pytest.mark.parametrize("title", GLYPHLESS)
def test_what_no_font_has_is_left_out_or_replaced(pair: Study, title: str) -> None:
    named = replace(pair, specimens=tuple(replace(s, title=title, group=f"{s.name}{title}") for s in pair.specimens))
    assert pair.domains is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that no font has
        draw_png(title, domains.fractions, named, pair.domains)
        draw_png(title, maps.state_maps, named, ("edge_energy",))


def test_seven_groups_eight_references_and_twelve_compounds_are_drawn(pair: Study) -> None:
    """As many as a run may have of each are more than there are colours."""
    one, n_groups = pair.specimens[0], 7
    assert pair.domains is not None
    shares = np.full((n_groups, 4), 0.25)
    mixture = np.where(one.kept(), np.full((8, 1, 1), 1 / 8), np.nan)
    many = replace(
        pair,
        specimens=tuple(replace(one, name=f"ds_{i}", group=f"group {i}", mixture=mixture) for i in range(n_groups)),
        domains=replace(pair.domains, fraction=shares, group_fraction=shares, group_interval=np.stack([shares, shares])),
        references=tuple(replace(pair.references[0], name=f"V{i}O2") for i in range(1, 9)),
        theory={f"V{i}O2": 30.0 + i for i in range(1, 13)},
    )
    figures = figure_list(many)
    for name in ("histograms", "mixture-maps", "domain-maps", "domain-fractions", "references-ds_6"):
        assert figures[name].draw().startswith(b"\x89PNG"), name


@pytest.mark.parametrize("k", [1, 12])
def test_any_number_of_domains_and_one_descriptor(pair: Study, k: int) -> None:
    shares = np.full((2, k), 1 / k)
    assert pair.domains is not None
    pooled = replace(pair.domains, fraction=shares, group_fraction=shares, group_interval=None)
    labels = tuple(replace(s, label=np.minimum(np.asarray(s.label), k)) for s in pair.specimens)
    some = replace(pair, specimens=labels, domains=pooled, descriptors=("edge_energy",))
    for build in (domains.domain_maps, domains.densities, domains.scatter_matrix):
        assert draw_png("k", build, some, k).startswith(b"\x89PNG")
    assert draw_png("k", domains.fractions, some, pooled).startswith(b"\x89PNG")
