"""Numbers as a page says them."""

import pytest

from api.pages.filters import bytes_in_words, energies_in_words, seconds_in_words


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123e6, "123 MB"), (4.2e12, "4.2 TB")]
)
def test_bytes(n_bytes: float, words: str) -> None:
    assert bytes_in_words(n_bytes) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (95, "1 min 35 s"), (3720, "1 h 2 min")])
def test_seconds(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_energies() -> None:
    assert energies_in_words([]) == "no energies yet"
    assert energies_in_words([5420.0]) == "1 energy, 5420.0 eV"
    assert energies_in_words([5420.0, 5465.5, 5540.0]) == "3 energies, 5420.0–5540.0 eV"
