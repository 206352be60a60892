"""What the probes' answers say of a worker: its longest pause, and when it was back."""

from __future__ import annotations

import math

import pytest

from benchmarks.state import Answers, back_at, longest_wait
from benchmarks.topics import PARTITIONS


def promptly(since: float, until: float) -> Answers:
    """A probe a second, to each partition in turn, answered in 20 ms."""
    return [(at % PARTITIONS, float(at), 0.02) for at in range(int(since), int(until))]


def test_a_pause_is_what_a_probe_waited_longer_than_usual() -> None:
    assert longest_wait([(0, 1.0, 0.02), (1, 2.0, 0.30), (2, 3.0, 0.02)]) == pytest.approx(0.28)


def test_a_probe_without_an_answer_is_an_endless_pause() -> None:
    assert longest_wait([(0, 1.0, 0.02), (1, 2.0, None), (2, 3.0, 0.02)]) == math.inf


def test_a_worker_is_back_when_the_last_partition_answers_promptly() -> None:
    late = [(at % PARTITIONS, float(at), 112.0 - at) for at in range(100, 112)]
    answers = promptly(80, 100) + late + promptly(112, 130)
    assert back_at(answers, killed=100.0) == pytest.approx(112 + PARTITIONS - 1 + 0.02 - 100)


def test_a_worker_that_leaves_a_partition_behind_is_not_back() -> None:
    answers = [answer for answer in promptly(100, 130) if answer[0] != 3]
    assert back_at(answers, killed=100.0) is None


def test_answers_of_before_the_crash_say_nothing() -> None:
    assert back_at(promptly(80, 100), killed=100.0) is None
