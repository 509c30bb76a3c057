"""The documentation says what the code does."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

HOUSE = Path(__file__).resolve().parent.parent
PAGES = sorted((HOUSE / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_write", HOUSE / "docs" / "write.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["errors", "options", "settings"])
def test_written_pages_are_up_to_date(writer: ModuleType, page: str) -> None:
    text = getattr(writer, f"{page}_page")()
    assert (HOUSE / "docs" / f"{page}.md").read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("page", [HOUSE / "README.md", HOUSE / "CHANGELOG.md", *PAGES], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_figure_is_explained() -> None:
    named = set(re.findall(r'yield (?:\(\s*)?f?"([a-z-]+?)(?:-\{name\})?"', (HOUSE / "tasks/figures/gallery.py").read_text()))
    assert len(named) > 10
    explained = set(re.findall(r"^\| `([a-z-]+)", (HOUSE / "docs/figures.md").read_text(encoding="utf-8"), re.M))
    assert named == {name.removesuffix("-") for name in explained}


def test_claims_name_tests_that_exist() -> None:
    text = (HOUSE / "docs/claims.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:end_to_end/)?(test_\w+|bench_\w+)(?:\.py)?(?:::(test_\w+?)(_\.\.\.)?)?`", text)
    assert len(named) > 40
    files: dict[str, str] = {}
    for path in (HOUSE / "tests").rglob("*.py"):
        files[path.stem] = files.get(path.stem, "") + path.read_text(encoding="utf-8")
    assert sorted({module for module, *_ in named} - set(files)) == []
    starts = [(module, f"def {test}{'_' if cut else '('}") for module, test, cut in named if test]
    assert [start for start in starts if start[1] not in files[start[0]]] == []
