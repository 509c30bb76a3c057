"""What tests read back from a drawn figure."""

from typing import Any

from matplotlib.figure import Figure


def panels(figure: Figure) -> list[Any]:
    """Axes of a figure, without matplotlib's types, which do not tell what their artists hold."""
    return list(figure.axes)
