"""The learning rate against what it has shown and what was declared."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.monitor.survey_logs import falling, kinds, model_only


def with_lr(lr: Callable[[int], float], steps: range, **fields: Any) -> list[dict[str, Any]]:
    return [
        {**record, "lr": lr(step)}
        for step, record in zip(steps, model_only(falling, steps, **fields), strict=True)
    ]


def warmed_up(step: int) -> float:
    return 1e-3 * min(1, (step + 1) / 50)


def cosine(step: int, total: int = 600) -> float:
    return warmed_up(step) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / total)))


def test_a_learning_rate_that_creeps_up_after_its_warm_up_is_found_within_forty_steps() -> None:
    found = kinds(with_lr(lambda step: warmed_up(step) * 1.01 ** max(0, step - 200), range(300)))
    assert [kind for kind, _ in found] == ["lr_schedule"]
    assert 214 <= found[0][1] <= 235


def test_a_rate_that_had_not_settled_may_rise_again_as_slowly_as_it_likes() -> None:
    """A short warm-up before a long one."""
    assert (
        kinds(with_lr(lambda step: 1e-3 * (step + 1) if step < 5 else 2e-3 + 2e-5 * step, range(300))) == []
    )


def test_a_rate_that_falls_out_of_a_smooth_decay_by_more_than_a_step_decay_is_off_its_schedule() -> None:
    found = kinds(with_lr(lambda step: cosine(step) / (30 if step >= 300 else 1), range(400)))
    assert [kind for kind, _ in found] == ["lr_schedule"]
    assert 300 <= found[0][1] <= 325


@pytest.mark.parametrize("times", [3, 10])
def test_a_rate_may_be_lowered_in_the_middle_of_a_decay(times: float) -> None:
    assert kinds(with_lr(lambda step: cosine(step) / (times if step >= 300 else 1), range(400))) == []


@pytest.mark.parametrize("start", [420, 450])
def test_a_rate_that_rises_out_of_a_smooth_decay_is_off_its_schedule_below_its_peak_too(start: int) -> None:
    found = kinds(with_lr(lambda step: cosine(step) * (3 if step >= start else 1), range(600)))
    assert [kind for kind, _ in found] == ["lr_schedule"]
    assert start <= found[0][1] <= start + 25


@pytest.mark.parametrize("factor", [3.0, 1 / 30, 0.0])
def test_a_jump_of_a_settled_rate_is_off_its_schedule(factor: float) -> None:
    found = kinds(with_lr(lambda step: warmed_up(step) * (factor if step >= 300 else 1), range(340)))
    assert [kind for kind, _ in found] == ["lr_schedule"]
    assert 300 <= found[0][1] <= 310


@pytest.mark.parametrize(
    "schedule",
    [
        warmed_up,
        cosine,
        lambda step: warmed_up(step) * 0.1 ** (step // 200),
        lambda step: 0.02e-3 + warmed_up(step) * 0.5 * (1 + math.cos(math.pi * (step % 150) / 150)),
        lambda step: 1e-3 * 0.6 ** (step // 150) * (0.55 + 0.45 * math.cos(math.pi * (step % 150) / 150)),
        lambda step: 1e-3 * 0.6 ** (step // 150) * max(0.02, 1 - step % 150 / 150),
        lambda step: warmed_up(step) * max(0.01, min(1.0, (600 - step) / 150)),
        lambda step: warmed_up(step % 300) * max(0.05, min(1.0, (300 - step % 300) / 75)),
        lambda step: 1e-3 * min(1.0, 0.2 * (1 + step // 100)),
        lambda step: max(0.0, 1e-3 * (1 - step / 560)),
    ],
    ids=[
        "constant",
        "cosine",
        "steps",
        "warm restarts",
        "smaller restarts",
        "smaller linear restarts",
        "wsd",
        "re-warm",
        "staircase",
        "ends at 0",
    ],
)
def test_a_schedule_as_they_are_is_quiet(schedule: Callable[[int], float]) -> None:
    assert kinds(with_lr(schedule, range(600))) == []


@pytest.mark.parametrize("rewarm", [1, 40])
def test_a_run_joined_in_a_decay_returns_to_a_peak_that_nobody_saw(rewarm: int) -> None:
    def lr(step: int) -> float:
        at = step % 500
        return 1e-3 * min(1.0, (at + 1) / rewarm) * (0.03 + 0.97 * (1 - at / 500))

    assert kinds(with_lr(lr, range(5_300, 6_400))) == []
    assert kinds(with_lr(lambda step: lr(step) * (10 if step >= 6_200 else 1), range(5_300, 6_400))) != []


@pytest.mark.parametrize("first", [0, 5_300])
def test_a_rate_that_was_level_and_jumps_is_told_wherever_the_run_was_joined(first: int) -> None:
    found = kinds(with_lr(lambda step: 1e-3 * (10 if step >= first + 200 else 1), range(first, first + 300)))
    assert found == [("lr_schedule", first + 200)]


def test_a_rate_scaled_with_the_batch_is_quiet() -> None:
    records = with_lr(lambda step: warmed_up(step) * (4 if step >= 300 else 1), range(400))
    for record in records:
        record["tokens"] = 4096 if record["step"] >= 300 else 1024
    assert kinds(records) == []


def test_an_announced_change_of_the_schedule_is_quiet() -> None:
    records = with_lr(lambda step: warmed_up(step) * (5 if step >= 300 else 1), range(400))
    records[300]["events"] = [{"kind": "phase", "name": "unfrozen"}]
    assert kinds(records) == []


def test_a_rate_that_leaves_the_declared_schedule_is_found() -> None:
    records = with_lr(lambda step: 1e-3 * (1 - step / 1000) * (0.8 if step >= 300 else 1), range(360))
    records[0]["events"] = [{"kind": "lr_schedule", "name": "my own", "total_steps": 1000}]
    assert kinds(records) == []
    records[0]["events"] = [{"kind": "lr_schedule", "name": "linear", "total_steps": 1000}]
    assert [kind for kind, _ in kinds(records)] == ["lr_schedule"]


@pytest.mark.parametrize(("further", "found"), [(120, []), (500, ["lr_schedule"])])
def test_a_rate_of_0_after_its_decay_is_told_where_the_run_goes_on_for_long(
    further: int, found: list[str]
) -> None:
    records = with_lr(lambda step: 1e-3 * max(0.0, 1 - step / 1000), range(1000 + further))
    assert [kind for kind, _ in kinds(records)] == found


def test_what_was_said_hundreds_of_steps_ago_explains_no_jump_where_readings_are_rare() -> None:
    def records(jump: int) -> list[dict[str, Any]]:
        found = with_lr(lambda step: 1e-3 * (10 if step >= jump else 1), range(0, 3000, 10))
        found[100]["events"] = [{"kind": "phase", "name": "unfrozen"}]
        return found

    assert kinds(records(1050)) == []
    assert kinds(records(1300)) == [("lr_schedule", 1300)]


@pytest.mark.parametrize("start", range(300, 316))
def test_a_warm_up_that_starts_again_in_a_decay_is_quiet_whenever_it_is_looked_at(start: int) -> None:
    def lr(step: int) -> float:
        return cosine(step) * (min(1.0, (step - start + 1) / 40) if step >= start else 1.0)

    assert kinds(with_lr(lr, range(500))) == []


def test_a_run_that_goes_back_within_its_warm_up_has_not_settled() -> None:
    steps = [*range(25), *range(1, 200)]
    records = with_lr(lambda step: 1e-3 * (step + 1) / 200, range(200))
    assert kinds([records[step] for step in steps]) == []
