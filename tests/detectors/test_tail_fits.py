"""Extreme-value fits against distributions whose tail is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import genpareto

from detectors.tail_fits import LEAST_CLUSTERS, Scores, cluster_peaks, fit

FLOOR = 4.0
RARE = 1e-7


def of(readings: list[int], scores: list[float]) -> Scores:
    return np.array(readings, np.int64), np.array(scores)


def sample(r: np.random.Generator, shape: float, clusters: int) -> Scores:
    """One run: peaks far enough apart, above FLOOR by a generalised Pareto of scale 1.5."""
    heights = genpareto.rvs(shape, FLOOR, 1.5, size=clusters, random_state=r)
    return np.arange(clusters) * 1000, np.asarray(heights, np.float64)


def true_level(shape: float, clusters: int, exposure: float) -> float:
    return float(genpareto.isf(RARE * exposure / clusters, shape, FLOOR, 1.5))


def levels(shape: float, clusters: int, times: int) -> NDArray[np.float64]:
    """The fitted level for RARE over the true one, for many samples."""
    exposure = clusters * 1e4
    found = []
    for seed in range(times):
        tail = fit([sample(np.random.default_rng(seed), shape, clusters)], exposure, FLOOR)
        assert tail is not None
        found.append(tail.level(RARE) / true_level(shape, clusters, exposure))
    return np.array(found)


def test_exceedances_close_together_are_one_cluster_and_its_highest_counts() -> None:
    scores = of([10, 11, 60, 111, 500], [5.0, 7.0, 6.0, 9.0, 5.5])
    np.testing.assert_array_equal(cluster_peaks(scores, 4.0), [7.0, 9.0, 5.5])
    np.testing.assert_array_equal(cluster_peaks(scores, 6.5), [7.0, 9.0])
    assert len(cluster_peaks(scores, 20.0)) == 0
    assert len(cluster_peaks(of([], []), 1.0)) == 0


@pytest.mark.parametrize(("shape", "sure"), [(0.0, 0.85), (0.1, 0.6)])
@pytest.mark.parametrize("clusters", [30, 150])
def test_the_level_is_an_upper_bound_that_is_not_far_off(shape: float, sure: float, clusters: int) -> None:
    found = levels(shape, clusters, 30)
    assert (found >= 1.0).mean() >= sure
    assert 1.0 <= np.median(found) <= 1.35


@pytest.mark.parametrize("clusters", [30, 150])
def test_a_much_heavier_tail_is_underrated_by_no_more_than_stated(clusters: int) -> None:
    assert 0.75 <= np.median(levels(0.25, clusters, 30)) <= 1.1


def test_more_data_bring_the_bound_closer() -> None:
    assert np.median(levels(0.0, 200, 20)) < np.median(levels(0.0, 10, 20))


def test_the_rate_of_exceedances_is_that_of_the_sample_at_the_threshold() -> None:
    tail = fit([sample(np.random.default_rng(1), 0.0, 150)], 1e6, FLOOR)
    assert tail is not None
    true = 150e-6 * float(genpareto.sf(tail.threshold, 0.0, FLOOR, 1.5))
    assert tail.rate == pytest.approx(true, rel=0.5)
    assert tail.level(tail.rate) == tail.threshold


def test_too_few_clusters_give_no_tail() -> None:
    assert fit([of([0], [9.0])], 1e6, FLOOR) is None
    assert fit([], 1e6, FLOOR) is None
    assert fit([sample(np.random.default_rng(1), 0.0, LEAST_CLUSTERS)], 1e6, FLOOR) is not None


def test_many_exceedances_are_thinned_by_a_higher_threshold() -> None:
    tail = fit([sample(np.random.default_rng(2), 0.0, 5000)], 1e8, FLOOR)
    assert tail is not None
    assert tail.threshold > FLOOR
    assert tail.clusters <= 50


def test_peaks_that_the_chart_cut_off_count_as_at_least_that() -> None:
    scores = sample(np.random.default_rng(3), 0.2, 150)
    readings, heights = scores
    cut = float(np.quantile(heights, 0.8))
    whole = fit([scores], 1e6, FLOOR)
    bounded = fit([(readings, np.minimum(heights, cut))], 1e6, FLOOR, cut)
    ignored = fit([(readings, np.minimum(heights, cut))], 1e6, FLOOR)
    assert whole is not None
    assert bounded is not None
    assert ignored is not None
    assert ignored.level(RARE) < whole.level(RARE)
    assert abs(math.log(bounded.level(RARE) / whole.level(RARE))) < 0.5


def test_one_long_excursion_is_no_tail() -> None:
    readings = np.arange(3000)
    assert fit([(readings, np.full(3000, 9.0) + readings % 7)], 1e6, FLOOR) is None
