"""Steps that became slower for good, and those that were slow for a while."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.pace import LAST, level, slower


def seconds(spread: float, readings: int = 64, seed: int = 0) -> np.ndarray:
    """log2 of steps of 2 ms with log-normal noise and a stall now and then."""
    random = np.random.default_rng(seed)
    y = np.log2(0.002) + spread / np.log(2) * random.standard_normal(readings)
    return np.asarray(y + np.where(random.random(readings) < 0.01, 2.0, 0.0))


@pytest.mark.parametrize("times", [1.3, 2.0, 10.0])
def test_steps_that_take_a_third_more_for_32_readings_are_slower_however_short_they_are(times: float) -> None:
    y = seconds(0.04)
    usual = level(y[:LAST])
    y[-LAST:] += np.log2(times)
    assert slower(y, usual, 0.0) >= 1


def test_a_dozen_slow_steps_are_not() -> None:
    y = seconds(0.04)
    y[-16:-4] += 2.0
    assert slower(y, level(y[:LAST]), 0.0) < 1


def test_what_came_back_before_must_be_passed_by_half() -> None:
    y = seconds(0.04)
    usual = level(y[:LAST])
    y[-LAST:] += 0.5
    assert slower(y, usual, 0.0) >= 1
    assert slower(y, usual, 0.4) < 1


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.5])
def test_noise_alone_is_never_slower(spread: float) -> None:
    y = seconds(spread, 60_000, 3)
    usual = level(y[:1000])
    ratios = [slower(y[at : at + 64], usual, 0.0) for at in range(0, len(y) - 64, 16)]
    assert max(ratios) < 1
