"""The rules on structure, style and types of this project."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "service", "storage", "tasks")
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_ENTRIES = 16
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def run_tool(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def test_types_are_strict() -> None:
    run_tool(sys.executable, "-m", "mypy")


def test_style() -> None:
    run_tool(sys.executable, "-m", "ruff", "check", *PACKAGES, "tests", "docs")


def test_packages_import_in_one_direction() -> None:
    run_tool(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*PACKAGES)}
    assert lengths, "no modules found"
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


def test_folders_have_few_entries() -> None:
    entries: dict[str, set[str]] = {}
    for path in modules(*PACKAGES):
        for inner in (path, *path.parents[: len(path.relative_to(ROOT).parts) - 2]):
            if inner.name != "__init__.py":
                entries.setdefault(name_of(inner.parent), set()).add(inner.name)
    assert {folder: sorted(names) for folder, names in entries.items() if len(names) > MAX_ENTRIES} == {}, (
        f"at most {MAX_ENTRIES} modules and folders in one: use a module that is there, or divide the folder by subject"
    )


def test_functions_are_short() -> None:
    too_long = {}
    for path in modules(*PACKAGES, "tests"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if n_lines > MAX_FUNCTION_LINES:
                    too_long[f"{name_of(path)}:{node.name}"] = n_lines
    assert too_long == {}


def test_module_names_say_what_is_inside() -> None:
    assert [name_of(path) for path in modules(*PACKAGES) if path.stem in FORBIDDEN_NAMES] == []


def test_every_module_has_a_docstring() -> None:
    assert [name_of(path) for path in modules(*PACKAGES) if not ast.get_docstring(tree_of(path))] == []


def test_package_inits_hold_a_docstring_only() -> None:
    inits = [path for path in modules(*PACKAGES) if path.name == "__init__.py"]
    assert [name_of(path) for path in inits if len(tree_of(path).body) != 1] == []


def test_tests_are_not_a_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_tests_mirror_the_packages() -> None:
    strays = []
    for package in PACKAGES:
        for path in sorted((ROOT / "tests" / package).rglob("test_*.py")):
            mirrored = ROOT / path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
            # a module with many tests may have them in several files: test_engine_adjoint.py tests engine.py
            candidates = [p.stem for p in mirrored.parent.glob("*.py")] + [p.name for p in mirrored.parent.glob("*/")]
            if not any(mirrored.stem == name or mirrored.stem.startswith(f"{name}_") for name in candidates):
                strays.append(name_of(path))
    assert strays == []


def test_nothing_imports_pyplot() -> None:
    users = []
    for path in modules(*PACKAGES):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                imported = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            users += [name_of(path) for name in imported if name.startswith("matplotlib.pyplot")]
    assert users == []


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("error")
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(*sorted({name for name in sys.argv[2:] if name in sys.modules}))
bridge = sys.modules.get("jax._src.xla_bridge")
print("accelerator" if bridge is not None and bridge.backends_are_initialized() else "")
"""


@pytest.mark.parametrize("package", ["tasks", "storage"])
def test_importing_tasks_and_storage_loads_no_server_and_no_cluster(package: str) -> None:
    forbidden = ["distributed", "dask.distributed", "fastapi", "starlette", "matplotlib.pyplot"]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING, package, *forbidden],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
