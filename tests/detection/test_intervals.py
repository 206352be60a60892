"""Intervals against published values, and bootstrap ones against what is known of a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.detection import intervals


def test_clopper_and_pearsons_interval_is_the_published_one() -> None:
    assert intervals.share(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert intervals.share(0, 30) == pytest.approx((0.0, 0.1157), abs=1e-4)
    assert intervals.share(30, 30) == pytest.approx((0.8843, 1.0), abs=1e-4)


def test_nothing_counted_says_nothing() -> None:
    assert intervals.share(0, 0) == (0.0, 1.0)
    assert intervals.rate(0, 0) == (0.0, math.inf)


def test_the_exact_poisson_interval_is_the_published_one_and_zero_seen_has_a_bound() -> None:
    assert intervals.rate(10, 1) == pytest.approx((4.7954, 18.3904), abs=1e-3)
    assert 10_000 * intervals.rate(0, 155_000)[1] == pytest.approx(0.238, abs=1e-3)


def test_a_one_sided_bound_of_zero_seen_is_the_rule_of_three() -> None:
    assert intervals.rate(0, 155_000, level=0.9)[1] == pytest.approx(3 / 155_000, rel=0.01)


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(3).normal(5, 1, 400).tolist()
    drawn = intervals.bootstrap(values, lambda sample: float(np.mean(sample)))
    assert drawn is not None
    assert drawn[1] - drawn[0] == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert drawn == intervals.bootstrap(values, lambda sample: float(np.mean(sample)))


def test_one_group_alone_has_no_interval() -> None:
    assert intervals.bootstrap([1.0], lambda sample: sum(sample)) is None
