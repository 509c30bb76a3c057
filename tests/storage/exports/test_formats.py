"""The table of formats is what the documentation says."""

import re
from pathlib import Path

from storage.exports.formats import FORMATS

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"


def test_every_format_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)`", PAGE.read_text(), re.M) == list(FORMATS)
