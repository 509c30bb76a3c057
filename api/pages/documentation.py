"""The documentation as pages of the service, for networks from which no other site is reached; each file is read once."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from markdown import Markdown

INSTALLED: Final = Path(__file__).parent / "docs"
"""Where an installed package has ``docs/``."""
SOURCE: Final = Path(__file__).parents[2] / "docs"
FOLDER: Final = INSTALLED if INSTALLED.is_dir() else SOURCE
EXTENSIONS: Final = ("tables", "fenced_code", "toc")

CHAPTERS: Final = {
    "Files": ("measurements", "images", "results", "exports"),
    "Method": ("conventions", "reconstruction", "kkr", "prior", "joint-fit", "compounds", "plan", "figures"),
    "Reference": ("options", "commands", "settings", "http", "errors"),
    "Operation": ("troubleshooting", "deploy"),
    "Evidence": ("performance", "claims"),
}
"""Pages by chapter, in the order in which they are listed."""


@cache
def page_names() -> frozenset[str]:
    """Names of all pages that there are, decisions among them, without their endings."""
    return frozenset(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.md"))


@cache
def contents() -> Mapping[str, Mapping[str, str]]:
    """Title of every page by its name, by chapter; pages that are not there are left out."""
    there = page_names()
    return {chapter: {name: title(name) for name in names if name in there} for chapter, names in CHAPTERS.items()}


@cache
def title(name: str) -> str:
    """First heading of a page."""
    found = re.search(r"^# (.+)$", text_of(name), re.M)
    return found[1] if found else name


@cache
def html_of(name: str) -> str:
    """A page as HTML; links to files outside of the documentation are text."""
    names = page_names()

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2].partition("#")[0]
        place = (FOLDER / name).parent / target
        inside = place.resolve().is_relative_to(FOLDER.resolve()) if target else True
        known = inside and (not target or place.with_suffix("").resolve().relative_to(FOLDER.resolve()).as_posix() in names)
        return match[0] if known or ":" in target else words

    text = re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, text_of(name))
    return str(Markdown(extensions=list(EXTENSIONS)).convert(text))


def text_of(name: str) -> str:
    """A page as it was written."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
