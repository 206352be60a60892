"""The compact memory of the last steps is the list that it stands for."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from anomaly.monitor.recent import LEAST_PACKED, RECENT_STEPS, Recent
from anomaly.records import MAX_STEP, MILLIONTHS

FURTHEST = MAX_STEP * MILLIONTHS


@pytest.mark.parametrize("length", [0, 1, RECENT_STEPS, RECENT_STEPS + 33, 1000])
def test_it_remembers_the_newest_steps_of_any_size_in_order(length: int) -> None:
    random = np.random.default_rng(length)
    steps = [int(step) for step in random.integers(-FURTHEST, FURTHEST, length)] + [-FURTHEST, FURTHEST]
    packed = [max(step * 2 + int(random.integers(2)), LEAST_PACKED) for step in steps]
    recent, expected = Recent(), deque[int](maxlen=RECENT_STEPS)
    for each in packed:
        recent.append(each)
        expected.append(each)
        assert len(recent) == len(expected)
    assert list(recent) == list(Recent(expected)) == list(expected)
    assert list(recent.newest_first()) == list(reversed(expected))
    for readings in (1, 2, 100, 10_000):
        assert recent.ago(readings) == expected[max(0, len(expected) - readings)] >> 1
    recent.clear()
    assert not recent
