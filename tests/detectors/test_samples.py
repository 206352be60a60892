"""The test around a resume: its figures on losses that go on, and on those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.samples import Before, rise
from tests.detectors.series import ar


def losses(count: int, readings: int, echo: float, spread: float) -> NDArray[np.float64]:
    """log2 of simulated losses, float64 [readings, count]."""
    return np.asarray(ar(echo, spread)(np.random.default_rng(7), readings, count), np.float64)


def share_found(y: NDArray[np.float64], after: int, step: float) -> float:
    y = y.copy()
    y[32:] += step
    ratios = []
    for series in y.T:
        before = Before.of(series[:32])
        assert before is not None
        ratios.append(rise(before, series[32 : 32 + after]))
    return float(np.mean(np.array(ratios) >= 1))


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("echo", [0.0, 0.5])
@pytest.mark.parametrize("after", [4, 16])
def test_losses_that_go_on_are_told_from_others_less_than_once_in_a_thousand(
    after: int, echo: float, spread: float
) -> None:
    assert share_found(losses(3000, 48, echo, spread), after, 0.0) <= 1e-3


def test_a_rise_by_a_third_is_found_in_nearly_all() -> None:
    assert share_found(losses(300, 48, 0.0, 0.05), 8, 0.4) > 0.98


def test_what_an_earlier_pass_showed_at_these_steps_is_no_rise() -> None:
    y = losses(1, 48, 0.0, 0.02)[:, 0]
    before = Before.of(y[:32])
    assert before is not None
    assert rise(before, y[32:] + 0.5) > 1
    assert rise(before, y[32:] + 0.5, known=0.5 + before.level) < 1


def test_too_few_readings_say_nothing() -> None:
    assert Before.of(np.zeros(15)) is None
    assert rise(Before(0.0, 0.01, 0.0), np.ones(3)) == 0.0
