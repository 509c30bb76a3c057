"""The templates of all pages, and how they say numbers and options."""

from pathlib import Path
from typing import Final

from fastapi.templating import Jinja2Templates

from api.pages.filters import (
    bytes_in_words,
    chosen_options,
    energies_in_words,
    labels_in_words,
    optics_in_words,
    orientation_in_words,
    seconds_in_words,
)

TEMPLATES: Final = Jinja2Templates(directory=Path(__file__).parent / "templates")
TEMPLATES.env.filters |= {
    "size": bytes_in_words, "duration": seconds_in_words, "energies": energies_in_words, "chosen": chosen_options,
    "optics": optics_in_words, "orientation": orientation_in_words, "labels": labels_in_words,
}  # fmt: skip
TEMPLATES.env.trim_blocks = TEMPLATES.env.lstrip_blocks = True
