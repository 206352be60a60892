"""Jumps out of all there was of late, in series that vary tenfold, and what leaves no gap."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.gaps import EFFECT, gap
from tests.detectors.series import Floats


def rough(readings: int = 64, seed: int = 0, spread: float = 1.0) -> Floats:
    """Log2 of it varies by `spread`, a deviation."""
    return np.exp2(spread * np.random.default_rng(seed).standard_normal(readings)).astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("ago", [0, 9, 13])
def test_readings_that_are_all_far_above_those_before_are_a_gap(seed: int, ago: int) -> None:
    x = rough(seed=seed)
    high = slice(64 - ago - 3, 64 - ago)
    x[high] *= 200
    found = gap(x, 16, 3)
    assert found.by >= EFFECT
    assert found.readings == ago + 3
    assert found.value == pytest.approx(float(x[high].min()))
    assert found.before == pytest.approx(float(x[: 64 - ago - 3][-48:].max()))
    assert found.by == pytest.approx(np.log2(found.value / found.before))


def test_fewer_than_are_asked_for_or_that_were_seen_at_the_look_before_are_none() -> None:
    x = rough()
    x[-3:] *= 200
    assert gap(x, 16, 6).by < EFFECT
    x = rough()
    x[-24:-18] *= 200
    assert gap(x, 16, 3).by == 0


@pytest.mark.parametrize("rate", [0.05, 0.3, -0.3])
def test_a_drift_leaves_no_gap(rate: float) -> None:
    x = rough(spread=0.2) * np.exp2(rate * np.arange(64)).astype(np.float32)
    assert gap(x, 16, 3).by < EFFECT


def test_what_there_ever_was_may_count_as_the_largest_before() -> None:
    x = rough() * np.float32(1e-3)
    x[-3:] *= 200
    assert gap(x, 16, 3).by >= EFFECT
    assert gap(x, 16, 3, floor=1.0).by < EFFECT


def test_noise_alone_leaves_none() -> None:
    worst = max(gap(rough(seed=seed), 16, 3).by for seed in range(20_000))
    assert worst < EFFECT


def test_few_readings_or_none_say_nothing() -> None:
    x = rough(34)
    x[-3:] *= 200
    assert gap(x, 16, 3).by == 0
    assert gap(np.zeros(0, np.float32), 16, 3).by == 0
    assert gap(np.full(64, np.nan, np.float32), 16, 3).by == 0
