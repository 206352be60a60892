"""Series outside the closed list, and those of policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.monitor.survey_logs import falling, kinds, model_only


@pytest.mark.parametrize(
    ("name", "level", "factor", "kind"),
    [
        ("objective/kl", 0.1, 10.0, "rl_kl"),
        ("approx_kl", 0.1, 10.0, "rl_kl"),
        ("train/policy_entropy", 1.4, 0.2, "rl_entropy"),
        ("rollout/ep_rew_mean_reward", 20.0, 0.2, "rl_reward"),
        ("rewards/mean", 20.0, 0.2, "rl_reward"),
    ],
)
def test_series_of_policies_are_known_by_the_words_of_their_names(
    name: str, level: float, factor: float, kind: str
) -> None:
    def run(change: float) -> list[dict[str, Any]]:
        records = model_only(falling, range(300))
        noise = np.random.default_rng(3).standard_normal(300)
        for record, each in zip(records, noise, strict=True):
            record[name] = level * (change if record["step"] >= 250 else 1) * (1 + 0.05 * each)
        return records

    assert [found for found, _ in kinds(run(factor))] == [kind]
    assert kinds(run(1.0)) == []
    assert kinds(run(1 / factor)) == []


@pytest.mark.parametrize(
    ("name", "shift", "found"),
    [("coolant_celsius", 10.0, True), ("coolant_celsius", 2.0, False), ("epoch", 10.0, False)],
)
@pytest.mark.parametrize("zero", [0.0, 60.0, 333.0])
def test_a_series_of_ones_own_is_told_by_its_noise_wherever_its_zero_is_and_one_that_counts_is_not(
    name: str, shift: float, found: bool, zero: float
) -> None:
    records = model_only(falling, range(400))
    noise = np.random.default_rng(4).standard_normal(400)
    for record, each in zip(records, noise, strict=True):
        record[name] = zero + 0.8 * each + (shift if record["step"] >= 300 else 0.0)
    assert [kind for kind, _ in kinds(records)] == ["series_shift"] * found


@pytest.mark.parametrize(
    "level",
    [
        lambda t: 60 + 0.05 * t,
        lambda t: 12 / (1 + np.exp((400 - t) / 60)),
        lambda t: 9 * np.sin(t / 130),
        lambda t: np.minimum(t / 30, 12.0),
    ],
    ids=["a trend", "what is learned", "a season", "a ramp that ends"],
)
def test_a_series_of_ones_own_that_drifts_by_many_times_its_noise_has_not_shifted(level: Any) -> None:
    records = model_only(falling, range(1200))
    noise = np.random.default_rng(5).standard_normal(1200)
    for record, each in zip(records, noise, strict=True):
        record["mine"] = float(level(record["step"])) + 0.8 * each
    assert kinds(records) == []


def test_nor_has_one_that_goes_by_steps_or_a_walk() -> None:
    records = model_only(falling, range(1200))
    walk = np.cumsum(np.random.default_rng(6).standard_normal(1200))
    for record, each in zip(records, walk, strict=True):
        step = record["step"]
        record |= {"stage": float(step // 170), "batch": 2.0 ** (step // 300), "walk": 0.1 * float(each)}
    assert kinds(records) == []


def test_an_accuracy_of_few_samples_that_begins_at_0_is_quiet_and_is_found_when_it_collapses() -> None:
    def run(collapses: bool) -> list[dict[str, Any]]:
        records, random = model_only(falling, range(400)), np.random.default_rng(4)
        for record in records:
            step = record["step"]
            likely = 0.02 if collapses and step >= 300 else 0.1 + 0.7 * (1 - 0.98**step)
            record["accuracy"] = float(random.binomial(8, likely)) / 8 if step else 0.0
        return records

    assert kinds(run(collapses=False)) == []
    assert [kind for kind, _ in kinds(run(collapses=True))] == ["series_shift"]
