"""Mean spectra and histograms of domains, against what was put in."""

import numpy as np
import pytest

from tasks.domains.profile import densities, mean_spectra


def test_mean_spectra_are_pooled_over_datasets_by_pixel() -> None:
    labels = [np.array([1, 1, 2, 0], np.int8), np.array([1, 3], np.int8)]
    absorption = [np.array([[1.0, 3.0, 10.0, 99.0]] * 2, np.float32), np.array([[5.0, 7.0]] * 2, np.float32)]
    found = mean_spectra(labels, absorption, 4)
    assert found[:3, 0] == pytest.approx([3.0, 10.0, 7.0])
    assert np.all(np.isnan(found[3]))
    assert found.shape == (4, 2)


def test_histograms_share_a_range_and_sum_to_the_share_inside_it() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(np.array([1, 2, 0], np.int8), 5000)
    values = np.stack([np.where(label == 2, 10.0, 0.0) + rng.normal(0, 1, 15000)])
    values[0, label == 0] = np.nan
    found = densities([label], [values], 2)
    assert found.share.shape == (1, 2, 60)
    assert np.all((found.share.sum(axis=2) > 0.98) & (found.share.sum(axis=2) <= 1.0))
    means = (found.share * found.bin_centre[:, None]).sum(axis=2) / found.share.sum(axis=2)
    assert means[0] == pytest.approx([0.0, 10.0], abs=0.1)


def test_a_descriptor_without_spread_is_no_error() -> None:
    found = densities([np.array([1, 1], np.int8)], [np.full((1, 2), 3.0)], 1)
    assert found.share.sum() == 1.0
