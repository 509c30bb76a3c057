"""Every figure there are arrays for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.stages.compounds import reference_spectra, theoretical_ratios
from service.stages.context import StageContext, StepAttributes
from service.stages.dataset_results import Arrays, DatasetResults, RunResults
from tasks.figures.gallery import figure_list
from tasks.figures.study import PooledDomains, Reconstruction, Specimen, Study
from tasks.options import RunOptions


def figures(desk: StageContext, **found: Any) -> StepAttributes:
    """Draw what a run found; ``found`` makes its `service.stages.dataset_results.RunResults`."""
    contents = RunResults(**found)
    pooled, attributes = contents.pooled(desk)
    drawn = figure_list(study_of(contents.chapters(desk), pooled, attributes, contents.options))
    arrays = {name: np.frombuffer(figure.png, np.uint8) for name, figure in drawn.items()}
    listed = [{"name": name, "title": figure.title, "dataset": figure.dataset} for name, figure in drawn.items()]
    desk.write(arrays, listed=listed)
    return {"n_figures": len(arrays)}


def study_of(chapters: Sequence[DatasetResults], pooled: Arrays, attributes: Mapping[str, Any], options: RunOptions) -> Study:
    """The run in the words of the figures."""
    domains = None
    if pooled:
        domains = PooledDomains(
            pooled["inertia"], int(attributes["elbow"]), pooled["fraction"], pooled["group_fraction"],
            group_interval=pooled.get("group_interval"), energy_ev=chapters[0].energy_ev,
            mean_absorption=pooled["mean_absorption"], fraction_interval=pooled.get("fraction_interval"),
            domain_agreement=pooled.get("domain_agreement"), agreement=attributes.get("agreement"),
        )  # fmt: skip
    mapped = [chapter for chapter in chapters if chapter.phase_energy_ev is not None]
    formulas = [chapter.about["formula"] for chapter in mapped]
    theory = theoretical_ratios(formulas, mapped[0].phase_energy_ev, mapped[0].about["absorber"], options) if mapped else {}
    return Study(
        tuple(specimen_of(chapter) for chapter in chapters),
        chapters[0].about["absorber"]["element"],
        options.domains.descriptors,
        domains,
        references=reference_spectra(chapters[0].about["absorber"], options) if chapters[0].maps else (),
        theory=theory,
    )


def specimen_of(chapter: DatasetResults) -> Specimen:
    """One dataset in the words of the figures."""
    return Specimen(
        name=chapter.about["id"],
        title=chapter.about["title"],
        energy_ev=chapter.energy_ev,
        pixel_size_m=float(chapter.y_m[1] - chapter.y_m[0]),
        absorption=chapter.spectra["absorption"],
        phase=chapter.spectra["phase"],
        sample_mask=chapter.spectra.get("sample_mask"),
        maps=chapter.maps,
        label=chapter.label,
        group=chapter.about["group"],
        standard=chapter.about["standard"],
        mixture=chapter.mixture.get("fraction"),
        reconstruction=Reconstruction(
            chapter.course["error"], chapter.course["noise_error"], chapter.probe, chapter.probe_pixel_size_m, **chapter.sharpness
        ),
        kk_residual=chapter.spectra.get("kk_residual"),
        kk_residual_before=chapter.spectra.get("kk_residual_before"),
    )
