"""The documentation agrees with the code: generated files, links, figures, and the files and tests that pages name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.diagram import architecture_svg
from docs.write import DOCS, GENERATED
from service.uploads.formats import IMAGE_FORMATS, SCAN_FORMATS

ROOT = DOCS.parent
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *DECISIONS]
WRITTEN_BY_HAND = [page for page in PAGES if page.name not in GENERATED]
PACKAGES = ("api", "service", "tasks", "storage")
DOTTED_NAME = rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_up_to_date(name: str) -> None:
    assert text_of(DOCS / name) == GENERATED[name](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text_of(page))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", WRITTEN_BY_HAND, ids=name_of)
def test_named_files_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![/\w.])(?:api|service|tasks|storage|tests|docs|deploy)/[\w/-]+(?:\.\w+|/)", text_of(page)))
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*.html")}
    assert {"index.html", "contributing.html", "options.html", "decisions/index.html"} <= pages
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))', text_of(tmp_path / "site" / "index.html"))
    assert loaded == [], "the site loads nothing from other sites"


def test_every_decision_is_listed_once() -> None:
    listed = re.findall(r"^- \[.+\]\((.+\.md)\)$", text_of(DOCS / "decisions" / "index.md"), re.M)
    assert sorted(listed) == sorted(page.name for page in DECISIONS if page.name != "index.md")


def test_the_diagram_has_every_layer_of_the_contracts() -> None:
    pyproject = """
    [[tool.importlinter.contracts]]
    type = "layers"
    layers = ["api", "tasks | storage"]
    [[tool.importlinter.contracts]]
    type = "layers"
    containers = ["tasks"]
    layers = ["figures", "ptycho | (xanes)", "units : errors"]
    [[tool.importlinter.contracts]]
    type = "layers"
    layers = ["tasks.ptycho.engine", "tasks.ptycho.cycle"]
    """
    drawn = re.findall(r'<text(?! class="s")[^>]*>([^<]+)</text>', architecture_svg(pyproject))
    assert drawn == ["api/", "tasks/", "figures", "ptycho", "xanes", "units", "errors", "storage/"]


def test_every_figure_is_explained() -> None:
    named = set(re.findall(r'yield (?:\(\s*)?f?"([a-z-]+?)(?:-\{name\})?"', (ROOT / "tasks/figures/gallery.py").read_text()))
    assert len(named) > 10
    explained = set(re.findall(r"^\| `([a-z-]+)", text_of(DOCS / "figures.md"), re.M))
    assert named == {name.removesuffix("-") for name in explained}, (
        "one row of the table of docs/figures.md a figure of the gallery"
    )


def test_claims_and_decisions_name_tests_that_exist() -> None:
    claims = r"`(?:end_to_end/)?(test_\w+|bench_\w+)(?:\.py)?(?:::(test_\w+?)(_\.\.\.)?)?`"
    named = [found for page in (DOCS / "claims.md", *DECISIONS) for found in re.findall(claims, text_of(page))]
    assert len(named) > 40
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        files[path.stem] = files.get(path.stem, "") + text_of(path)
    assert sorted({module for module, *_ in named} - set(files)) == []
    starts = [(module, f"def {test}{'_' if cut else '('}") for module, test, cut in named if test]
    assert [start for start in starts if start[1] not in files[start[0]]] == []


@pytest.mark.parametrize(("page", "formats"), [("measurements.md", SCAN_FORMATS), ("images.md", IMAGE_FORMATS)])
def test_every_format_is_a_row_of_its_table(page: str, formats: tuple[str, ...]) -> None:
    table = text_of(DOCS / page).partition("| format |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table.partition("|---")[2], re.M)
    assert set(rows) == set(formats), f"the first column of the first table of docs/{page} must be the names in READERS"
    assert len(rows) == len(formats)


def test_dotted_names_exist() -> None:
    """Names such as `tasks.gauge.field_box` in docstrings, comments and pages written by hand."""
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    named = {name for page in (*sources, *WRITTEN_BY_HAND) for name in re.findall(DOTTED_NAME, text_of(page))}
    assert len(named) > 40
    assert sorted(name for name in named if not is_there(name)) == []


def is_there(name: str) -> bool:
    """Whether a dotted name leads to a package or module, and what follows is defined there."""
    parts = name.split(".")
    n_folders = next((n for n, _ in enumerate(parts) if not ROOT.joinpath(*parts[: n + 1]).is_dir()), len(parts))
    folder, rest = ROOT.joinpath(*parts[:n_folders]), parts[n_folders:]
    if not rest:
        return True
    module = folder / f"{rest[0]}.py"
    if not module.is_file():
        return False
    text = text_of(module)
    return all(re.search(rf"(?:def|class) {part}\b|\b{part}\b *(?::|=)", text) for part in rest[1:])
