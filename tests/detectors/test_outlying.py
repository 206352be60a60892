"""What is far off all others, found by one sort, is what looking at each without the others finds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.outlying import SPREADS, outlying


def one_by_one(y: NDArray[np.float64], least: float) -> dict[int, float]:
    found = {}
    for at in range(len(y)):
        others = np.delete(y, at)
        middle = float(np.median(others))
        spread = 1.4826 * float(np.median(np.abs(others - middle)))
        reach = max(float(others.max()) - middle, middle - float(others.min()))
        away = float(y[at]) - middle
        if abs(away) > max(least, SPREADS * spread, 2 * reach):
            found[at] = away
    return found


@pytest.mark.parametrize("values", [3, 4, 5, 8, 31])
def test_it_finds_what_the_definition_finds_to_the_last_bit(values: int) -> None:
    random, told = np.random.default_rng(values), 0
    for trial in range(1000):
        y = random.normal(0.0, 0.3, values)
        y[random.integers(values)] += random.choice([0.0, 1.0, -4.0, 6.0])
        if trial % 3 == 0:
            y = np.round(y)  # ties
        found = outlying(y, 2.0)
        assert found == one_by_one(y, 2.0)
        told += bool(found)
    assert 100 < told < 900


def test_normal_values_are_rarely_outliers_even_where_no_distance_is_too_small() -> None:
    random = np.random.default_rng(1)
    assert sum(bool(outlying(random.normal(size=16), 0.0)) for _ in range(5000)) < 15
    assert not any(outlying(random.normal(size=64), 0.0) for _ in range(5000))
