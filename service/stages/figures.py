"""Every figure that can be drawn of what a run found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from service.stages.context import StageContext
from service.stages.dataset_results import Arrays, DatasetResults, RunResultsStep
from service.workflow.step import StepAttributes, StepRef
from storage.errors import ArtifactMissingError
from storage.figures import FigureStore
from storage.layout import ArraySpec
from tasks.figures.study import KramersKronig, PooledDomains, ReconstructionQuality, ReferenceSpectrum, Specimen, Study
from tasks.options.run import RunOptions

if TYPE_CHECKING:
    from service.stages.results import ResultsStep
    from tasks.figures.gallery import Drawing
    from tasks.scattering import Absorber

log = logging.getLogger(__name__)

PNG: Final = "png-"
"""Beginning of the name of the array that holds a figure's PNG file; the figure's name follows."""


@dataclass(frozen=True, kw_only=True)
class DrawnFiguresStep(RunResultsStep):
    """Draw a part of a run's figures ahead, as soon as what they show is there; `FiguresStep` publishes them.

    A figure that cannot be drawn is a warning that names the reason, and the others are drawn.
    """

    stage: ClassVar[str] = "figures"
    version: ClassVar[int] = 4
    is_optional: ClassVar[bool] = True
    arrays: ClassVar[tuple[ArraySpec, ...]] = (ArraySpec(PNG + "{figure}", ("byte",), ("uint8",), "1", "PNG file of a figure"),)

    def run(self, context: StageContext) -> StepAttributes:
        figures = self.part_of(drawings(context, self))
        pngs, warnings = draw(context, figures)
        arrays = {PNG + name: np.frombuffer(content, np.uint8) for name, content in pngs.items()}
        return context.write(arrays, warnings=warnings, figures=list(figures))

    def part_of(self, figures: Mapping[str, Drawing]) -> Mapping[str, Drawing]:
        """Those figures that the step draws."""
        return figures


@dataclass(frozen=True, kw_only=True)
class UngroupedFiguresStep(DrawnFiguresStep):
    """Draw the figures that show no domains, while pixels are grouped.

    The domains are no input, and `figure_list` leaves out what shows them; of the options of the domains the figures need the
    descriptors.
    """

    part: ClassVar[str] = "-ungrouped"

    domains: None = None


@dataclass(frozen=True, kw_only=True)
class GroupedFiguresStep(DrawnFiguresStep):
    """Draw the figures that show domains, while results are published and the other figures are drawn."""

    part: ClassVar[str] = "-grouped"

    def part_of(self, figures: Mapping[str, Drawing]) -> Mapping[str, Drawing]:
        return {name: figure for name, figure in figures.items() if figure.shows_domains}


@dataclass(frozen=True, kw_only=True)
class FiguresStep(RunResultsStep):
    """Draw a run's figures as PNG files, once its results are published, and list them; it stores no arrays.

    A figure that cannot be drawn is a warning that names the reason, and the others are drawn.

    Parameters
    ----------
    run_id : str
    results : StepRef
        The run's published results.
    drawn : tuple of StepRef
        Figures that are drawn already. What is missing of them, because such a step failed, is drawn here.
    """

    stage: ClassVar[str] = "figures"
    version: ClassVar[int] = 11
    is_optional: ClassVar[bool] = True

    run_id: str
    results: StepRef[ResultsStep]
    drawn: tuple[StepRef[DrawnFiguresStep], ...] = ()

    def run(self, context: StageContext) -> StepAttributes:
        figures = drawings(context, self)
        pngs, tried = read_drawn(context, self.drawn)
        others, warnings = draw(context, {name: figure for name, figure in figures.items() if name not in tried})
        pngs |= others
        listed = [{"name": name, "title": one.title, "dataset": one.dataset} for name, one in figures.items() if name in pngs]
        context.check_stop()
        FigureStore(context.paths.figures(self.run_id)).write({name: pngs[name] for name in figures if name in pngs}, listed)
        return context.write({}, warnings=warnings, n_figures=len(listed))


def drawings(context: StageContext, step: RunResultsStep) -> dict[str, Drawing]:
    """Every figure that what a step reads suffices for, by its name; nothing is drawn yet.

    Raises
    ------
    ArtifactMissingError
        A step whose arrays the figures show is not finished.
    """
    from tasks.figures.gallery import figure_list

    return figure_list(study_of(step.read_datasets(context), *step.read_domains(context), step.options))


def draw(context: StageContext, figures: Mapping[str, Drawing]) -> tuple[dict[str, bytes], list[str]]:
    """PNG files of figures by their names, and a warning for each that cannot be drawn."""
    pngs: dict[str, bytes] = {}
    warnings = []
    for name, figure in figures.items():
        context.check_stop()
        try:
            pngs[name] = figure.draw()
        except Exception as error:
            log.exception("figure %s of run %s", name, context.request.run_id)
            warnings.append(f"the figure {name} ({figure.title}) cannot be drawn: {type(error).__name__}: {error}")
    return pngs, warnings


def read_drawn(context: StageContext, steps: Sequence[StepRef[DrawnFiguresStep]]) -> tuple[dict[str, bytes], set[str]]:
    """PNG files that earlier steps drew, and the names of all that they tried; nothing of a step that failed."""
    pngs: dict[str, bytes] = {}
    tried: set[str] = set()
    for step in steps:
        with suppress(ArtifactMissingError):
            arrays, names = context.read(step), context.attributes(step)["figures"]
            pngs |= {name.removeprefix(PNG): content.tobytes() for name, content in arrays.items()}
            tried.update(names)
    return pngs, tried


def study_of(datasets: Sequence[DatasetResults], pooled: Arrays, attributes: StepAttributes, options: RunOptions) -> Study:
    """What a run found, as the figures take it.

    Parameters
    ----------
    datasets : sequence of DatasetResults
    pooled, attributes
        Arrays and attributes of the domains; empty where nothing was grouped.
    options : RunOptions
    """
    from tasks.areas import AreaModel
    from tasks.scattering import Absorber

    absorber = Absorber(**datasets[0].dataset.absorber)
    domains = None
    if pooled:
        domains = PooledDomains(
            pooled["inertia"], int(attributes["elbow"]), pooled["fraction"], pooled["group_fraction"],
            group_interval=pooled.get("group_interval"), energy_ev=datasets[0].energy_ev,
            mean_absorption=pooled["mean_absorption"], fraction_interval=pooled.get("fraction_interval"),
            domain_agreement=pooled.get("domain_agreement"), agreement=attributes.get("agreement"),
        )  # fmt: skip
    return Study(
        tuple(specimen_of(dataset) for dataset in datasets),
        absorber.element,
        tuple(attributes["descriptors"]) if pooled else options.domains.descriptors,
        domains,
        references=reference_spectra(absorber, options) if datasets[0].maps else (),
        theory=theoretical_ratios(datasets, absorber, options),
        model=AreaModel(absorber, options.fit.model),
    )


def specimen_of(found: DatasetResults) -> Specimen:
    """One dataset, as the figures take it."""
    return Specimen(
        name=found.dataset.id,
        title=found.dataset.title,
        energy_ev=found.energy_ev,
        pixel_size_m=float(found.y_m[1] - found.y_m[0]),
        absorption=found.spectra["absorption"],
        phase=found.spectra.get("phase"),
        sample_mask=found.spectra.get("sample_mask"),
        maps=found.maps,
        label=found.label,
        group=found.dataset.group,
        standard=found.dataset.standard,
        mixture=found.mixture.get("fraction"),
        reconstruction=ReconstructionQuality(
            found.convergence.get("error", found.energy_ev[:, None][:, :0]),
            found.convergence.get("noise_error"),
            found.probe,
            found.probe_pixel_size_m,
            frame_px=found.convergence.get("frame_px"),
            **found.resolution,
        ),
        kramers_kronig=kramers_kronig_of(found),
        sigma_absorption=found.spectra.get("sigma_absorption"),
        sigma_phase=found.spectra.get("sigma_phase"),
        noise=found.noise,
    )


def kramers_kronig_of(found: DatasetResults) -> KramersKronig | None:
    """What the relation said of a dataset before the constraint; None of absorption alone and of single energies."""
    if "kk_predicted" not in found.spectra:
        return None
    residual, measured, predicted = (found.spectra[f"kk_{name}"] for name in ("residual_before", "measured", "predicted"))
    return KramersKronig(residual, measured, predicted, found.kk_slope)


def theoretical_ratios(datasets: Sequence[DatasetResults], absorber: Absorber, options: RunOptions) -> dict[str, float]:
    """Electrons per absorber atom by formula, of the specimens that have maps and of the compounds asked for."""
    from tasks.chemistry import theoretical_electron_ratio

    mapped = [found for found in datasets if found.phase_energy_ev is not None]
    if not mapped or mapped[0].phase_energy_ev is None:
        return {}
    formulas = dict.fromkeys([*(found.dataset.formula for found in mapped), *options.chemistry.compounds])
    energy_ev = mapped[0].phase_energy_ev
    return {formula: theoretical_electron_ratio(formula, energy_ev, absorber, options.chemistry) for formula in formulas}


def reference_spectra(absorber: Absorber, options: RunOptions) -> tuple[ReferenceSpectrum, ...]:
    """The reference compounds, normalised, each with eq. 1 fitted to it."""
    from tasks.xanes.references.normalisation import fit_reference, prepare

    return tuple(
        ReferenceSpectrum(one.name, one.energy_ev, one.absorption, fit_reference(one, absorber).parameters[:, 0])
        for one in prepare(options.references.xdi, absorber)
    )
