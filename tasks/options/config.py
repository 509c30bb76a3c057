"""What the options of all stages have in common: the rules by which they are read, and the limit of cycles."""

from typing import Final

from pydantic import ConfigDict

CONFIG: Final = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""Unknown names are refused, and every number is finite."""

MOST_CYCLES: Final = 100_000
"""Upper bound of every number of cycles."""
