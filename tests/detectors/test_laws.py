"""What holds for every detector, tested once for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detectors.series import BLANK, Floats, ar, linear
from tests.detectors.subjects import SERIES, SUBJECTS, Detector, Subject

STEPS = 400
every = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)


def readings(seed: int, steps: int = STEPS) -> Floats:
    """Correlated noise with faults in some series: a jump, a climb, zeros, and the same value again and again."""
    y = ar(0.5, 0.3)(np.random.default_rng(seed), steps, SERIES)
    y[steps // 2 :, 1] += 5.0
    y[:, 2] += np.linspace(0.0, 3.0, steps)
    x = linear(y)
    x[steps // 3 : steps // 3 + 9, 3] = 0.0
    x[steps // 2 : steps // 2 + 9, 4] = x[0, 4]
    return x


def judged(detector: Detector, x: Floats) -> Floats:
    return np.stack([np.asarray(detector.judge(row), np.float32) for row in x])


@every
def test_a_restored_detector_continues_as_if_never_stopped(subject: Subject) -> None:
    x = readings(1)
    whole = subject.make()
    expected = judged(whole, x)
    first = subject.make()
    before = judged(first, x[:137])
    second = subject.load(first.dump())
    after = judged(second, x[137:])
    np.testing.assert_array_equal(np.concatenate([before, after]), expected)
    assert second.dump() == whole.dump()


@every
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 119), max_size=5))
def test_cutting_the_log_anywhere_changes_no_bit(subject: Subject, cuts: list[int]) -> None:
    x = readings(2, 120)
    whole = subject.make()
    judged(whole, x)
    detector = subject.make()
    for t, row in enumerate(x):
        if t in cuts:
            detector = subject.load(detector.dump())
        detector.judge(row)
    assert detector.dump() == whole.dump()


@every
def test_series_do_not_touch(subject: Subject) -> None:
    x = readings(3)
    other = x.copy()
    other[:, 5:] = readings(4)[:, 5:]
    np.testing.assert_array_equal(judged(subject.make(), x)[..., :5], judged(subject.make(), other)[..., :5])


@every
@pytest.mark.parametrize("bad", [np.nan, BLANK, np.inf, -np.inf], ids=["NaN", "not measured", "+Inf", "-Inf"])
def test_what_is_no_number_changes_no_state_and_no_later_verdict(subject: Subject, bad: np.float32) -> None:
    x = readings(5)
    expected = judged(subject.make(), x)
    detector = subject.make()
    for t, row in enumerate(x):
        if t % 7 == 0:
            state = detector.dump()
            detector.judge(np.full(SERIES, bad, np.float32))
            assert detector.dump() == state
        np.testing.assert_array_equal(np.asarray(detector.judge(row), np.float32), expected[t])


@pytest.mark.parametrize("factor", [2.0**-40, 0.3, 4.0, 1e6])
@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.scale_free], ids=lambda subject: subject.name)
def test_scaling_the_input_changes_no_verdict(subject: Subject, factor: float) -> None:
    x = readings(6)
    plain, scaled = judged(subject.make(), x), judged(subject.make(), x * np.float32(factor))
    np.testing.assert_array_equal(np.abs(plain) >= 1.0, np.abs(scaled) >= 1.0)
    np.testing.assert_allclose(plain, scaled, rtol=2e-3, atol=2e-3)
