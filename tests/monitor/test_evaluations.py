"""Evaluations that get worse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.monitor.survey_logs import falling, kinds, model_only


def evaluated(
    loss: Callable[[int], float], evaluation: Callable[[int], float], steps: range, every: int = 25
) -> list[dict[str, Any]]:
    records = model_only(loss, steps)
    noise = np.random.default_rng(2).standard_normal(len(records))
    for record, each in zip(records, noise, strict=True):
        if record["step"] % every == every - 1:
            record["eval_loss"] = evaluation(record["step"]) * math.exp(0.01 * each)
    return records


def test_an_evaluation_that_rises_while_training_falls_is_overfitting() -> None:
    records = evaluated(
        falling, lambda step: falling(min(step, 300)) * 1.002 ** max(0, step - 300), range(600)
    )
    ((kind, step),) = kinds(records)
    assert kind == "overfit"
    assert 350 <= step <= 450


def test_an_evaluation_that_jumps_is_a_regression() -> None:
    records = evaluated(lambda step: 2.5, lambda step: 2.6 * (1.15 if step >= 300 else 1), range(500))
    ((kind, step),) = kinds(records)
    assert kind in ("eval_regression", "overfit")
    assert step <= 400


@pytest.mark.filterwarnings("error")
def test_it_is_one_too_where_the_training_loss_is_reported_no_more() -> None:
    records = evaluated(lambda step: 2.5, lambda step: 2.6 * (1.3 if step >= 300 else 1), range(500))
    for record in records[280:]:
        del record["loss"]
    assert [kind for kind, _ in kinds(records)] == ["eval_regression"]


@pytest.mark.parametrize(("factor", "found"), [(1.05, []), (1.5, ["eval_regression"])])
def test_a_warm_restart_explains_a_little_of_an_evaluation_that_jumps(
    factor: float, found: list[str]
) -> None:
    records = evaluated(falling, lambda step: 2.6 * (factor if step >= 300 else 1), range(500))
    for record in records:
        record["lr"] = 1e-3 * (1 - record["step"] % 300 / 320)
    records[0]["events"] = [{"kind": "lr_schedule", "name": "restarts"}]
    assert [kind for kind, _ in kinds(records)] == found


def test_evaluations_that_scatter_are_quiet() -> None:
    assert kinds(evaluated(falling, falling, range(1500))) == []


def test_an_accuracy_that_levels_off_is_none() -> None:
    records = model_only(falling, range(1500))
    noise = np.random.default_rng(4).standard_normal(1500)
    for record, each in zip(records, noise, strict=True):
        record["accuracy"] = 0.9 - 0.8 * math.exp(-record["step"] / 300) + 0.02 * each
    assert kinds(records) == []


def test_an_evaluation_whose_loss_was_below_0_is_not_judged_by_how_many_times_it_is_the_best() -> None:
    records = model_only(falling, range(900))
    for at, record in enumerate(records[9::10]):
        record["eval_loss"] = -0.1 if at < 3 else (0.01 if at < 60 else 0.1)
    assert kinds(records) == []
