"""Hooks of the documentation site: README, CONTRIBUTING and CHANGELOG, which lie outside ``docs/``, become pages of it."""

import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Page of the site by file of the repository."""


def site_links(text: str) -> str:
    """Markdown whose links, written for the repository's root, lead to pages of the site."""

    def replace(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        return f"]({PAGES.get(target, target.removeprefix('docs/'))}{anchor})"

    return re.sub(r"\]\(([^)#:]+)(#[^)]*)?\)", replace, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside ``docs/``; MkDocs calls this hook once its own files are collected."""
    for source, page in PAGES.items():
        content = site_links((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=content))
    return files
