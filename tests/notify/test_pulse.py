"""Whether a notifier may still take the incidents for its own, by a clock of the test's."""

from __future__ import annotations

import pytest

from anomaly.notify.pulse import LeaseLostError, Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_stood_still_for_most_of_a_session_has_lost_its_lease_for_good() -> None:
    clock = Clock()
    pulse = Pulse(10.0, clock)
    clock.now += 8.5
    pulse.beat()
    clock.now += 0.5
    with pytest.raises(LeaseLostError, match=r"stood still for 8\.5 s"):
        pulse.check()
    pulse.beat()
    with pytest.raises(LeaseLostError):
        pulse.check()


def test_a_check_sees_a_standstill_that_no_beat_has_seen() -> None:
    clock = Clock()
    pulse = Pulse(10.0, clock)
    clock.now += 8.5
    with pytest.raises(LeaseLostError):
        pulse.check()


def test_beats_in_time_keep_the_lease() -> None:
    clock = Clock()
    pulse = Pulse(10.0, clock)
    for _ in range(10):
        clock.now += 7.5
        pulse.beat()
    pulse.check()


def test_what_stood_still_before_anything_was_its_own_counts_for_nothing() -> None:
    clock = Clock()
    pulse = Pulse(10.0, clock)
    clock.now += 60.0
    pulse.beat()
    pulse.begin()
    pulse.check()
