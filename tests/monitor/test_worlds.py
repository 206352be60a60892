"""Which ranks there are: who left, who feeds the charts, and what waits for a comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from anomaly import codec
from anomaly.incidents import Severity
from anomaly.monitor.peers import MAX_WAITING_STEPS
from anomaly.records import Layout, LayoutMessage, StepMessage
from tests.monitor.logs import LAYERS, Log, Record, log_of, monitor, outcome_of
from tests.monitor.ranked import of_ranks, warnings


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
