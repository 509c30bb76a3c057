"""Every figure a study suffices for."""

from dataclasses import dataclass

from tasks.figures.study import Study


@dataclass(frozen=True)
class Drawing:
    """One finished figure."""

    title: str
    caption: str
    png: bytes
    dataset: str | None = None
    """Name of the specimen it shows; None for a figure of the whole study."""


def figure_list(study: Study) -> dict[str, Drawing]:
    """Draw every figure there are arrays for, in the order in which a reader wants them.

    Returns
    -------
    dict of Drawing
        By name, fit for a file name: ``state-maps``, ``images-<dataset>``.
    """
    return {}
