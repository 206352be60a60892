"""Runs that are logged at every tenth step: what lasts two readings lasts, and a start is over after as many steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import transitions_of
from tests.monitor.survey_logs import kinds, serious


def log(every: int, high: range, factor: float = 40.0, readings: int = 60) -> list[dict[str, Any]]:
    """Gradients of a run whose total is `factor` times what it was in the readings of `high`."""
    noise = np.random.default_rng(3).normal(0.0, 0.15, (readings, 2))
    records = []
    for at, (total, loss) in enumerate(np.exp(noise).tolist()):
        size = total * (factor if at in high else 1.0)
        records.append(
            {"run": "r1", "step": at * every, "loss": 2.0 + 0.1 * loss, "grad_norm_total": size, "lr": 1e-3}
        )
    return records


def test_a_jump_warns_at_its_second_reading() -> None:
    assert kinds(log(10, range(40, 60)))[:1] == [("gradient_spike", 410)]


def test_one_high_reading_of_a_gradient_is_one_batch() -> None:
    assert not serious(transitions_of(log(10, range(40, 41))))


@pytest.mark.parametrize("every", [1, 9])
def test_two_readings_of_less_are_no_more_than_a_remark(every: int) -> None:
    found = transitions_of(log(every, range(40, 42)))
    assert all(each.severity is Severity.INFO for each in found)


def test_a_level_that_moves_in_a_short_log_is_found_once_the_runs_start_is_over() -> None:
    """Forty readings are four hundred steps: by then runs no longer drift as at their start."""
    moved = kinds(log(10, range(40, 100), factor=8.0, readings=100))
    assert [kind for kind, _ in moved] == ["gradient_spike"]
    assert not kinds(log(1, range(40, 60), factor=8.0))


@pytest.mark.parametrize(("every", "apart", "incidents"), [(1, 60, 1), (5, 60, 2), (10, 60, 2)])
def test_a_second_fault_after_200_steps_is_an_incident_of_its_own_however_few_readings_that_are(
    every: int, apart: int, incidents: int
) -> None:
    records = log(every, range(100, 260), readings=260)
    noise = np.random.default_rng(8).normal(0.0, 0.05, len(records))
    for at, (record, each) in enumerate(zip(records, noise.tolist(), strict=True)):
        size = 30.0 if at >= 100 + apart else 1.0
        record["layers"] = {
            name: {
                "weight_norm": 5.0 + 0.01 * each,
                "act_rms": float(np.exp(each)) * (size if name == "b.1" else 1.0),
            }
            for name in ("a.1", "b.1", "c.1", "d.1")
        }
        record["loss"] *= 0.999**at
    found = kinds(records)
    assert len(found) == incidents, found
