"""Limits of a run and of a partition: what is beyond them is refused with what to do, and leaves nothing behind."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from anomaly import codec
from anomaly.errors import Reason
from anomaly.monitor import Limits, snapshot
from anomaly.monitor.numbering import MAX_SIGNALS_A_RUN
from anomaly.monitor.series import SeriesTable
from anomaly.records import Layout, LayoutMessage, StepMessage
from tests.monitor.encoded import compact
from tests.monitor.logs import Log, Record, monitor


def test_a_series_beyond_the_limit_is_refused_and_the_rest_judged() -> None:
    log = Log()
    for step in range(3):
        log.json(run="r1", step=step, loss=1.0, layers={str(at): {"grad_norm": 1.0} for at in range(10)})
    partition = monitor(limits=Limits(series_per_run=5))
    outcome = partition.process(log.records)
    assert outcome.counts["series_limit"] == 18
    assert outcome.counts["judged"] == 3
    assert partition.runs["r1"].table.slots == 5


def test_names_that_never_stop_changing_fill_a_run_once_and_leave_nothing_behind() -> None:
    partition, log = monitor(limits=Limits(series_per_run=50)), Log()
    for step in range(200):
        log.json(run="r1", step=step, layers={f"layer-{step}": {"grad_norm": 1.0}})
    outcome = partition.process(log.records)
    table = partition.runs["r1"].table
    assert (table.slots, len(table.layers)) == (50, 50)
    assert outcome.counts["series_limit"] == 150
    assert outcome.counts["judged"] == 200
    tables = [each for each in gc.get_objects() if type(each) is SeriesTable]  # isinstance would ask proxies
    kept = [each for each in tables if "layer-0" in each.layers]
    assert kept == [table]


def test_a_run_of_ever_new_signals_stays_within_what_a_table_can_number() -> None:
    partition, log = monitor(), Log()
    for step in range(140):
        log.json(run="r1", step=step, **{f"s-{step}-{at}": 1.0 for at in range(250)})
    outcome = partition.process(log.records)
    assert not outcome.dead_letters
    assert len(partition.runs["r1"].table.signals) == MAX_SIGNALS_A_RUN
    assert outcome.counts["series_limit"] == 140 * 250 - MAX_SIGNALS_A_RUN


def test_a_record_whose_layout_never_comes_does_not_hold_the_commit_for_ever() -> None:
    log = Log()
    log.add(compact(1, "stuck"))
    log.json(run="good", step=1, loss=1.0)
    partition = monitor()
    assert not partition.process(log.records).dead_letters
    late = Record(100_002, log.records[1].value)
    outcome = partition.process([late])
    assert [(letter.reason, letter.record.offset) for letter in outcome.dead_letters] == [
        (Reason.LAYOUT_MISSING, 0)
    ]
    assert partition.oldest_held() is None
    assert outcome.touched == {"good": 100_002, "stuck": 0}


def test_what_all_runs_of_a_partition_hold_is_bounded_together() -> None:
    layout = Layout(tuple(map(str, range(20_000))), ("grad_norm",), ())
    partition, letters = monitor(), []
    for at in range(300):
        letters += partition.process([Record(at, compact(1, f"r{at}", layout))]).dead_letters
    held = 300 - len(letters)
    assert [letter.record.offset for letter in letters] == list(range(len(letters)))
    assert 16 << 20 >= held * 80_000 > 15 << 20
    oldest = partition.oldest_held()
    assert oldest is not None
    assert oldest.record.offset == len(letters)


def test_layers_ranks_sessions_events_and_growth_have_limits_that_say_what_to_do() -> None:
    def refused(limits: Limits, *records: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
        log = Log()
        for record in records:
            log.json(run="r1", **record)
        outcome = monitor(limits=limits).process(log.records)
        return dict(outcome.counts), [f"{letter.reason}: {letter.detail}" for letter in outcome.dead_letters]

    def layers(*names: str) -> dict[str, Any]:
        return {name: {"grad_norm": 1.0} for name in names}

    counts, _ = refused(Limits(layers_per_run=2), {"step": 1, "layers": layers("a", "b", "c")})
    assert (counts["layer_limit"], counts["judged"]) == (1, 1)
    growing = [{"step": at, "layers": layers(str(at))} for at in range(5)]
    counts, _ = refused(Limits(layouts_per_run=3), *growing)
    assert (counts["series_limit"], counts["judged"]) == (2, 5)
    _, letters = refused(Limits(ranks_per_run=2), *({"step": 1, "rank": rank} for rank in range(3)))
    assert ["max_ranks_per_run" in letter for letter in letters] == [True]
    sessions = [{"step": at, "session": at, "sequence": 0} for at in range(4)]
    _, letters = refused(Limits(sessions_per_rank=3), *sessions)
    assert ["max_sessions_per_rank" in letter for letter in letters] == [True]
    events = [{"kind": "resume"}] * 3
    _, letters = refused(Limits(events_per_record=2), {"step": 1, "events": events})
    assert ["at most 2" in letter for letter in letters] == [True]


def test_names_that_are_refused_leave_nothing_behind() -> None:
    log = Log()
    for step in range(50):
        log.json(run="r1", step=step, loss=1.0, layers={f"l{step}": {f"s{step}": 1.0}}, **{f"m{step}": 1.0})
    partition = monitor(limits=Limits(series_per_run=20))
    partition.process(log.records)
    table = partition.runs["r1"].table
    assert (table.slots, len(table.layers), len(table.signals)) == (20, 9, 20)


def test_layouts_and_late_records_cannot_make_a_state_too_large_to_be_saved() -> None:
    log, letters = Log(), []
    for number in range(12):
        layout = Layout(tuple(f"{number}-{at}" + "x" * 150 for at in range(4_000)), ("grad_norm",))
        log.add(codec.encode_layout(LayoutMessage("r1", layout)))
    partition = monitor()
    letters = partition.process(log.records).dead_letters
    assert {letter.reason for letter in letters} == {Reason.LAYOUT_LIMIT}
    assert len(letters) == 6
    layout = Layout(tuple(str(at) for at in range(50_000)), ("grad_norm",))
    late = monitor()
    late.process([Record(0, codec.encode_layout(LayoutMessage("r1", layout)))])
    steps = [(5, rank) for rank in range(60)] + [(at, rank) for at in (1, 2) for rank in range(60)]
    for number, (at, rank) in enumerate(steps):
        values = np.ones((1, layout.width), np.float32)
        message = StepMessage("r1", rank, [at * 10**6], [None], values, layout.hash)
        late.process([Record(number + 1, codec.encode_steps(message))])
    assert len(snapshot.dump(late.runs["r1"])) < 15 << 20
