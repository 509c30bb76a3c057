"""Numbers and options as a page says them."""

from typing import Any

import pytest

from api.pages.filters import (
    bytes_in_words,
    chosen_options,
    energies_in_words,
    labels_in_words,
    optics_in_words,
    orientation_in_words,
    seconds_in_words,
)
from tasks.options.run import OPTIONS


@pytest.mark.parametrize(
    ("n_bytes", "words"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (123e6, "123 MB"), (4.2e12, "4.2 TB")]
)
def test_bytes(n_bytes: float, words: str) -> None:
    assert bytes_in_words(n_bytes) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (95, "1 min 35 s"), (3720, "1 h 2 min")])
def test_seconds(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_optics_and_orientation() -> None:
    assert optics_in_words({"kind": "kb", "fwhm_m": 2e-7, "defocus_m": 2e-4}) == "KB mirrors, 200 nm, 200 µm from the focus"
    assert [orientation_in_words(one) for one in (0, 3, 4, 6, "auto")] == [
        "as in the files", "rows and columns flipped", "transposed", "columns flipped, then transposed",
        "found at the lowest energy of each run",
    ]  # fmt: skip


def test_energies() -> None:
    assert energies_in_words([]) == "no energies yet"
    assert energies_in_words([5420.0]) == "1 energy, 5420.0 eV"
    assert energies_in_words([5420.0, 5465.5, 5540.0]) == "3 energies, 5420.0–5540.0 eV"


def given(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = OPTIONS.dump_python(OPTIONS.validate_python(options), mode="json")
    return found


def test_options_are_told_where_they_differ_from_their_presets() -> None:
    assert chosen_options(given()) == {}
    chosen = chosen_options(given(domains={"n_domains": 4}, kkr={"mode": "off"}, chemistry={"compounds": ["VO2", "V2O5"]}))
    assert chosen == {"domains.n_domains": "4", "kkr.mode": "off", "chemistry.compounds": '["VO2", "V2O5"]'}
    assert chosen_options(given(preset="paper")) == {"preset": "paper"}
    assert chosen_options(given(preset="paper", domains={"n_domains": 4})) == {"preset": "paper", "domains.n_domains": "4"}


def test_a_long_value_is_cut() -> None:
    (told,) = chosen_options({"references": {"xdi": ["# XDI/1.0 " + "x" * 500]}}).values()
    assert told.endswith("x…")
    assert len(told) == 80


def test_labels_are_those_that_people_gave() -> None:
    assert labels_in_words(["cathode", "described:0123456789abcdef", "follow:0123456789abcdef", "I08"]) == "cathode, I08"
    assert not labels_in_words(["described:0123456789abcdef"])
