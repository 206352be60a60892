from __future__ import annotations

from typing import Any

import numpy as np

from anomaly import codec
from anomaly.incidents import Severity, Transition
from anomaly.monitor.peers import MAX_WAITING_STEPS
from anomaly.records import Layout, LayoutMessage, StepMessage
from tests.monitor.logs import LAYERS, Log, Record, healthy, log_of, monitor, outcome_of


def of_ranks(steps: range, ranks: int, change: Any = None, **fields: Any) -> list[dict[str, Any]]:
    records = []
    for step in steps:
        for rank in range(ranks):
            record = {"run": "r1", **healthy(step, seed=rank), "rank": rank, **fields}
            if change is not None:
                change(step, rank, record)
            records.append(record)
    return records


def warnings(records: list[dict[str, Any]]) -> list[Transition]:
    transitions = outcome_of(log_of(records)).transitions
    return [each for _, each in transitions if each.severity is not Severity.INFO and each.status == "opened"]


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


def test_a_rank_that_leaves_with_its_world_made_smaller_is_a_resize() -> None:
    def shrunk(step: int, rank: int, record: dict[str, Any]) -> None:
        record["place"] = {"world_size": 4 if step < 30 else 3}

    records = [
        each for each in of_ranks(range(90), 4, shrunk) if not (each["rank"] == 3 and each["step"] >= 30)
    ]
    transitions = outcome_of(log_of(records)).transitions

    assert {(each.kind, each.severity) for _, each in transitions} == {("resize", Severity.INFO)}


def test_a_rank_that_stops_reporting_is_missing() -> None:
    records = [each for each in of_ranks(range(60), 4) if not (each["rank"] == 3 and each["step"] >= 30)]
    (incident,) = warnings(records)
    assert (incident.kind, incident.ranks) == ("partial_telemetry", (3,))


def test_half_of_the_ranks_leaving_is_a_resize() -> None:
    records = [each for each in of_ranks(range(60), 4) if not (each["rank"] >= 2 and each["step"] >= 30)]
    outcome = outcome_of(log_of(records))
    assert [(each.kind, each.severity) for _, each in outcome.transitions if each.status == "opened"] == [
        ("resize", Severity.INFO)
    ]


def test_charts_take_each_series_from_the_lowest_live_rank_on_arrival_and_once_per_step() -> None:
    partition, log = monitor(), Log()
    for record in of_ranks(range(30), 3):
        log.json(**record)
    alone = monitor()
    alone.process(log_of(each for each in of_ranks(range(30), 3) if each["rank"] == 0).records)
    partition.process(log.records)
    assert partition.runs["r1"].slab.dump() == alone.runs["r1"].slab.dump()


def test_pipeline_stages_each_feed_their_own_layers() -> None:
    def stage(_: int, rank: int, record: dict[str, Any]) -> None:
        mine = LAYERS[:2] if rank == 0 else LAYERS[2:]
        record["layers"] = {name: record["layers"][name] for name in mine}

    partition = monitor()
    partition.process(log_of(of_ranks(range(50), 2, stage)).records)
    state = partition.runs["r1"]
    learned = [state.slab.learned(slot) for slot in range(state.table.slots)]
    assert min(learned) >= 45
    assert max(learned) <= 50


def test_what_waits_for_comparison_is_bounded() -> None:
    partition, log = monitor(), Log()
    names = [f"layer.{at}" for at in range(2000)]
    rng = np.random.default_rng(0)
    for rank in range(300):
        values = rng.uniform(1, 2, len(names))
        log.json(
            run="r1",
            step=1,
            rank=rank,
            loss=1.0,
            layers={name: {"grad_norm": value} for name, value in zip(names, values, strict=True)},
            place={"world_size": 1000},
        )
    partition.process(log.records)
    waiting = sum(len(raw) for pending in partition.runs["r1"].pending for raw in pending.values.values())
    assert waiting <= 2 << 20


def test_a_world_of_any_size_costs_nothing_and_its_unseen_ranks_are_waited_for() -> None:
    records = of_ranks(range(20), 3, place={"world_size": 2_000_000_000})
    partition = monitor()
    partition.process(log_of(records).records)
    state = partition.runs["r1"]
    assert state.live is not None
    assert state.live.unseen == 2_000_000_000 - 3
    assert len(state.pending) <= 5, "four further messages end the waiting"


def test_a_message_of_thousands_of_steps_keeps_no_more_than_a_thousand_waiting() -> None:
    partition = monitor()
    layout = Layout((), (), ("loss",))
    partition.process([Record(0, codec.encode_layout(LayoutMessage("r1", layout)))])
    for rank in (0, 1):
        first = StepMessage("r1", rank, [0], [None], np.ones((1, 1), np.float32), layout.hash)
        partition.process([Record(1 + rank, codec.encode_steps(first))])
    steps = [step * 10**6 for step in range(1, 4097)]
    many = StepMessage("r1", 0, steps, [None] * 4096, np.ones((4096, 1), np.float32), layout.hash)
    outcome = partition.process([Record(3, codec.encode_steps(many))])
    assert outcome.counts["judged"] == 4096
    waiting = partition.runs["r1"].pending
    assert len(waiting) == MAX_WAITING_STEPS
    assert [each.step for each in waiting] == steps[-MAX_WAITING_STEPS:]
