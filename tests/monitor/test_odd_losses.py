"""Losses out of their range, off a cliff, dead, spiking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import training, transitions_of
from tests.monitor.survey_logs import falling, kinds, model_only


@pytest.mark.parametrize("onset", [30, 200])
def test_a_positive_loss_that_jumps_below_0_is_out_of_range(onset: int) -> None:
    found = kinds(model_only(lambda step: 2.0 if step < onset else -0.1, range(240)))
    assert found[0] == ("loss_out_of_range", onset)


def test_a_young_loss_that_strays_below_0_is_not() -> None:
    records = model_only(lambda step: 2.0 - 2.1 * (step == 30), range(60), 0.3)
    assert kinds(records) == []


def test_a_likelihood_that_comes_down_through_0_is_not() -> None:
    records = model_only(lambda step: 5 - step / 40, range(400))
    assert "loss_out_of_range" not in [kind for kind, _ in kinds(records)]


def test_a_loss_that_falls_off_a_cliff_collapses() -> None:
    found = kinds(model_only(lambda step: falling(step) * (0.3 if step >= 300 else 1), range(340)))
    assert [kind for kind, _ in found] == ["loss_collapse"]
    assert found[0][1] <= 325


def test_a_loss_whose_noise_dies_is_read_from_a_loader_that_is_stuck() -> None:
    records = model_only(lambda step: 2.0, range(300), 0.05)
    records += [{"run": "r1", "step": step, "loss": 2.0 - 1e-4 * (step - 300)} for step in range(300, 345)]
    found = kinds(records)
    assert [kind for kind, _ in found] == ["loss_collapse"]
    assert found[0][1] <= 330


@pytest.mark.parametrize("drop", [0.6, 0.8])
def test_a_loss_that_falls_with_a_decay_of_the_learning_rate_is_quiet(drop: float) -> None:
    records = model_only(lambda step: falling(step) * (drop if step >= 300 else 1), range(600))
    for record in records:
        record["lr"] = 1e-2 if record["step"] < 300 else 1e-3
    assert kinds(records) == []


def test_spikes_that_come_far_more_often_than_before_are_a_warning() -> None:
    records = model_only(lambda step: 2.5, range(1000), 0.01)
    for step in (150, 620, 650, 690, 720, 760, 790):
        records[step]["loss"] *= 1.6
    assert ("loss_spike_transient") in [kind for kind, _ in kinds(records)]


def test_spikes_of_a_loss_that_is_noisy_itself_are_told_from_its_noise() -> None:
    records = model_only(lambda step: 0.2, range(480), 0.3)
    assert kinds(records) == []
    for step in range(310, 480, 14):
        records[step]["loss"] = 2.0
    assert {kind for kind, _ in kinds(records)} == {"loss_spike_transient"}


@pytest.mark.parametrize(("left", "found"), [(0.25, ["loss_collapse"]), (0.6, [])])
def test_a_loss_far_below_all_of_late_at_once_is_a_collapse_however_noisy_it_is(
    left: float, found: list[str]
) -> None:
    records = model_only(lambda step: 0.3 * (left if step >= 200 else 1.0), range(240), 0.15)
    assert [kind for kind, _ in kinds(records)] == found


def test_a_run_that_always_spikes_is_quiet() -> None:
    records = model_only(falling, range(1500), 0.01)
    for record in records:
        record["loss"] *= 1.6 if record["step"] % 50 == 7 else 1
    assert kinds(records) == []


def test_a_loss_far_above_its_start_that_stays_there_is_critical() -> None:
    def diverges(step: int, record: dict[str, Any]) -> None:
        record["loss"] *= 8 if step >= 300 else 1

    transitions = transitions_of(training(range(360), diverges))
    assert [each.severity for each in transitions][-1] is Severity.CRITICAL
    assert min(each.step for each in transitions if each.severity is Severity.CRITICAL) <= 335


def test_the_noise_of_a_loss_of_either_sign_may_come_and_go() -> None:
    noise = np.random.default_rng(5).standard_normal(600)
    records = [
        {"run": "r", "step": step, "loss": 0.4 + (0.3 * noise[step] if step < 540 else 1e-4 * (step - 540))}
        for step in range(600)
    ]
    assert kinds(records) == []
