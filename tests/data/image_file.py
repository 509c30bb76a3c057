"""The Dockerfile, read instruction by instruction."""

import re
from pathlib import Path
from typing import Final

DOCKERFILE: Final = Path(__file__).resolve().parents[2] / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Instructions with their arguments, in order, without comments and continued lines."""
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    lines = [re.sub(r"\s+", " ", line.strip()) for line in text.splitlines() if line.strip()]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]
