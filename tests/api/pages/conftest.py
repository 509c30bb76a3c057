"""A browser for the tests of the page."""

from collections.abc import Iterator

import pytest
from chromium import Play, open_browser, perform


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a browser's DevTools."""
    with open_browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


@pytest.fixture
def play(browser: str) -> Play:
    """Opens an address in a tab of its own and plays a scene there; the page must not complain."""
    return lambda url, scene: perform(browser, url, scene)
