"""The documentation agrees with the code: written pages, links, figures and the tests that claims name."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_write", ROOT / "docs" / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["errors", "options", "settings"])
def test_written_pages_are_up_to_date(writer: ModuleType, page: str) -> None:
    text = getattr(writer, f"{page}_page")()
    assert (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_figure_is_explained() -> None:
    named = set(re.findall(r'yield (?:\(\s*)?f?"([a-z-]+?)(?:-\{name\})?"', (ROOT / "tasks/figures/gallery.py").read_text()))
    assert len(named) > 10
    explained = set(re.findall(r"^\| `([a-z-]+)", (ROOT / "docs/figures.md").read_text(encoding="utf-8"), re.M))
    assert named == {name.removesuffix("-") for name in explained}


def test_claims_name_tests_that_exist() -> None:
    text = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:end_to_end/)?(test_\w+|bench_\w+)(?:\.py)?(?:::(test_\w+?)(_\.\.\.)?)?`", text)
    assert len(named) > 40
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        files[path.stem] = files.get(path.stem, "") + path.read_text(encoding="utf-8")
    assert sorted({module for module, *_ in named} - set(files)) == []
    starts = [(module, f"def {test}{'_' if cut else '('}") for module, test, cut in named if test]
    assert [start for start in starts if start[1] not in files[start[0]]] == []
