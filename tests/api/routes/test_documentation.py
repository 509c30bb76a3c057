"""The documentation as the service shows it: every page, every link, every picture."""

import re
from urllib.parse import urljoin

import httpx
import pytest

from api.pages.documentation import FOLDER, contents, page_names

PAGES = sorted(page_names())


def test_contents_and_the_way_there(client: httpx.Client) -> None:
    assert "/documentation" in re.findall(r'href="([^"]+)"', client.get("/").text)
    page = client.get("/documentation")
    links = re.findall(r'href="(/documentation/[^"]+)"', page.text)
    assert len(links) == sum(len(pages) for pages in contents().values()) > 20
    assert "Measurements" in page.text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_shown_and_its_links_lead_to_others(client: httpx.Client, name: str) -> None:
    address = f"/documentation/{name}.md"
    page = client.get(address)
    assert page.status_code == 200, name
    assert page.text.count("<h1") == 1
    text = page.text.partition('<main id="text"')[2]
    for link in re.findall(r'(?:href|src)="([^":#]+)', text):
        target = urljoin(address, link).removeprefix("/documentation/")
        assert target.removesuffix(".md") in page_names() or (FOLDER / target).is_file(), f"{name}: {link}"


def test_tables_code_and_pictures_are_shown(client: httpx.Client) -> None:
    text = client.get("/documentation/figures.md").text
    assert "<table>" in text
    picture = client.get("/documentation/figures/elbow.png")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert '<code class="language-python">' in client.get("/documentation/measurements.md").text


@pytest.mark.parametrize("name", ["nothing.md", "../README.md", "%2e%2e/pyproject.toml", "write.py", "figures/", "//etc/passwd"])
def test_nothing_else_is_shown(client: httpx.Client, name: str) -> None:
    assert client.get(f"/documentation/{name}").status_code == 404
