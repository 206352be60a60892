"""What several readings of a run say together: a firing time and a silent time for each rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import transitions_of


def serious(transitions: list[Transition]) -> list[Transition]:
    """The first transition of each incident that reaches warning or critical."""
    found: dict[str, Transition] = {}
    for each in transitions:
        if each.severity is not Severity.INFO:
            found.setdefault(each.incident, each)
    return list(found.values())


def model_only(
    loss: Callable[[int], float], steps: range, spread: float = 0.02, **fields: Any
) -> list[dict[str, Any]]:
    """A log of the whole model only: a loss with noise."""
    noise = np.random.default_rng(1).standard_normal(len(steps))
    return [
        {"run": "r1", "step": step, "loss": float(loss(step) * np.exp(spread * each)), **fields}
        for step, each in zip(steps, noise, strict=True)
    ]


def falling(step: int) -> float:
    return float(2 + 8 * (step + 10) ** -0.3)


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
    (incident,) = serious(transitions_of(model_only(lambda step: 5.55, range(300), 0.01)))
    assert (incident.kind, incident.first_step) == ("flat_from_start", 0)
    assert incident.step <= 300


@pytest.mark.parametrize("steps", [range(3000), range(0, 60_000, 100)])
def test_a_healthy_loss_is_neither(steps: range) -> None:
    assert serious(transitions_of(model_only(falling, steps))) == []


def test_one_reading_that_stands_for_a_hundred_steps_is_a_spike_at_once() -> None:
    records = model_only(falling, range(0, 10_000, 100))
    records[80]["loss"] *= 1.5
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.step) == ("loss_spike_persistent", 8000)


def test_a_rise_of_a_quarter_that_stays_is_found_within_fourteen_readings() -> None:
    records = model_only(lambda step: falling(step) * (1.3 if step >= 300 else 1), range(330), 0.015)
    (incident,) = serious(transitions_of(records))
    assert incident.kind == "loss_spike_persistent"
    assert 300 <= incident.step <= 314
