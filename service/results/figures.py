"""Figures of a finished run, drawn from its published results when they are asked for: PDF, SVG, and PNG for dark pages.

The results hold all that the figures show, so nothing else of the run has to be there any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from service.errors import NotFoundError
from service.results.cached_arrays import CACHE, read_arrays
from service.stages.dataset_results import Array, DatasetResults
from service.stages.figures import study_of
from service.stages.results import RESOLUTION_NAMES
from service.workflow.inputs import RunInput
from storage.layout import COORDINATES
from storage.results import ResultsStore
from tasks.options.run import RunOptions
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, stated

if TYPE_CHECKING:
    from tasks.figures.gallery import Drawing
    from tasks.figures.study import Study

Form = Literal["pdf", "svg", "dark"]
"""What is drawn on request: PDF, SVG, or PNG for a dark page."""

MEDIA_TYPES: Final[Mapping[Form, str]] = {"pdf": "application/pdf", "svg": "image/svg+xml", "dark": "image/png"}
"""What a file of each form is to a browser."""
RUN_INPUT: Final = TypeAdapter(RunInput)


def draw_figure(store: ResultsStore, options: RunOptions, name: str, form: Form) -> bytes:
    """One figure of a run; it is kept in memory for the next who asks.

    Parameters
    ----------
    store : ResultsStore
        Sealed.
    options : RunOptions
        Of the run.
    name : str
        Name of the figure.
    form : "pdf", "svg" or "dark"
        Text of vectors is text, and their maps are embedded images.

    Raises
    ------
    NotFoundError
        The results suffice for no figure of that name.
    """
    from tasks.figures.gallery import figure_list

    def draw() -> Array:
        try:
            figures = figure_list(published_study(store, options))
        except (KeyError, ValidationError) as error:
            raise NotFoundError(f"the results, perhaps of an older version, lack what figures are drawn from: {error}") from error
        if name not in figures:
            raise NotFoundError(f"the results suffice for no figure {name!r}")
        return np.frombuffer(_drawn(figures[name], form), np.uint8)

    changed_ns = (store.path / "zarr.json").stat().st_mtime_ns
    return CACHE.get((store.path, changed_ns, name, form), draw).tobytes()


def _drawn(figure: Drawing, form: Form) -> bytes:
    return figure.draw_dark() if form == "dark" else figure.draw_vector(form)


def published_study(store: ResultsStore, options: RunOptions) -> Study:
    """What a run found, as its figures take it, from its results alone."""
    pooled, attributes = arrays_of(store, "domains"), {}
    if pooled:
        attributes = store.attributes("domains") | {"descriptors": texts(store, "domains", "descriptor")}
    described = store.attributes("")["datasets"]
    datasets = [read_dataset(store, RUN_INPUT.validate_python(one), options) for one in described]
    return study_of(datasets, pooled, attributes, options)


def read_dataset(store: ResultsStore, dataset: RunInput, options: RunOptions) -> DatasetResults:
    """What the results hold of one dataset that figures show."""
    spectra, maps, mixture, reconstruction, domains = (
        arrays_of(store, f"{dataset.id}/{group}") for group in ("spectra", "maps", "references", "reconstruction", "domains")
    )
    axes = arrays_of(store, f"{dataset.id}/spectra", coordinates=True)
    frequency = arrays_of(store, f"{dataset.id}/reconstruction", coordinates=True).get("frequency")
    resolution = {key: reconstruction.pop(name) for key, name in RESOLUTION_NAMES.items() if name in reconstruction}
    return DatasetResults(
        dataset=dataset,
        energy_ev=axes["energy"],
        y_m=axes["y"],
        x_m=axes["x"],
        spectra=spectra,
        probe=reconstruction.pop("probe", None),
        convergence=reconstruction,
        resolution=resolution if frequency is None else resolution | {"frequency_per_m": frequency},
        maps=maps,
        label=domains.get("label"),
        phase_energy_ev=phase_energy_ev(axes["energy"], maps, options),
        mixture=mixture,
        kk_slope=store.attributes(f"{dataset.id}/spectra").get("kk_slope"),
        noise=stated(store.attributes(f"{dataset.id}/maps")) if maps else INDEPENDENT,
    )


def arrays_of(store: ResultsStore, group: str, coordinates: bool = False) -> dict[str, Any]:
    """Arrays of numbers of a group, or its coordinates that are; none of a group that is not there."""
    names = {name for name in store.arrays(group) if (name in COORDINATES) is coordinates}
    return read_arrays(store, group, {name for name in names if store.array(group, name).dtype.kind in "biufc"})


def texts(store: ResultsStore, group: str, name: str) -> tuple[str, ...]:
    """A coordinate that is text."""
    return tuple(str(one) for one in store.read(group, name)[0])


def phase_energy_ev(energy_ev: Array, maps: Mapping[str, Array], options: RunOptions) -> float | None:
    """Energy at which the phase gave the electron density; None without such maps."""
    wanted = options.chemistry.phase_energy_ev
    if "n_electron" not in maps:
        return None
    return float(energy_ev[0 if wanted == "lowest" else int(np.argmin(np.abs(energy_ev - wanted)))])
