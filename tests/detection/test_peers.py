"""Each published rule against its published definition, on series whose answer is known by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pytest

from benchmarks.detection import peer_layers, peer_losses
from benchmarks.detection.labels import Fault, Label
from benchmarks.detection.peer_runs import alarms_of, pages, score
from benchmarks.detection.peer_view import Alarm, View, over_ranks
from benchmarks.detection.peers import PEERS, Peer
from benchmarks.detection.series import RankSeries
from benchmarks.detection.tally import tally

Values = Sequence[float]
NOTHING = (np.empty(0), np.empty(0))


def losses(values: Values) -> View:
    return View((np.arange(float(len(values))), np.array(values, dtype=float)), NOTHING)


def norms(values: Values) -> View:
    return View(NOTHING, (np.arange(float(len(values))), np.array(values, dtype=float)))


def rank(values: Mapping[str, Mapping[str, Values]], number: int = 0) -> RankSeries:
    """signal → layer → values, all layers of a signal equally long."""
    layers = ("", *dict.fromkeys(layer for of in values.values() for layer in of if layer))
    count = len(next(iter(next(iter(values.values())).values())))
    dense = {name: np.full((count, len(layers)), np.nan) for name in values}
    measured = {name: np.zeros((count, len(layers)), dtype=np.bool_) for name in values}
    for name, of in values.items():
        for layer, series in of.items():
            dense[name][:, layers.index(layer)] = series
            measured[name][:, layers.index(layer)] = True
    return RankSeries(number, np.arange(float(count)), np.full(count, np.nan), layers, dense, measured)


def layers(values: Mapping[str, Mapping[str, Values]]) -> View:
    return View(NOTHING, NOTHING, (rank(values),))


def steps(alarms: Iterable[Alarm]) -> list[float]:
    return sorted(alarm.step for alarm in alarms)


def test_kill_loss_spike_alarms_at_the_fifth_in_a_row_at_twice_the_mean_of_a_hundred() -> None:
    assert steps(peer_losses.kill_loss_spike(losses([1.0] * 100 + [4.0] * 6), 2)) == [104, 105]
    assert steps(peer_losses.kill_loss_spike(losses([1.0] * 100 + [4.0] * 4 + [1.0] + [4.0] * 4), 2)) == []


def test_kill_loss_spike_is_silent_until_its_window_is_full_and_lets_outliers_into_it() -> None:
    assert steps(peer_losses.kill_loss_spike(losses([1.0] * 50 + [9.0] * 40), 2)) == []
    long = steps(peer_losses.kill_loss_spike(losses([1.0] * 100 + [2.5] * 60), 2))
    # from the 18th on the mean of the window is above 1.25
    assert long == list(range(104, 117))


def test_one_nan_blinds_kill_loss_spike() -> None:
    assert steps(peer_losses.kill_loss_spike(losses([1.0] * 100 + [math.nan] + [9.0] * 50), 2)) == []


def test_nan_monitors_see_a_nan_and_the_others_an_infinity_too() -> None:
    view = losses([1.0, math.nan, 1.0, math.inf])
    assert steps(peer_losses.nan_monitor(view, 0)) == [1]
    assert steps(peer_losses.terminate_on_nan(view, 0)) == [1, 3]


def test_megatron_compares_with_ten_times_the_largest_of_the_first_hundred_for_ever() -> None:
    start = [1.0] * 50 + [3.0] + [1.0] * 49
    assert steps(peer_losses.megatron(losses([*start, 29.0, 30.0, 29.0, *[30.0] * 3]), 10)) == [
        101,
        103,
        104,
        105,
    ]
    assert steps(peer_losses.megatron(losses([1.0, math.nan, *[1.0] * 110, math.inf]), 10)) == [1, 112]


def test_olmo_waits_for_64_and_alarms_above_six_deviations_of_the_last_128() -> None:
    values = [0.9, 1.1] * 100
    deviation = float(np.std(values[-128:], ddof=1))
    for rise, alarms in ((5.9, []), (6.1, [200.0])):
        assert steps(peer_losses.olmo_skip_step(losses([*values, 1 + rise * deviation]), 6)) == alarms
        assert steps(peer_losses.olmo_skip_step(norms([*values, 1 + rise * deviation]), 6)) == alarms
    assert steps(peer_losses.olmo_skip_step(losses([0.9, 1.1] * 31 + [9.0]), 6)) == []


def test_olmo_alarms_at_what_cannot_be_compared_as_long_as_a_nan_is_in_its_window() -> None:
    alarms = steps(peer_losses.olmo_skip_step(losses([0.9, 1.1] * 64 + [math.nan] + [1.0] * 200), 6))
    assert alarms == list(range(128, 128 + 129))


def test_lightning_wants_worse_than_the_last_and_far_from_the_mean_of_ten() -> None:
    assert steps(peer_losses.lightning(losses([1.0] * 20 + [2.9, 1.0, 0.0]), 2)) == []
    assert steps(peer_losses.lightning(losses([1.0] * 20 + [3.1, 1.0, 3.1]), 2)) == [20, 22]
    assert steps(peer_losses.lightning(losses([-1.0] * 20 + [0.9, 1.5]), 2)) == [21]
    assert steps(peer_losses.lightning(losses([1.0, math.nan, 1.0, math.inf, 1.0]), 2)) == [1, 3]


def test_zclip_alarms_above_its_z_after_25_and_learns_the_clipped_value() -> None:
    values = [0.9, 1.1] * 20
    alarms = steps(peer_losses.zclip(norms([*values, 1.2, *values[:10], 9.0, 9.0]), 2.5))
    assert alarms == [51, 52]
    assert steps(peer_losses.zclip(norms([1.0, 1.1] * 12 + [50.0]), 2.5)) == []
    first = [0.9, 1.1] * 12 + [1.0]
    mean, variance, expected = float(np.mean(first)), float(np.var(first)), []
    for step in range(25, 425):
        deviation = math.sqrt(variance)
        z = (9.0 - mean) / (deviation + 1e-6)
        expected += [float(step)] if z > 2.5 else []
        learned = mean + 2.5 / z * 2.5 * deviation if z > 2.5 else 9.0
        mean += 0.03 * (learned - mean)
        variance += 0.03 * ((learned - mean) ** 2 - variance)
    assert len(expected) > 50
    assert steps(peer_losses.zclip(norms(first + [9.0] * 400), 2.5)) == expected


def test_one_nan_blinds_zclip_for_good() -> None:
    assert steps(peer_losses.zclip(norms([0.9, 1.1] * 20 + [math.nan] + [50.0] * 500), 2.5)) == []


def test_wandb_alarms_above_three_deviations_of_the_last_thirty_and_once_a_day_means_once_a_run() -> None:
    values = [0.9, 1.1] * 15
    deviation = float(np.std(values, ddof=1))
    assert steps(peer_losses.wandb_z(losses([*values, 1 + 2.9 * deviation]), 3)) == []
    assert steps(peer_losses.wandb_z(losses([*values, 1 + 3.1 * deviation]), 3)) == [30]
    assert steps(peer_losses.wandb_z(losses([*values[:-1], 9.0]), 3)) == []
    twice = losses([*values, 9.0, *values, 9.0])
    assert steps(peer_losses.wandb_z(twice, 3)) == [30, 61]
    assert steps(peer_losses.wandb_z_once(twice, 3)) == [30]
    assert steps(peer_losses.wandb_z_once(losses(values), 3)) == []


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        ("grad_absmax", 9e-8),
        ("act_zero_frac", 0.51),
        ("update_ratio", 9e-9),
        ("update_ratio", 11.0),
        ("act_rms", math.nan),
        ("act_rms", math.inf),
        ("grad_nonfinite", 1.0),
    ],
)
def test_sagemaker_looks_at_what_it_saves_alone(signal: str, value: float) -> None:
    healthy = {
        "grad_absmax": 1.0,
        "act_zero_frac": 0.5,
        "update_ratio": 1e-3,
        "act_rms": 1.0,
        "grad_nonfinite": 0.0,
    }
    for at, alarms in ((500, [Alarm(500.0, "b")]), (499, [])):
        values = {name: {"a": [normal] * 600, "b": [normal] * 600} for name, normal in healthy.items()}
        values[signal]["b"][at] = value
        assert list(peer_layers.sagemaker(layers(values), 500)) == alarms


def test_sagemaker_alarms_at_weights_unchanged_over_three_saves_and_a_loss_that_does_not_fall() -> None:
    weights = [5.0 - 1e-4 * step for step in range(1001)] + [4.0] * 1001
    assert list(peer_layers.sagemaker(layers({"weight_norm": {"a": weights}}), 500)) == []
    frozen = [5.0 - 1e-4 * step for step in range(400)] + [4.0] * 1602
    alarms = list(peer_layers.sagemaker(layers({"weight_norm": {"a": frozen}}), 500))
    assert alarms == [Alarm(1500.0, "a"), Alarm(2000.0, "a")]
    flat = View(
        (np.arange(1501.0), np.r_[np.full(500, 5.0), np.full(500, 4.0), np.full(501, 3.999)]), NOTHING
    )
    with_ranks = View(flat.loss, NOTHING, (rank({"act_mean": {"a": [0.0] * 2}}),))
    assert steps(peer_layers.sagemaker(with_ranks, 500)) == [1000, 1500]


def test_adagc_alarms_above_its_factor_of_the_average_and_learns_the_clipped_norm() -> None:
    view = layers({"grad_norm": {"a": [1.0] * 50 + [1.04, 1.06, 1.0], "b": [1.0] * 53}})
    assert list(peer_layers.adagc(view, 1.05)) == [Alarm(51.0, "a")]
    doubled = layers({"grad_norm": {"a": [1.0] * 10 + [2.0] * 2000}})
    # each step adds 0.1 % to the average, until twice the old norm is within the factor
    alarms = steps(peer_layers.adagc(doubled, 1.05))
    assert alarms == [float(step) for step in range(10, 10 + len(alarms))]
    assert len(alarms) == math.ceil(math.log(2 / 1.05) / math.log(0.98 + 0.02 * 1.05))


def test_spam_alarms_where_the_square_is_5000_times_the_second_moment() -> None:
    times = math.sqrt(5000)
    view = layers({"grad_norm": {"a": [1.0] * 500 + [0.99 * times], "b": [1.0] * 500 + [1.01 * times]}})
    assert list(peer_layers.spam(view, 5000)) == [Alarm(500.0, "b")]


def test_train_sdc_names_the_rank_whose_residual_gain_leaves_its_peers() -> None:
    random = np.random.default_rng(1)
    ranks = []
    for number in range(4):
        gain = random.normal(0, 0.01, 200) + (0.2 * (np.arange(200) >= 100) if number == 2 else 0)
        ranks.append(
            rank({"act_in_rms": {"a": [1.0] * 200}, "act_rms": {"a": np.exp(gain).tolist()}}, number)
        )
    alarms = list(peer_layers.train_sdc(View(NOTHING, NOTHING, tuple(ranks)), 6))
    assert {(alarm.layer, alarm.rank) for alarm in alarms} == {("a", 2)}
    assert 130 <= min(alarm.step for alarm in alarms) <= 140  # when half of its window of 64 is off
    assert list(peer_layers.train_sdc(View(NOTHING, NOTHING, tuple(ranks[:2])), 6)) == []


def test_rolling_z_names_the_layer_above_six_deviations_of_its_last_hundred() -> None:
    calm = [0.9, 1.1] * 60
    deviation = float(np.std(calm[-100:], ddof=1))
    view = layers({"grad_norm": {"a": [*calm, 1 + 5.9 * deviation], "b": [*calm, 1 + 6.1 * deviation]}})
    assert list(peer_layers.rolling_z(view, 6)) == [Alarm(120.0, "b")]


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_rule_takes_a_run_without_values_and_one_full_of_nan(peer: Peer) -> None:
    empty = View(NOTHING, NOTHING, (rank({"loss": {"": [math.nan] * 3}}),))
    broken = losses([math.nan] * 200)
    for view in (empty, broken, View(NOTHING, NOTHING)):
        found = alarms_of(view, [peer])
        assert len(found) == 1


def test_a_trainers_loss_is_the_mean_over_ranks_and_one_ranks_nan_is_everyones() -> None:
    ranks = [
        rank({"loss": {"": values}}, number)
        for number, values in enumerate(([1.0, 3.0, 5.0], [3.0, math.nan, 5.0]))
    ]
    _, values = over_ranks(ranks, "loss")
    assert values[[0, 2]].tolist() == [2.0, 5.0]
    assert math.isnan(values[1])


FAULT = Fault("F09", "layer_gradient_spike", 500, 25, layer="b")
LABEL = Label("run", "develop", "model", 1000, healthy=False, fault=FAULT)
Alarms = list[tuple[float, list[str], list[int]]]


@pytest.mark.parametrize(
    ("alarmed", "found", "false"),
    [
        ([10, 60, 110], False, 1),
        ([10, 61], False, 2),
        ([510], True, 0),
        ([480, 510], False, 1),
        ([440, 510], True, 1),
        ([526], False, 0),
    ],
)
def test_alarms_within_fifty_quiet_steps_count_once_where_the_first_of_them_is(
    alarmed: Sequence[float], found: bool, false: int
) -> None:
    whole = tally([score(LABEL, [(step, [], []) for step in alarmed])])
    assert (whole.found == 1, whole.false_alarms) == (found, false)


def test_an_events_first_three_layers_are_its_suspects() -> None:
    alarms: Alarms = [(501, ["a"], []), (502, ["c", "b"], []), (503, ["d"], [])]
    assert [page.layers for page in pages(alarms)] == [("a",), ("a", "c", "b"), ("a", "c", "b")]
    found = score(LABEL, alarms).faults[0].found
    assert found is not None
    assert (found.localised, found.localised_at_once, found.delay) == (True, False, 1)
