"""Which pages the service lists."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from api.pages.documentation import SOURCE, contents, html_of, page_names

FOR_DEVELOPERS = {"architecture"}


def test_every_page_for_users_is_in_a_chapter() -> None:
    listed = [name for pages in contents().values() for name in pages]
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.stem for path in SOURCE.glob("*.md")} - FOR_DEVELOPERS


def test_links_out_of_the_documentation_are_text() -> None:
    for name in page_names():
        assert 'href="../' not in html_of(name) or name.startswith("decisions/"), name


def test_an_installed_service_starts_and_has_all_pages(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=SOURCE.parent, capture_output=True, text=True, check=True
    )
    installed = tmp_path / "installed"
    zipfile.ZipFile(tmp_path / built.stdout.split()[-1]).extractall(installed)
    show = "import api.app; from api.pages import documentation as here; print(here.__file__, *sorted(here.page_names()))"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", show], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    module, *names = done.stdout.split()
    assert Path(module).is_relative_to(installed)
    assert set(names) == page_names()
