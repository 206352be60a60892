"""Rewards that no longer vary."""

from __future__ import annotations

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import healthy, opened, transitions_of

STEPS = 900
NOISE = np.random.default_rng(3).standard_normal(STEPS)


def told(rewards: np.ndarray) -> list[Transition]:
    records = [{"run": "r", **healthy(step), "reward": float(rewards[step])} for step in range(STEPS)]
    return [each for each in opened(transitions_of(records)) if each.severity is not Severity.INFO]


@pytest.mark.parametrize("level", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("left", [0.0, 0.08])
def test_a_reward_that_no_longer_varies_below_its_best_is_of_a_broken_measure(
    level: float, left: float
) -> None:
    (incident,) = told(level + NOISE * np.where(np.arange(STEPS) < 500, 0.5, 0.5 * left))
    assert (incident.kind, incident.detector) == ("rl_reward", "still")
    assert 500 < incident.step <= 700
    assert incident.first_step is not None
    assert abs(incident.first_step - 500) <= 50


def test_a_policy_that_has_solved_its_task_gets_the_same_each_time() -> None:
    solved = np.minimum(0.02 * np.arange(STEPS) + 2.0 * NOISE, 10.0)
    assert told(solved) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_reward_that_varies_as_it_did_is_none(seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((2, STEPS))
    assert told(0.1 * np.cumsum(noise[0]) * (seed % 2) + noise[1]) == []
