"""An open catalogue, in SQLite and in PostgreSQL."""

import threading
from collections.abc import Callable, Iterator

import pytest

from storage.catalogue.catalogue import Catalogue


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    catalogue = Catalogue(url)
    yield catalogue
    catalogue.close()


@pytest.fixture
def in_threads() -> Callable[[int, Callable[[int], object]], None]:
    """Calls a function in threads, with the number of each, and waits for all of them."""

    def run(n: int, work: Callable[[int], object]) -> None:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run
