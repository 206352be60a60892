"""What several readings of a run say together: a firing time and a silent time for each rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity, Transition
from tests.monitor.logs import healthy, training, transitions_of


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
    (incident,) = serious(transitions_of(model_only(lambda step: 5.55, range(1100), 0.01)))
    assert (incident.kind, incident.first_step) == ("flat_from_start", 0)


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


def kinds(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Kind and step of each incident that reaches warning."""
    return [(each.kind, int(each.step)) for each in serious(transitions_of(records))]


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


def test_a_rate_that_falls_out_of_a_smooth_decay_is_off_its_schedule() -> None:
    found = kinds(with_lr(lambda step: cosine(step) / (4 if step >= 300 else 1), range(400)))
    assert [kind for kind, _ in found] == ["lr_schedule"]
    assert 300 <= found[0][1] <= 325


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
        lambda step: warmed_up(step) * max(0.01, min(1.0, (600 - step) / 150)),
        lambda step: warmed_up(step % 300) * max(0.05, min(1.0, (300 - step % 300) / 75)),
        lambda step: 1e-3 * min(1.0, 0.2 * (1 + step // 100)),
        lambda step: max(0.0, 1e-3 * (1 - step / 560)),
    ],
    ids=["constant", "cosine", "steps", "warm restarts", "wsd", "re-warm", "staircase", "ends at 0"],
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


def resumed(
    loss: Callable[[int], float], steps: range, at: int, spread: float = 0.03
) -> list[dict[str, Any]]:
    records = model_only(loss, steps, spread)
    records[at]["events"] = [{"kind": "resume"}]
    return records


def test_a_resume_with_other_weights_is_found_by_the_loss() -> None:
    found = kinds(resumed(lambda step: falling(step) * (1.4 if step >= 300 else 1), range(330), 300))
    assert [kind for kind, _ in found] == ["resume_corruption"]
    assert 300 <= found[0][1] <= 308


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.04])
def test_a_resume_that_goes_on_is_quiet(factor: float) -> None:
    assert kinds(resumed(lambda step: falling(step) * (factor if step >= 300 else 1), range(330), 300)) == []


def test_a_restart_from_far_back_has_the_loss_of_those_steps_and_is_quiet() -> None:
    records = model_only(falling, range(400)) + model_only(falling, range(60, 400))
    assert kinds(records) == []


@pytest.mark.parametrize("announced", [False, True])
def test_an_optimiser_state_lost_at_a_resume_shows_in_the_first_update(announced: bool) -> None:
    def lost(step: int, record: dict[str, Any]) -> None:
        record |= {"session": 1 + (step >= 200), "sequence": step % 200}
        for of_layer in record["layers"].values():
            of_layer["update_ratio"] *= 1 + 3 * 0.7 ** (step - 200) if step >= 200 else 1
        if announced and step == 200:
            record["events"] = [{"kind": "resume"}]

    (incident,) = serious(transitions_of(training(range(260), lost)))
    assert (incident.kind, incident.step) == ("optimizer_state_lost", 200)


def test_updates_that_follow_the_gradients_at_a_resume_are_of_an_optimiser_without_a_state() -> None:
    def other_data(step: int, record: dict[str, Any]) -> None:
        for of_layer in record["layers"].values():
            for signal in ("update_ratio", "grad_norm"):
                of_layer[signal] *= 1 + 1.5 * 0.7 ** (step - 200) if step >= 200 else 1
        if step == 200:
            record["events"] = [{"kind": "resume"}]

    assert [each.kind for each in serious(transitions_of(training(range(260), other_data)))] == []


@pytest.mark.parametrize(("event", "kinds_found"), [("data_mix", []), ("pause", ["loss_spike_persistent"])])
def test_a_small_loss_may_treble_with_data_that_are_said_to_change(
    event: str, kinds_found: list[str]
) -> None:
    records = model_only(lambda step: 0.1 * (3 if step >= 300 else 1), range(380))
    records[300]["events"] = [{"kind": event, "name": "b"}]
    assert [kind for kind, _ in kinds(records)] == kinds_found


def continued(factor: float, session: int, **event: Any) -> list[dict[str, Any]]:
    """A run that goes on at step 200, in another session or not, with norms of weights by `factor` larger."""

    def change(step: int, record: dict[str, Any]) -> None:
        late = step >= 200
        record |= {"session": 1 + session * late, "sequence": step - 200 * session * late}
        if step == 200:
            record["events"] = [{"kind": "resume"}, *([event] if event else [])]
        for of_layer in record["layers"].values():
            of_layer["weight_norm"] = (2.0 + 1e-3 * step) * (factor if late else 1.0)

    return training(range(240), change)


@pytest.mark.parametrize("session", [0, 1])
def test_weights_that_are_not_those_that_were_saved_show_at_once_at_a_resume(session: int) -> None:
    ((kind, step),) = kinds(continued(1.01, session))
    assert (kind, step) == ("resume_corruption", 200)


@pytest.mark.parametrize("session", [0, 1])
def test_weights_that_go_on_or_are_cut_anew_are_quiet_at_a_resume(session: int) -> None:
    assert kinds(continued(1.0, session)) == []
    assert kinds(continued(1.01, session, kind="world_size", size=8)) == []


def scaled(overflows: Callable[[int], bool], steps: range) -> list[dict[str, Any]]:
    scale, records = 65536.0, model_only(falling, steps)
    for record in records:
        record |= {"loss_scale": scale, "skipped": int(overflows(record["step"]))}
        scale = scale / 2 if record["skipped"] else scale
    return records


def test_a_loss_scale_that_halves_again_and_again_collapses() -> None:
    ((kind, step),) = kinds(scaled(lambda step: step >= 300 and step % 3 == 0, range(360)))
    assert kind == "loss_scale_collapse"
    assert 309 <= step <= 328


@pytest.mark.parametrize(
    "overflows", [lambda step: step < 60 and step % 6 == 0, lambda step: step % 100 == 99]
)
def test_the_search_for_a_scale_and_rare_overflows_are_quiet(overflows: Callable[[int], bool]) -> None:
    assert kinds(scaled(overflows, range(800))) == []


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


def test_a_positive_loss_that_jumps_below_0_is_out_of_range() -> None:
    found = kinds(model_only(lambda step: 2.0 if step < 200 else -0.1, range(240)))
    assert found[0] == ("loss_out_of_range", 200)


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


def test_a_run_that_always_spikes_is_quiet() -> None:
    records = model_only(lambda step: 2.5, range(1500), 0.01)
    for record in records:
        record["loss"] *= 1.6 if record["step"] % 50 == 7 else 1
    assert kinds(records) == []


def test_gradients_that_are_never_cleared_add_up() -> None:
    def adding(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] = 1 + 0.5 * max(0, step - 299) + 0.02 * math.sin(step)

    records = [{k: v for k, v in each.items() if k != "layers"} for each in training(range(340), adding)]
    found = [each.kind for each in transitions_of(records)]
    assert "missing_zero_grad" in found or "gradient_spike" in found


def test_gradients_that_double_again_and_again_explode() -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= 1.05 ** max(0, step - 400)

    assert serious(transitions_of(training(range(500), growing)))


def test_a_layer_far_off_its_siblings_in_the_first_steps_is_poorly_initialised() -> None:
    layers = tuple(f"h.{at}" for at in range(12))

    def large(step: int, record: dict[str, Any]) -> None:
        record["layers"]["h.7"]["weight_norm"] *= 10

    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    assert kinds(records) == []
    for record in records:
        large(record["step"], record)
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.layer) == ("poor_initialisation", "h.7")
    assert incident.step <= 20


@pytest.mark.parametrize(("gain", "found"), [(1.2, []), (1.8, ["poor_initialisation"])])
def test_activations_that_grow_wild_with_depth_are_poorly_initialised(gain: float, found: list[str]) -> None:
    layers = tuple(f"h.{at}" for at in range(14))
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    for record in records:
        for depth, name in enumerate(layers):
            record["layers"][name]["act_rms"] *= gain**depth
    assert [kind for kind, _ in kinds(records)] == found


@pytest.mark.parametrize(
    ("layers", "odd"),
    [(("h.0.up", "h.1.up", "h.2.up", "head"), "h.1.up"), (("conv.0", "conv.1", "head"), "conv.0")],
)
def test_so_is_one_that_has_only_one_or_two_of_its_like(layers: tuple[str, ...], odd: str) -> None:
    records = [{"run": "r1", **healthy(step, layers=layers)} for step in range(30)]
    assert kinds(records) == []
    for record in records:
        record["layers"][odd]["weight_norm"] *= 10
    (incident,) = serious(transitions_of(records))
    assert incident.kind == "poor_initialisation"
    assert odd in incident.layers


def test_a_loss_far_above_its_start_that_stays_there_is_critical() -> None:
    def diverges(step: int, record: dict[str, Any]) -> None:
        record["loss"] *= 8 if step >= 300 else 1

    transitions = transitions_of(training(range(360), diverges))
    assert [each.severity for each in transitions][-1] is Severity.CRITICAL
    assert min(each.step for each in transitions if each.severity is Severity.CRITICAL) <= 335


def test_clipping_at_each_step_where_it_was_rare_is_a_remark() -> None:
    records = model_only(falling, range(600))
    for record in records:
        record["clip_coef"] = 0.5 if record["step"] >= 400 or record["step"] % 10 == 0 else 1.0
    transitions = transitions_of(records)
    assert {(each.kind, each.severity) for each in transitions} == {("clip_saturation", Severity.INFO)}


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


def moving(step: float) -> float:
    """A weight's norm that takes a step of its own each time."""
    return 10 + 0.003 * math.sqrt(step) + 0.05 * math.sin(7 * step)


def with_norms(frozen: Callable[[str, int], float], steps: range, **fields: Any) -> list[dict[str, Any]]:
    """Layers whose norms move with `frozen(layer, step)` in place of the step."""

    def change(step: int, record: dict[str, Any]) -> None:
        for name, of_layer in record["layers"].items():
            of_layer["weight_norm"] = moving(frozen(name, step)) + 0.1 * len(name)

    return training(steps, change, **fields)


def test_a_layer_whose_norm_no_longer_moves_although_it_has_updates_is_frozen() -> None:
    records = with_norms(lambda name, step: min(step, 200) if name == "h.1" else step, range(240))
    (incident,) = serious(transitions_of(records))
    assert (incident.kind, incident.layer) == ("weights_frozen", "h.1")
    assert 203 <= incident.step <= 206


def test_all_layers_at_once_are_frozen_after_another_check() -> None:
    (incident,) = serious(transitions_of(with_norms(lambda _, step: min(step, 200), range(240))))
    assert incident.kind == "weights_frozen"
    assert 207 <= incident.step <= 216


@pytest.mark.parametrize("every", [2, 4, 8])
def test_weights_that_move_with_each_kth_record_only_are_accumulating(every: int) -> None:
    assert kinds(with_norms(lambda _, step: step // every * every, range(600))) == []


def test_layers_that_never_moved_are_frozen_by_design() -> None:
    assert kinds(with_norms(lambda name, step: 0 if name != "head" else step, range(300))) == []


def test_layers_frozen_by_hand_have_no_gradient() -> None:
    records = with_norms(lambda name, step: min(step, 200) if name != "head" else step, range(300))
    for record in records[200:]:
        for name, of_layer in record["layers"].items():
            if name != "head":
                del of_layer["grad_norm"], of_layer["update_ratio"]
    assert "weights_frozen" not in [kind for kind, _ in kinds(records)]


def test_weights_that_hardly_move_any_more_are_a_plateau() -> None:
    records = with_norms(lambda _, step: min(step, 300) + 4e-4 * max(0, step - 300), range(420))
    ((kind, step),) = kinds(records)
    assert kind == "loss_plateau"
    assert step <= 360


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


@pytest.mark.parametrize("total", [True, False])
def test_gradients_that_grow_slowly_for_two_hundred_steps_explode(total: bool) -> None:
    def growing(step: int, record: dict[str, Any]) -> None:
        factor = 1.02 ** max(0, step - 300)
        record["grad_norm_total"] *= factor
        for of_layer in record["layers"].values():
            of_layer["grad_norm"] *= factor
        if not total:  # then that of all layers is what they say together
            del record["grad_norm_total"]

    assert "gradient_explosion" in {each.kind for each in transitions_of(training(range(560), growing))}


@pytest.mark.parametrize("falls", [True, False])
def test_gradients_that_grow_while_the_loss_falls_must_grow_twice_as_far(falls: bool) -> None:
    def leaving(step: int, record: dict[str, Any]) -> None:
        record["grad_norm_total"] *= 1.05 ** min(max(0, step - 300), 80)
        if falls:
            record["loss"] *= 0.995 ** max(0, step - 300)

    told = transitions_of(training(range(400), leaving))
    assert ("gradient_explosion" in {each.kind for each in told}) is not falls


@pytest.mark.parametrize(("further", "found"), [(120, []), (500, ["lr_schedule"])])
def test_a_rate_of_0_after_its_decay_is_told_where_the_run_goes_on_for_long(
    further: int, found: list[str]
) -> None:
    records = with_lr(lambda step: 1e-3 * max(0.0, 1 - step / 1000), range(1000 + further))
    assert [kind for kind, _ in kinds(records)] == found
