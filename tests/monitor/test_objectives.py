"""Runs whose loss is not what they are after, and series that are none of a policy's: what is quiet in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import healthy, opened, training, transitions_of
from tests.monitor.survey_logs import kinds, model_only

CLIMBS = 400


def told(records: list[dict[str, Any]]) -> list[str]:
    """The kinds that somebody is told of."""
    transitions: list[Transition] = transitions_of(records)
    return sorted({each.kind for each in transitions if each.severity is not Severity.INFO})


def run(layers: tuple[str, ...], **fields: float) -> list[dict[str, Any]]:
    """A run whose loss climbs by 1 % a step from step 400 on."""
    records = [{"run": "r", **healthy(step, layers=layers), **fields} for step in range(600)]
    for record in records:
        record["loss"] *= 1.01 ** max(0, record["step"] - CLIMBS)
    return records


def test_a_loss_that_climbs_is_a_warning_where_it_is_what_the_run_is_after() -> None:
    assert told(run(("encoder.0", "encoder.1", "decoder.0")))


@pytest.mark.parametrize(
    "layers", [("generator.0", "generator.2", "critic.0"), ("netG.a", "netG.b", "netD.a")]
)
def test_a_loss_of_two_players_may_climb(layers: tuple[str, ...]) -> None:
    assert told(run(layers)) == []


@pytest.mark.parametrize(
    "signal", ["rl_reward", "rollout/ep_rew_mean", "episode_return", "objective/rlhf_reward"]
)
def test_a_loss_of_a_policy_may_climb(signal: str) -> None:
    assert told(run(("first", "second", "actor"), **{signal: 20.0})) == []


def test_a_loss_whose_divergence_is_weighed_by_a_schedule_may_climb() -> None:
    assert told(run(("encode", "decode"), kl=3.0, beta=0.1)) == []


def test_a_number_that_is_none_is_one_in_such_a_run_too() -> None:
    records = run(("generator.0", "generator.2", "critic.0"))
    records[300]["layers"]["critic.0"]["grad_norm"] = None
    records[300]["grad_norm_total"] = "NaN"
    assert told(records) == ["nonfinite_gradient"]


def test_evaluations_of_two_players_are_no_more_than_a_remark_however_much_worse() -> None:
    records = [
        {"run": "r", **healthy(step, layers=("generator.0", "generator.2", "critic.0"))}
        for step in range(700)
    ]
    for at, record in enumerate(records[::25]):
        record["eval_loss"] = 2.0 * 0.99 ** min(at, 16) * (1.3 if at > 16 else 1.0)
    assert told(records) == []
    found = [each.kind for each in opened(transitions_of(records))]
    assert found == ["eval_regression"]


def with_series(name: str, values: Any) -> list[dict[str, Any]]:
    """A calm run of 300 steps with one more series."""
    return [{"run": "r", **healthy(step), name: float(values[step])} for step in range(300)]


def test_the_kl_of_an_autoencoder_is_no_policys() -> None:
    noise = np.exp(0.05 * np.random.default_rng(2).standard_normal(300))
    leap = np.where(np.arange(300) >= 250, 10.0, 1.0) * noise
    assert told(with_series("kl", leap)) == []
    assert told(with_series("approx_kl", leap)) == ["rl_kl"]


@pytest.mark.parametrize(("fields", "found"), [({}, ["gradient_noise"]), ({"reward": 1.0}, [])])
def test_a_layer_of_a_policy_that_makes_its_own_data_must_be_twice_as_noisy(
    fields: dict[str, float], found: list[str]
) -> None:
    noise = np.random.default_rng(1).standard_normal(400)

    def noisy(step: int, record: dict[str, Any]) -> None:
        record.update(fields)
        if step >= 250:
            record["layers"]["h.1"]["grad_norm"] *= float(np.exp(0.45 * noise[step]))

    assert [each.kind for each in opened(transitions_of(training(range(400), noisy)))] == found


def test_a_setting_that_is_moved_is_no_series_that_shifted() -> None:
    moved = np.where(np.arange(300) >= 200, 0.9, 0.3)
    noise = 0.01 * np.random.default_rng(2).standard_normal(300)
    assert told(with_series("beta", moved)) == []
    assert told(with_series("beta", moved + noise)) == ["series_shift"]


@pytest.mark.parametrize("fell", [1.0, 0.97])
def test_a_loss_that_rises_before_it_fell_is_one_that_another_decides(fell: float) -> None:
    def adversarial(step: int) -> float:
        return float(0.7 * fell ** min(1.0, step / 60) * math.exp(0.004 * max(0, min(step - 60, 240))))

    assert kinds(model_only(adversarial, range(600))) == []


def test_a_loss_that_loses_what_it_had_learned_is_found_however_young_the_run_is() -> None:
    def diverging(step: int) -> float:
        return float(3.5 * 0.5 ** min(1.0, step / 100) * math.exp(0.004 * max(0, step - 150)))

    found = kinds(model_only(diverging, range(600)))
    assert [kind for kind, _ in found] == ["loss_divergence"]
    assert found[0][1] < 150 + 200


def test_a_run_that_is_joined_midway_may_have_learned_long_ago() -> None:
    def climbing(step: int) -> float:
        return 2.0 * math.exp(0.002 * max(0, step - 10_200))

    assert [kind for kind, _ in kinds(model_only(climbing, range(10_000, 10_600)))] == ["loss_divergence"]


@pytest.mark.parametrize(("rises", "told_of_it"), [(150, False), (700, True)])
def test_a_loss_of_either_sign_has_to_show_its_swings_before_a_climb_says_much(
    rises: int, told_of_it: bool
) -> None:
    noise = np.random.default_rng(3).standard_normal(1200)
    records = [
        {"run": "r", "step": step, "loss": 0.05 * noise[step] + min(2.0, 0.01 * max(0, step - rises))}
        for step in range(1200)
    ]
    assert bool(kinds(records)) == told_of_it


@pytest.mark.parametrize(("fields", "found"), [({}, ["gradient_spike"]), ({"reward": 1.0}, [])])
def test_gradients_of_a_policy_may_leap_with_what_it_does(fields: dict[str, float], found: list[str]) -> None:
    def leaping(step: int, record: dict[str, Any]) -> None:
        record.update(fields)
        if step >= 250:
            record["grad_norm_total"] *= 5.0
            for of_layer in record["layers"].values():
                of_layer["grad_norm"] *= 5.0

    assert told(training(range(400), leaping)) == found


@pytest.mark.parametrize(
    ("dead", "readings", "found"),
    [
        (("actor.0", "actor.2"), 10, []),
        (("actor.0", "actor.2"), 40, ["gradient_dead"]),
        (("actor.0",), 10, ["gradient_dead"]),
    ],
)
def test_a_policy_whose_samples_are_all_worth_the_same_has_no_gradient_for_a_while(
    dead: tuple[str, ...], readings: int, found: list[str]
) -> None:
    def equal(step: int, record: dict[str, Any]) -> None:
        record["reward"] = 1.0 - 0.5 * math.exp(-step / 50)
        if 100 <= step < 100 + readings:
            for name in dead:
                record["layers"][name]["grad_norm"] = 0.0

    layers = ("actor.0", "actor.2", "critic.0", "critic.2")
    records = [{"run": "r", **healthy(step, layers=layers)} for step in range(160)]
    for record in records:
        equal(record["step"], record)
    assert told(records) == found


def policy(reward: float, gradients: dict[int, float]) -> list[dict[str, Any]]:
    """A policy's run of the whole model, its gradient's norm multiplied from each of these steps on."""
    random = np.random.default_rng(4)
    records, factor = [], 1.0
    for step in range(200):
        factor = gradients.get(step, factor)
        norm = factor * float(np.exp2(random.standard_normal()))
        records.append({"run": "r", "step": step, "reward": reward, "loss": 0.1, "grad_norm_total": norm})
    return records


def test_gradients_of_a_policy_that_leap_beyond_all_there_was_are_told_of() -> None:
    assert told(policy(0.3, {120: 200.0})) == ["gradient_spike"]
    assert told(policy(0.3, {120: 200.0, 124: 1.0})) == []


def test_a_policy_that_fails_once_at_what_it_had_learned_has_the_gradients_of_then() -> None:
    assert told(policy(1.0, {60: 1e-3, 150: 0.5, 160: 1e-3})) == []
