"""Borders of domains are settled by their neighbours; what is wider than a pixel stays."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.domains.borders import settle_borders
from tasks.domains.clustering import Domains, find_domains, relabelled
from tasks.options.domains import DomainOptions

Grouped = tuple[Domains, list[NDArray[Any]], NDArray[np.int8], NDArray[np.int8]]


def group(image: NDArray[Any], mask: NDArray[np.bool_] | None = None, n_domains: int = 3) -> Grouped:
    """Domains of an image of one descriptor, and its labels as an image before and after."""
    mask = np.ones(image.shape, bool) if mask is None else mask
    options = DomainOptions(n_domains=n_domains, descriptors=("edge_energy",), replicates=0)
    values = [image[mask][None]]
    found = find_domains(values, [np.full((1, mask.sum()), 0.05)], [np.ones(mask.sum())], ["a"], options)
    images = []
    for labels in (found.labels, settle_borders(found, values, [mask])):
        images.append(np.zeros(image.shape, np.int8))
        images[-1][mask] = labels[0]
    return found, values, images[0], images[1]


def halves(blur: float) -> NDArray[np.float64]:
    """A domain of 1 beside one of 3, a column of mixed pixels between them, and a square of 2 elsewhere."""
    image = np.ones((24, 24))
    image[:, 12:] = 3.0
    image[:, 11] = blur
    image[4:8, 2:6] = 2.0
    return image


@pytest.mark.parametrize(("blur", "nearer"), [(1.8, 1), (2.2, 3)])
def test_a_mixed_line_goes_to_the_nearer_of_its_neighbours(blur: float, nearer: int) -> None:
    _, _, before, after = group(halves(blur))
    assert np.all(before[:, 11] == 2)
    assert np.all(after[:, 11] == nearer)


def test_a_domain_of_its_own_stays_to_its_corners() -> None:
    _, _, before, after = group(halves(1.8))
    square = np.zeros((24, 24), bool)
    square[4:8, 2:6] = True
    assert np.all(after[square] == 2)
    np.testing.assert_array_equal(np.delete(after, 11, axis=1), np.delete(before, 11, axis=1))


def test_two_pixels_are_wide_enough() -> None:
    image = halves(2.0)
    image[:, 10] = 2.0
    _, _, before, after = group(image)
    np.testing.assert_array_equal(after, before)


def test_no_domain_is_lost_and_what_is_outside_stays_there() -> None:
    image = np.ones((12, 12))
    image[:, 6:] = 3.0
    image[5, 2] = 2.0
    mask = np.ones(image.shape, bool)
    mask[:, :2] = False
    _, _, before, after = group(image, mask)
    assert before[5, 2] == after[5, 2] == 2
    assert np.all(after[:, :2] == 0)


def test_fractions_and_centres_follow_the_labels() -> None:
    found, values, _, after = group(halves(1.8))
    new = relabelled(found, [after.ravel()], values, [np.ones(after.size)], ["a"])
    np.testing.assert_allclose(new.fraction, [[np.mean(after == d) for d in (1, 2, 3)]])
    assert new.centres[1, 0] == pytest.approx(2.0)
    assert new.centres[0, 0] == pytest.approx(halves(1.8)[after == 1].mean())
