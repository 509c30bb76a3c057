"""Stacks that are split into one image an energy."""

from typing import Any

import numpy as np
import pytest

from storage.readers.fields import Fields
from storage.readers.images import DerivedImage, StackImage, split_stack

STACK = np.arange(3 * 4 * 5, dtype=float).reshape(3, 4, 5)
ENERGIES = np.array([700.0, 710.0, 720.0])


def split(stack: Any = STACK, energies: Any = ENERGIES, **more: Any) -> Any:
    return split_stack(Fields(lambda _: None), "file", "intensity", stack, energies, 8e-8, **more)


def test_every_energy_becomes_an_image_that_is_read_when_it_is_asked_for() -> None:
    sources = split(i0=np.array([10.0, 20.0, 30.0]))
    assert [(one.label, one.energy_ev, one.i0) for one in sources] == [
        ("file 1", 700.0, 10.0), ("file 2", 710.0, 20.0), ("file 3", 720.0, 30.0)
    ]  # fmt: skip
    np.testing.assert_array_equal(sources[1].image[()], STACK[1])
    assert sources[1].image.shape == (4, 5)


def test_an_image_alone_is_a_stack_of_one() -> None:
    (source,) = split(STACK[0], ENERGIES[:1])
    assert (source.label, source.energy_ev, source.faults) == ("file", 700.0, ())


@pytest.mark.parametrize(
    ("stack", "energies", "words"),
    [
        (np.moveaxis(STACK, 0, 2), ENERGIES, "axis 2 has as many: move it to the front"),
        (STACK, ENERGIES[:2], "3 images for 2 energies; energies come first"),
        (STACK[0, 0], ENERGIES, r"must be \(Y, X\)"),
        (np.zeros((0, 4, 5)), ENERGIES, r"must be \(Y, X\)"),
    ],
)
def test_a_stack_that_does_not_fit_its_energies_is_refused(stack: Any, energies: Any, words: str) -> None:
    (source,) = split(stack, energies)
    (fault,) = source.faults
    assert fault.field == "image"
    with pytest.raises(ValueError, match=words):
        raise ValueError(fault.message)


@pytest.mark.parametrize("i0", [np.array([1.0, 2.0]), np.array([1.0, 0.0, 2.0]), np.array([np.nan])])
def test_an_i0_that_cannot_be_is_refused(i0: Any) -> None:
    (source,) = split(i0=i0)
    assert [fault.field for fault in source.faults] == ["i0"]


class Attributed(np.ndarray[Any, Any]):
    """A stack with attributes, as HDF5 has them."""

    attrs: dict[str, Any]


def attributed(**attrs: Any) -> Any:
    stack = STACK.view(Attributed)
    stack.attrs = attrs
    return stack


def test_stated_errors_are_of_all_energies_or_of_each() -> None:
    sources = split(attributed(sigma_absorption=1e-3, sigma_phase=np.array([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal([source.errors for source in sources], [[1e-3, 1], [1e-3, 2], [1e-3, 3]])
    assert [source.errors for source in split()] == [None] * 3


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, "a", np.ones(2), 1j])
def test_an_error_that_cannot_be_is_refused(value: Any) -> None:
    (source,) = split(attributed(sigma_phase=value))
    assert [fault.field for fault in source.faults] == ["sigma_phase"]


def test_images_are_read_in_parts_too() -> None:
    np.testing.assert_array_equal(StackImage(STACK, 2)[1:3], STACK[2, 1:3])
    image = DerivedImage((4, 5), np.dtype(float), lambda: STACK[0])
    np.testing.assert_array_equal(image[()], STACK[0])
