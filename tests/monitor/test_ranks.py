"""Ranks against their peers: who is out, and by what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anomaly.incidents import Severity
from tests.monitor.logs import healthy, log_of, outcome_of
from tests.monitor.ranked import of_ranks, warnings


def test_calm_ranks_say_nothing() -> None:
    assert outcome_of(log_of(of_ranks(range(200), 4))).transitions == []


def test_a_nan_on_a_rank_that_feeds_no_chart_is_found_and_the_rank_named() -> None:
    def poison(step: int, rank: int, record: dict[str, Any]) -> None:
        if step >= 50 and rank == 2:
            record["layers"]["h.1"]["grad_norm"] = float("nan")

    (incident,) = warnings(of_ranks(range(60), 4, poison))
    assert (incident.kind, incident.ranks, incident.layer, incident.step) == (
        "nonfinite_gradient",
        (2,),
        "h.1",
        50,
    )


def test_a_rank_whose_gradient_leaves_its_peers_is_named_with_its_layer() -> None:
    def leave(step: int, rank: int, record: dict[str, Any]) -> None:
        if step >= 50 and rank == 3:
            record["layers"]["h.2"]["grad_norm"] *= 8

    (incident,) = warnings(of_ranks(range(80), 4, leave))
    assert (incident.kind, incident.ranks, incident.layer) == ("rank_gradient_outlier", (3,), "h.2")
    assert incident.step <= 53


def test_a_rank_that_was_hardly_ever_anything_but_far_above_its_peers_is_named_soon() -> None:
    """Before the chart knows what is usual of anybody; the readings are rare."""

    def from_early_on(step: int, rank: int, record: dict[str, Any]) -> None:
        for of_layer in record["layers"].values():
            of_layer["grad_norm"] *= 8.0 if step >= 3 and rank == 1 else 1.0

    records = of_ranks(range(12), 4, from_early_on)
    for record in records:
        record["step"] *= 10
    (incident,) = warnings(records)
    assert (incident.kind, incident.ranks, incident.step) == ("rank_gradient_outlier", (1,), 70)


def test_a_rank_of_which_one_layer_is_far_above_is_not_said_to_be_so_before_its_usual_is_known() -> None:
    def one_layer(step: int, rank: int, record: dict[str, Any]) -> None:
        record["layers"]["h.1"]["grad_norm"] *= 8.0 if rank == 1 else 1.0

    assert warnings(of_ranks(range(60), 4, one_layer)) == []


def test_ranks_of_few_samples_are_wild_and_a_young_run_has_not_shown_how_wild() -> None:
    noise = np.random.default_rng(2)

    def few_samples(step: int, rank: int, record: dict[str, Any]) -> None:
        for of_layer in record["layers"].values():
            of_layer["grad_norm"] *= noise.gamma(0.3)

    assert [each.kind for each in warnings(of_ranks(range(60), 8, few_samples))] == []


def test_replicas_whose_weights_differ_are_critical_and_the_minority_is_named() -> None:
    def diverge(step: int, rank: int, record: dict[str, Any]) -> None:
        record["weight_hash"] = step % 1000 + (7 if step >= 40 and rank == 1 else 0)

    (incident,) = warnings(of_ranks(range(60), 4, diverge))
    assert (incident.kind, incident.ranks, incident.severity) == (
        "replica_divergence",
        (1,),
        Severity.CRITICAL,
    )
    assert incident.step <= 41


def test_hashes_that_never_agreed_are_shards_not_replicas() -> None:
    def shards(step: int, rank: int, record: dict[str, Any]) -> None:
        record["weight_hash"] = 1000 * rank + step

    assert warnings(of_ranks(range(60), 4, shards)) == []


def test_replicas_are_known_by_their_hashes_where_no_place_is() -> None:
    def shards(step: int, rank: int, record: dict[str, Any]) -> None:
        record["weight_hash"] = 1000 * (rank % 2) + step + (7 if step >= 40 and rank == 4 else 0)

    (incident,) = warnings(of_ranks(range(60), 6, shards))
    assert (incident.kind, incident.ranks) == ("replica_divergence", (4,))
    assert incident.step <= 41


def test_shards_that_differ_for_ever_are_quiet() -> None:
    def shard(_: int, rank: int, record: dict[str, Any]) -> None:
        for at, of_layer in enumerate(record["layers"].values()):
            of_layer["grad_norm"] *= (1, 0.01, 30, 5, 0.3)[(at + rank) % 5]
        record["step_seconds"] = 0.1 * (1 + 0.1 * rank)

    assert warnings(of_ranks(range(300), 5, shard)) == []


def test_ranks_in_other_places_are_no_peers() -> None:
    def stage(step: int, rank: int, record: dict[str, Any]) -> None:
        record["place"] = {"world_size": 8, "pipeline": rank // 5}
        if step >= 50 and rank >= 5:
            record["step_seconds"] = 3.0
            record["layers"]["h.1"]["grad_norm"] *= 20
        else:
            record["step_seconds"] = 0.2

    assert warnings(of_ranks(range(80), 8, stage)) == []


def test_of_two_ranks_the_one_that_left_its_own_past_is_named() -> None:
    def leave(step: int, rank: int, record: dict[str, Any]) -> None:
        if step >= 50 and rank == 1:
            record["layers"]["h.2"]["grad_norm"] *= 8

    (incident,) = warnings(of_ranks(range(80), 2, leave))
    assert (incident.kind, incident.ranks, incident.layer) == ("rank_gradient_outlier", (1,), "h.2")


def test_a_layers_gain_on_one_rank_that_is_out_by_little_for_long_is_found() -> None:
    def corrupt(step: int, rank: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([7, step, rank])
        for name, of_layer in record["layers"].items():
            of_layer["act_in_rms"] = of_layer["act_rms"]
            of_layer["act_rms"] *= float(np.exp(0.01 * noise.standard_normal()))
            if step >= 100 and rank == 2 and name == "h.1":
                of_layer["act_rms"] *= 1.05

    (incident,) = warnings(of_ranks(range(160), 4, corrupt))
    assert (incident.kind, incident.ranks, incident.layer) == ("residual_gain_outlier", (2,), "h.1")
    assert incident.statistic == "residual_gain"
    assert 100 <= incident.step <= 120
    assert abs(incident.first_step - 100) <= 3


def test_a_bad_batch_on_one_rank_is_found_in_its_step() -> None:
    def garbage(step: int, rank: int, record: dict[str, Any]) -> None:
        if step == 100 and rank == 3:
            record["loss"] *= 3
            record["layers"]["embed"]["act_rms"] *= 3

    (incident,) = warnings(of_ranks(range(120), 4, garbage))
    assert (incident.kind, incident.ranks, incident.layer) == ("bad_batch", (3,), "embed")
    assert incident.step <= 101
    assert incident.first_step == 100


@pytest.mark.parametrize(
    ("loss", "layer", "found"), [(1.25, 1.6, True), (1.25, 1.0, False), (1.0, 1.6, False)]
)
def test_a_bad_batch_that_a_layer_shows_need_not_stand_out_as_much_by_its_loss(
    loss: float, layer: float, found: bool
) -> None:
    def garbage(step: int, rank: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([6, step, rank]).standard_normal(2)
        record["loss"] = 3.4 * float(np.exp(0.05 * noise[0])) * (loss if (step, rank) == (100, 3) else 1.0)
        size = layer if (step, rank) == (100, 3) else 1.0
        record["layers"]["embed"]["act_rms"] = size * float(np.exp(0.05 * noise[1]))

    assert [each.ranks for each in warnings(of_ranks(range(120), 4, garbage))] == ([(3,)] if found else [])


def test_a_bad_batch_shows_in_the_loss_that_all_ranks_share() -> None:
    def garbage(step: int, rank: int, record: dict[str, Any]) -> None:
        record["loss"] = healthy(step, seed=99)["loss"] * (2 if step == 100 else 1)
        if step == 100 and rank == 3:
            record["layers"]["embed"]["act_rms"] *= 3

    (incident,) = warnings(of_ranks(range(120), 4, garbage))
    assert (incident.kind, incident.ranks) == ("bad_batch", (3,))


def test_a_bad_batch_that_lasts_shows_in_the_ranks_own_loss_alone() -> None:
    def garbage(step: int, rank: int, record: dict[str, Any]) -> None:
        if step >= 100 and rank == 3:
            record["loss"] *= 1.4

    (incident,) = warnings(of_ranks(range(120), 4, garbage))
    assert (incident.kind, incident.ranks, incident.layer) == ("bad_batch", (3,), None)
    assert incident.statistic == "loss"
    assert incident.step <= 110


def test_a_bad_batch_for_five_steps_is_found_though_one_of_them_is_within_what_ranks_do() -> None:
    def garbage(step: int, rank: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([5, step, rank]).standard_normal()
        record["loss"] = 3.4 * float(np.exp(0.03 * noise))
        if 100 <= step < 105 and rank == 2:
            record["loss"] = 3.4 * (1.1 if step == 101 else 1.2)

    (incident,) = warnings(of_ranks(range(130), 6, garbage))
    assert (incident.kind, incident.ranks, incident.statistic) == ("bad_batch", (2,), "loss")
    assert incident.step <= 104


def test_a_gain_that_is_out_by_one_percent_is_nobodys_concern() -> None:
    def offset(step: int, rank: int, record: dict[str, Any]) -> None:
        for name, of_layer in record["layers"].items():
            of_layer["act_in_rms"] = of_layer["act_rms"]
            if step >= 100 and rank == 2 and name == "h.1":
                of_layer["act_rms"] *= 1.012

    assert warnings(of_ranks(range(200), 4, offset)) == []


def test_one_rank_with_a_hard_batch_is_no_bad_batch() -> None:
    def hard(step: int, rank: int, record: dict[str, Any]) -> None:
        if step == 100 and rank == 3:
            record["loss"] *= 3

    assert warnings(of_ranks(range(120), 4, hard)) == []


def test_ranks_that_wait_for_their_data_are_stragglers() -> None:
    def starve(step: int, rank: int, record: dict[str, Any]) -> None:
        waits = step >= 50 and rank in (2, 3)
        record["data_seconds"] = 0.2 if waits else 0.001 * (1 + rank)
        record["step_seconds"] = 0.2

    (incident,) = warnings(of_ranks(range(80), 8, starve))
    assert (incident.kind, incident.ranks, incident.statistic) == ("straggler", (2, 3), "data_seconds")


def test_a_rank_that_is_a_fifth_slower_than_it_was_is_a_straggler() -> None:
    def slow(step: int, rank: int, record: dict[str, Any]) -> None:
        noise = np.random.default_rng([3, step, rank])
        usual = 0.2 * (1 + 0.1 * rank)
        record["step_seconds"] = usual * noise.uniform(0.98, 1.02) * (1.2 if step >= 50 and rank == 1 else 1)

    (incident,) = warnings(of_ranks(range(120), 4, slow))
    assert (incident.kind, incident.ranks) == ("straggler", (1,))


def test_a_straggler_is_named_by_its_own_step_time() -> None:
    def slow(step: int, rank: int, record: dict[str, Any]) -> None:
        record["step_seconds"] = 0.2 * (3 if step >= 50 and rank == 1 else 1)

    (incident,) = warnings(of_ranks(range(80), 4, slow))
    assert (incident.kind, incident.ranks) == ("straggler", (1,))


@pytest.mark.parametrize(
    ("times", "shards", "told", "found"),
    [
        (1.5, False, True, 0),
        (2.6, False, True, 1),
        (2.6, True, True, 0),
        (2.6, False, False, 1),
        (2.6, True, False, 0),
        (0.4, False, True, 0),
    ],
)
def test_a_ranks_gradients_count_from_a_doubling_on_and_need_more_where_ranks_hold_shards(
    times: float, shards: bool, told: bool, found: int
) -> None:
    """By weights that differ, or, where none are `told`, by gradients that do, in each layer in another way."""

    def drift(step: int, rank: int, record: dict[str, Any]) -> None:
        for at, of_layer in enumerate(record["layers"].values()):
            of_layer["weight_norm"] *= 1.0 + 0.1 * rank * shards
            of_layer["grad_norm"] *= 1.0 + 0.5 * ((rank + at) % 3) * shards
            if not told:
                del of_layer["weight_norm"]
        if rank == 2 and step >= 100:
            record["layers"]["h.1"]["grad_norm"] *= times

    assert [each.kind for each in warnings(of_ranks(range(104), 4, drift))] == [
        "rank_gradient_outlier"
    ] * found


@pytest.mark.parametrize(("one_loss", "found"), [(False, ["rank_gradient_outlier"]), (True, [])])
def test_gradients_of_one_loss_that_differ_are_parts_of_one_gradient(
    one_loss: bool, found: list[str]
) -> None:
    noise = np.exp(0.35 * np.random.default_rng(5).standard_normal((64, 4)))

    def apart(step: int, rank: int, record: dict[str, Any]) -> None:
        if one_loss:
            record["loss"] = healthy(step)["loss"]
        record["layers"]["h.2"]["grad_norm"] *= noise[step, rank] * (3.0 if step >= 50 and rank == 3 else 1.0)

    assert [each.kind for each in warnings(of_ranks(range(64), 4, apart))] == found


def test_a_rank_far_above_its_peers_is_found_though_all_report_one_loss() -> None:
    def leave(step: int, rank: int, record: dict[str, Any]) -> None:
        record["loss"] = healthy(step)["loss"]
        record["layers"]["h.2"]["grad_norm"] *= 20.0 if step >= 50 and rank == 3 else 1.0

    (incident,) = warnings(of_ranks(range(80), 4, leave))
    assert (incident.kind, incident.ranks, incident.layer) == ("rank_gradient_outlier", (3,), "h.2")
