"""Losses that stand still, and losses that come up and stay."""

from __future__ import annotations

import math
from typing import Any

import pytest

from anomaly.incidents import Severity
from anomaly.incidents.transition import Status
from tests.monitor.logs import training, transitions_of
from tests.monitor.survey_logs import falling, kinds, model_only, serious


def test_a_loss_stuck_since_its_first_steps_is_a_plateau() -> None:
    (incident,) = serious(
        transitions_of(model_only(lambda step: 11.0 if step < 300 else 7.4, range(0, 60_000, 100)))
    )
    assert incident.kind == "loss_plateau"
    assert incident.first_step <= 1000


def test_a_loss_that_stands_because_the_learning_rate_is_at_rest_is_none() -> None:
    records = model_only(lambda step: 3.0, range(0, 60_000, 100))
    for record in records:
        record["lr"] = 1e-3 if record["step"] < 300 else 1e-5
    assert serious(transitions_of(records)) == []


def test_a_loss_that_never_fell_is_flat_from_its_start() -> None:
    (incident,) = serious(transitions_of(model_only(lambda step: 5.55, range(1100), 0.01)))
    assert (incident.kind, incident.first_step) == ("flat_from_start", 0)


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.1])
def test_it_is_told_once_however_long_it_lasts(spread: float) -> None:
    told = transitions_of(model_only(lambda step: 5.55, range(4000), spread))
    assert [each.status for each in told if each.severity is not Severity.INFO].count(Status.OPENED) == 1
    assert Status.RESOLVED not in {each.status for each in told}


def test_it_is_over_once_the_loss_falls() -> None:
    told = transitions_of(model_only(lambda step: 5.55 * 0.999 ** max(0, step - 2000), range(3000), 0.02))
    assert [each.status for each in told][-1] is Status.RESOLVED


def test_it_is_so_after_two_hundred_readings_where_updates_are_next_to_nothing() -> None:
    def stuck(step: int, record: dict[str, Any]) -> None:
        record["loss"] = 5.55 * (1 + 0.01 * math.sin(step))
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= 1e-3

    (incident,) = serious(transitions_of(training(range(300), stuck)))
    assert (incident.kind, incident.first_step) == ("flat_from_start", 0)


@pytest.mark.parametrize(
    ("left", "warmup", "found"), [(1e-3, 1, ["flat_from_start"]), (1.0, 1, []), (1e-3, 200, [])]
)
def test_it_is_so_after_a_hundred_steps_where_updates_are_nothing_however_noisy_the_loss(
    left: float, warmup: int, found: list[str]
) -> None:
    def stuck(step: int, record: dict[str, Any]) -> None:
        record["loss"] = 1.0 + 0.07 * math.sin(7 * step)
        record["lr"] *= min(1.0, (step + 1) / warmup)
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= left

    assert [kind for kind, _ in kinds(training(range(180), stuck))] == found


def test_a_loss_that_begins_to_fall_after_two_hundred_and_fifty_steps_is_a_slow_start() -> None:
    records = model_only(lambda step: 2.3 if step < 250 else 2.3 * 0.995 ** (step - 250), range(600), 0.01)
    assert serious(transitions_of(records)) == []


@pytest.mark.parametrize("steps", [range(3000), range(0, 60_000, 100)])
def test_a_healthy_loss_is_neither(steps: range) -> None:
    assert serious(transitions_of(model_only(falling, steps))) == []


def test_one_reading_that_stands_for_a_hundred_steps_is_a_spike_at_once() -> None:
    records = model_only(falling, range(0, 10_000, 100))
    records[80]["loss"] *= 1.5
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.step) == ("loss_spike_persistent", 8000)


def test_a_rise_by_a_third_that_stays_is_found_within_the_budget_of_jumps() -> None:
    records = model_only(lambda step: falling(step) * (1.33 if step >= 300 else 1), range(330), 0.015)
    (incident,) = serious(transitions_of(records))
    assert incident.kind == "loss_spike_persistent"
    assert 300 <= incident.step <= 322
