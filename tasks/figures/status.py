"""What became of every pixel's fit, so that no white pixel is without its reason."""

from typing import Final

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tasks.figures.panel import place_image, specimen_panels
from tasks.figures.study import Specimen, Study
from tasks.figures.style import MM_PER_INCH
from tasks.xanes.fit import Status

STATUS_COLOURS: Final[dict[Status, str]] = {
    Status.OK: "#DDDDDD",
    Status.AT_BOUND: "#56B4E9",
    Status.NOT_CONVERGED: "#D55E00",
    Status.MASKED_VACUUM: "#FFFFFF",
    Status.MASKED_JUMP: "#CC79A7",
    Status.MASKED_NOT_FINITE: "#000000",
}

ENTRY_MM: Final = 57.0
"""Width of the longest entry of the legend [mm]."""


def specimens_with_status(study: Study) -> list[Specimen]:
    """The specimens that have a map of statuses."""
    return [specimen for specimen in study.specimens if "status" in specimen.maps]


def status_maps(study: Study) -> Figure:
    """Status of every pixel of every specimen; the legend tells each status' share of the specimens' pixels."""
    specimens = specimens_with_status(study)
    figure, panels = specimen_panels(specimens)
    cmap = ListedColormap(list(STATUS_COLOURS.values()))
    norm = BoundaryNorm(np.arange(len(Status) + 1) - 0.5, len(Status))
    for axes, specimen in zip(panels, specimens, strict=True):
        place_image(axes, np.asarray(specimen.maps["status"]), specimen.pixel_size_m, cmap=cmap, norm=norm)
    ncols = min(3, int(figure.get_figwidth() * MM_PER_INCH / ENTRY_MM))
    figure.legend(handles=_legend(specimens), loc="outside lower center", ncols=ncols, handlelength=1)
    return figure


def _legend(specimens: list[Specimen]) -> list[Patch]:
    pixels = np.concatenate([np.asarray(specimen.maps["status"]).ravel() for specimen in specimens])
    inside = pixels[pixels != Status.MASKED_VACUUM]
    return [
        Patch(facecolor=colour, edgecolor="#999999", linewidth=0.4, label=f"{status_text(status)}, {share_text(share)}")
        for status, colour in STATUS_COLOURS.items()
        if status != Status.MASKED_VACUUM and (share := float(np.mean(inside == status)) if inside.size else 0.0) > 0
    ]


def share_text(share: float) -> str:
    """A share above zero in percent, never as zero."""
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def status_text(status: Status) -> str:
    """A status in words: ``not converged``, ``edge jump too small``."""
    return {Status.OK: "fitted", Status.AT_BOUND: "at a bound", Status.MASKED_JUMP: "edge jump too small"}.get(
        status, status.name.removeprefix("MASKED_").lower().replace("_", " ")
    )
