"""Arrays kept in memory."""

import numpy as np

from service.results.cached_arrays import ArrayCache


def test_the_cache_keeps_what_was_used_last_and_no_more_bytes_than_allowed() -> None:
    cache, reads = ArrayCache(2 * 800), []

    def get(name: str) -> None:
        cache.get((name,), lambda: reads.append(name) or np.zeros(100))  # type: ignore[func-returns-value]

    for name in ("a", "b", "a", "c", "a", "b"):
        get(name)
    assert reads == ["a", "b", "c", "b"]
    assert cache.get(("large",), lambda: np.ones(1000)).sum() == 1000
