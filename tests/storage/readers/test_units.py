import contextlib
import io
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.readers.units import COUNTS, ENERGIES_EV, JOULE_EV, LENGTHS_M, MAX_QUOTED, PIXELS, UnitError, factor_of, unit_of


@pytest.mark.parametrize(
    ("unit", "metres"),
    [
        ("", 1), ("m", 1), ("metre", 1), ("Meters", 1), ("cm", 1e-2), ("mm", 1e-3), ("MM", 1e-3), ("millimetres", 1e-3),
        ("um", 1e-6), ("µm", 1e-6), ("μm", 1e-6), ("micron", 1e-6), (" Microns ", 1e-6), ("micrometer", 1e-6), ("nm", 1e-9),
        ("pm", 1e-12), ("Å", 1e-10), ("\u212b", 1e-10), ("angstrom", 1e-10), ("km", 1e3), ("[mm]", 1e-3), ("1e-6 m", 1e-6),
        ("10^-6 m", 1e-6), ("1e-06", 1e-6), ("10**-3 m", 1e-3), ("x10^-6 m", 1e-6), ("(um)", 1e-6),
    ],
)  # fmt: skip
def test_lengths(unit: str, metres: float) -> None:
    assert factor_of(unit, LENGTHS_M, "length") == pytest.approx(metres, rel=1e-12)


@pytest.mark.parametrize(
    ("unit", "electronvolts"),
    [
        ("eV", 1), ("ev", 1), ("keV", 1e3), ("KeV", 1e3), ("kev", 1e3), ("MeV", 1e6), ("meV", 1e-3), ("GeV", 1e9),
        ("J", 1 / JOULE_EV), ("joule", 1 / JOULE_EV), ("fJ", 1e-15 / JOULE_EV), ("electron volt", 1), ("kiloelectronvolt", 1e3),
    ],
)  # fmt: skip
def test_energies(unit: str, electronvolts: float) -> None:
    assert factor_of(unit, ENERGIES_EV, "energy") == pytest.approx(electronvolts, rel=1e-12)


@pytest.mark.parametrize("unit", ["furlong", "eV", "mV", "s", "um/s", "mm, um", "10 furlongs", "deg", "m m", "inch", "2", "nan"])
def test_other_units_are_no_lengths_and_the_message_says_which_are(unit: str) -> None:
    with pytest.raises(UnitError, match="is no unit of length; write m, mm, um, nm"):
        factor_of(unit, LENGTHS_M, "length")


@pytest.mark.parametrize("unit", ["mev", "K", "Å", "count"])
def test_other_and_ambiguous_units_are_no_energies(unit: str) -> None:
    with pytest.raises(UnitError, match="is no unit of energy; write eV, keV, J"):
        factor_of(unit, ENERGIES_EV, "energy")


@pytest.mark.parametrize("unit", ["pixel", "Pixels", "px", "1", ""])
def test_pixels(unit: str) -> None:
    assert factor_of(unit, PIXELS, "pixel") == 1


@pytest.mark.parametrize(("unit", "known"), [("counts", True), ("Photons", True), ("1", True), ("ADU", False), ("eV", False)])
def test_counts(unit: str, known: bool) -> None:
    if known:
        assert factor_of(unit, COUNTS, "count") == 1
    else:
        with pytest.raises(UnitError, match="is no unit of count"):
            factor_of(unit, COUNTS, "count")


def test_a_long_unit_is_not_repeated_whole() -> None:
    with pytest.raises(UnitError) as raised:
        factor_of("x" * 60_000, LENGTHS_M, "length")
    assert len(str(raised.value)) < MAX_QUOTED + 60


@given(st.text(max_size=50))
def test_any_text_is_a_factor_or_a_unit_error(unit: str) -> None:
    for known in (LENGTHS_M, ENERGIES_EV, PIXELS, COUNTS):
        with contextlib.suppress(UnitError):
            assert factor_of(unit, known, "length") > 0


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("um", "um"),
        (b"um", "um"),
        (np.bytes_(b"\xb5m"), "µm"),
        (np.array(["um"], h5py.string_dtype()), "um"),
        (np.array([b"mm", b"mm"]), "mm"),
        (np.array([b"mm", b"um"]), "mm, um"),
        (h5py.Empty("S1"), ""),
        ("", ""),
        ("  m\n", "m"),
        (np.bytes_(b"m\0\0"), "m"),
        (5.0, "5"),
        (np.array([], "S2"), ""),
        ("µm", "µm"),
        (1e-6, "1e-06"),
        (np.int64(1), "1"),
        (np.array([1e-3, 1e-3]), "0.001"),
    ],
)
def test_units_are_read_however_they_are_stored(stored: Any, text: str) -> None:
    with h5py.File(io.BytesIO(), "w") as file:
        file["a"] = 1.0
        file["a"].attrs["units"] = stored
        assert unit_of(file["a"]) == text


def test_variable_length_latin_1_is_read_and_what_is_missing_is_empty() -> None:
    with h5py.File(io.BytesIO(), "w") as file:
        file["a"], file["b"] = 1.0, 2.0
        file["a"].attrs.create("units", b"\xb5m", dtype=h5py.string_dtype("utf-8"))
        file["b"].attrs["unit"] = "mm"
        assert (unit_of(file["a"]), unit_of(file["b"])) == ("µm", "mm")
    assert unit_of(None) == unit_of(np.zeros(3)) == ""
