"""One array as a picture: read from a run's results, or from the last finished round of a run under way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInputError, NotFoundError, ResultsNotReadyError
from service.stages.reconstruct import ReconstructStep
from service.stages.scans import read_field_box
from service.workflow.graph import Graph
from storage.artifacts import ArtifactStore
from storage.errors import ArtifactMissingError
from storage.results import ResultsStore
from tasks.coupling.registration import Grid, common_grid
from tasks.figures.picture import render_image, render_pixels
from tasks.figures.quantities import quantity
from tasks.gauge import absorption_and_phase, field_of_view
from tasks.ptycho.scan import Canvas

PARTIAL: Final = ("absorption", "phase")
"""What can be looked at before a run has ended."""


@dataclass(frozen=True)
class Picture:
    """An image (Y, X) and what must be known to draw it."""

    variable: str
    values: NDArray[Any]
    pixel_size_m: float
    unit: str
    note: str = ""


def read_image(store: ResultsStore, dataset: str, variable: str, energy_ev: float | None) -> Picture:
    """An image of sealed results; of an array with energies the one nearest to ``energy_ev``, else the highest.

    Raises
    ------
    NotFoundError, InvalidInputError
    """
    group = store.group_of(dataset, variable)
    if group is None:
        raise NotFoundError(f"the results hold no image {variable!r} of {dataset}")
    dims = store.dims(group, variable)
    if dims[-2:] != ("y", "x"):
        raise InvalidInputError(f"{variable} is an array over {', '.join(dims)}, not an image")
    index: tuple[int, ...] = ()
    note = ""
    if dims[0] == "energy":
        energies_ev = store.read(group, "energy")[0]
        index = (nearest(energies_ev, energy_ev),)
        note = f" at {energies_ev[index[0]]:.1f} eV"
    values, attributes = store.read(group, variable, index)
    y_m = store.read(group, "y")[0]
    return Picture(variable, values, float(abs(y_m[1] - y_m[0])), str(attributes.get("units", "1")), note)


def read_partial_image(
    artifacts: ArtifactStore, graph: Graph, variable: str, energy_ev: float | None, *, is_cropped: bool = False
) -> Picture:
    """Absorption or phase of the last finished round of one energy.

    Parameters
    ----------
    is_cropped : bool
        Cut to the field that all finished energies share, whose rows and columns ``align.vacuum_box`` counts.

    Raises
    ------
    ResultsNotReadyError
        No energy has a finished round yet.
    """
    done = [step for step in graph.steps.values() if isinstance(step, ReconstructStep) and artifacts.has(step.key)]
    if not done:
        raise ResultsNotReadyError("no energy has been reconstructed yet")
    energies_ev = np.array([step.energy_ev for step in done])
    chosen = energies_ev[nearest(energies_ev, energy_ev)]
    step = [step for step in done if step.energy_ev == chosen][-1]
    try:
        state = artifacts.read(step.key, "object", "dose")
    except ArtifactMissingError as error:  # removed or found damaged since: it is computed again
        raise ResultsNotReadyError("the image is being computed again") from error
    absorption, phase = absorption_and_phase(state["object"], field_of_view(state["dose"]))
    if is_cropped:
        grid = shared_grid(artifacts, done)
        absorption, phase = (cropped(image, step.scan.canvas, grid) for image in (absorption, phase))
    values, shown_unit = (absorption, "1") if variable == "absorption" else (phase, "rad")
    note = f" at {chosen:.1f} eV, so far"
    return Picture(variable, values, step.scan.canvas.pixel_size_m, shown_unit, note)


def shared_grid(artifacts: ArtifactStore, steps: Sequence[ReconstructStep]) -> Grid:
    """The grid that all energies of a dataset are brought to, of those steps that are finished."""
    last = {step.energy_ev: step for step in steps}.values()
    boxes = [read_field_box(artifacts, step.key) for step in last]
    return common_grid([step.scan.canvas for step in last], boxes)


def cropped(image: NDArray[Any], canvas: Canvas, grid: Grid) -> NDArray[Any]:
    """The part of an image (Y, X) on its own canvas that the grid covers, to the nearest pixel."""
    rows, columns = (
        span(origin_m, along_m, canvas.pixel_size_m)
        for origin_m, along_m in zip(canvas.origin_m, (grid.y_m, grid.x_m), strict=True)
    )
    return image[rows, columns]


def span(origin_m: float, along_m: NDArray[np.float64], pixel_size_m: float) -> slice:
    """The pixels of an axis that begins at ``origin_m`` which ascending places [m] reach over."""
    first, last = (round((end_m - origin_m) / pixel_size_m) for end_m in (along_m[0], along_m[-1]))
    return slice(first, last + 1)


def nearest(energies_ev: NDArray[np.float64], energy_ev: float | None) -> int:
    """Index of the energy nearest to the one asked for; the highest where none was."""
    target = energies_ev.max() if energy_ev is None else energy_ev
    return int(np.argmin(np.abs(energies_ev - target)))


def draw(picture: Picture, *, cmap: str | None, vmin: float | None, vmax: float | None, width: int, plain: bool = False) -> bytes:
    """PNG of an image, in the colours of its quantity where none are asked for; ``plain`` draws its pixels alone."""
    default = "domains" if picture.variable == "label" else quantity(picture.variable).cmap
    unit = "" if picture.unit == "1" else f" [{picture.unit}]"
    label = f"{picture.variable.replace('_', ' ')}{picture.note}{unit}"
    if plain:
        return render_pixels(picture.values, cmap=cmap or default, vmin=vmin, vmax=vmax, label=label)
    return render_image(
        picture.values, picture.pixel_size_m, cmap=cmap or default, vmin=vmin, vmax=vmax, width=width, label=label
    )
