"""Steps that become slower."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import training, transitions_of
from tests.monitor.survey_logs import serious


def slow(from_step: int, times: float, to_step: int = 10_000) -> Callable[[int, dict[str, Any]], None]:
    noise = np.random.default_rng(5).lognormal(0.0, 0.04, 1000)

    def change(step: int, record: dict[str, Any]) -> None:
        record["step_seconds"] = 0.004 * float(noise[step]) * (times if from_step <= step < to_step else 1.0)

    return change


def test_steps_of_milliseconds_that_take_half_as_long_again_are_a_throughput_drop() -> None:
    (incident,) = serious(transitions_of(training(range(300), slow(150, 1.5))))
    assert incident.kind == "throughput_drop"
    assert 150 <= incident.step <= 220
    assert 130 <= incident.first_step <= 190


@pytest.mark.parametrize("slowness", [slow(0, 1.0), slow(150, 1.1), slow(150, 3.0, 165)])
def test_steps_as_they_were_or_slow_for_a_while_are_none(
    slowness: Callable[[int, dict[str, Any]], None],
) -> None:
    assert serious(transitions_of(training(range(400), slowness))) == []


def test_steps_that_are_slower_since_their_batch_is_larger_are_none() -> None:
    slower = slow(150, 2.0)

    def change(step: int, record: dict[str, Any]) -> None:
        slower(step, record)
        record["tokens"] = 2048.0 if step < 150 else 4096.0

    assert serious(transitions_of(training(range(400), change))) == []


def test_steps_logged_one_in_ten_that_take_twice_as_long_are_told_of_within_32_readings() -> None:
    every = slow(680, 1.84)
    records = [record for record in training(range(1000), every) if record["step"] % 10 == 0]
    (incident,) = serious(transitions_of(records))
    assert incident.kind == "throughput_drop"
    assert 680 + 120 <= incident.step <= 680 + 240


@pytest.mark.parametrize(
    ("smaller", "falls", "found"),
    [(0.7, 0.0, []), (1.0, 0.0, ["throughput_drop"]), (1.0, 0.006, ["throughput_drop"])],
)
def test_longer_steps_whose_gradients_are_the_mean_of_more_samples_are_none(
    smaller: float, falls: float, found: list[str]
) -> None:
    slower = slow(150, 1.8)

    def change(step: int, record: dict[str, Any]) -> None:
        slower(step, record)
        record["grad_norm_total"] *= (smaller if step >= 150 else 1.0) * float(np.exp(-falls * step))

    assert [each.kind for each in serious(transitions_of(training(range(300), change)))] == found


@pytest.mark.parametrize(
    ("times", "tokens", "warns"),
    [
        (2.0, False, False),
        (4.0, False, False),
        (3.0, False, True),
        (2.0, True, True),
        (1.9, False, False),
        (1.8, False, True),
    ],
)
def test_steps_that_take_about_twice_as_long_may_be_of_more_batches_where_nothing_tells_of_tokens(
    times: float, tokens: bool, warns: bool
) -> None:
    slower = slow(150, times)

    def change(step: int, record: dict[str, Any]) -> None:
        slower(step, record)
        if tokens:
            record["tokens"] = 4096

    found = [each for each in transitions_of(training(range(300), change)) if each.kind == "throughput_drop"]
    assert found
    assert any(each.severity is not Severity.INFO for each in found) is warns
