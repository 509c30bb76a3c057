"""Numbers of answers, some of which JSON has no word for."""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator


def finite_or_none(value: Any) -> Any:
    """``value`` with None for every number that JSON has no word for; None stays."""
    if isinstance(value, np.ndarray | list | tuple):
        return [finite_or_none(item) for item in value]
    return float(value) if value is not None and np.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(finite_or_none)]
Numbers = Annotated[list[float | None], BeforeValidator(finite_or_none)]
"""Numbers of an answer, null where they are not finite; from an array, too."""
