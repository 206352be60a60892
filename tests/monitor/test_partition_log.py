"""A partition as it comes: what is parked, held, forwarded, judged; cutting and replaying change nothing."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from anomaly import codec
from anomaly.errors import Reason
from anomaly.monitor import Limits, PartitionMonitor, snapshot
from anomaly.monitor.monitor import PREFLIGHT
from anomaly.records import Layout, LayoutMessage, StepMessage
from anomaly.topics import home_partition
from tests.monitor.encoded import LAYOUT, compact
from tests.monitor.logs import Log, Record, healthy, monitor, outcome_of, states, training

NAN = float("nan")


def test_what_cannot_be_read_is_parked_with_its_reason_and_the_rest_is_judged() -> None:
    log = Log()
    log.add(b"not json")
    log.add(b"")
    log.add(b"{" + b" " * 3000 + b"}")
    log.json(run="r1", step="soon")
    log.json(run="r1", step=1, loss=NAN)
    outcome = monitor(limits=Limits(max_message_bytes=2000)).process(log.records)
    assert [letter.reason for letter in outcome.dead_letters] == [
        Reason.UNDECODABLE,
        Reason.UNDECODABLE,
        Reason.TOO_LARGE,
        Reason.INVALID_RECORD,
    ]
    assert len(outcome.transitions) == 1


def test_a_record_before_its_layout_is_held_with_all_later_ones_and_judged_in_order() -> None:
    partition, log = monitor(), Log()
    log.add(compact(1))
    log.json(run="r1", step=2, loss=1.0)
    first = partition.process(log.records)
    assert first.counts["judged"] == 0
    oldest = partition.oldest_held()
    assert oldest is not None
    assert oldest.record.offset == 0
    assert not first.touched
    second = partition.process([log.add(codec.encode_layout(LayoutMessage("r1", LAYOUT)))])
    assert second.counts["judged"] == 2
    assert partition.oldest_held() is None
    assert second.touched == {"r1": 0}, "a commit must not pass a held record before its effect is saved"
    assert partition.runs["r1"].newest_step == 2_000_000


def test_past_the_bound_the_oldest_held_record_goes_to_the_dead_letters() -> None:
    log = Log()
    for step in range(258):
        log.add(compact(step))
    outcome = outcome_of(log)
    assert [letter.reason for letter in outcome.dead_letters] == [Reason.LAYOUT_MISSING] * 2


def test_a_record_that_contradicts_its_layout_is_parked() -> None:
    other = Layout(("a",), ("grad_norm",), ("loss",))
    log = Log()
    log.add(codec.encode_layout(LayoutMessage("r1", LAYOUT)))
    values = np.ones((1, other.width), np.float32)
    log.add(codec.encode_steps(StepMessage("r1", 0, [0], [None], values, LAYOUT.hash)))
    (letter,) = outcome_of(log).dead_letters
    assert letter.reason is Reason.LAYOUT_CONTRADICTION
    assert "3" in letter.detail


def test_a_record_away_from_home_is_sent_there_and_judged_once() -> None:
    home = home_partition(b"r1", 8)
    away = (home + 1) % 8
    value = json.dumps({"run": "r1", "step": 1, "loss": NAN}).encode()
    sent = PartitionMonitor(away, 8).process([Record(5, value)])
    (forward,) = sent.forwards
    assert (forward.partition, forward.key) == (home, b"r1")
    assert not sent.transitions
    headers = (("forwarded_partition", str(away).encode()), ("forwarded_offset", b"5"))
    at_home = PartitionMonitor(home, 8)
    outcome = at_home.process([Record(0, value, headers=headers), Record(1, value, headers=headers)])
    assert len(outcome.transitions) == 1
    assert outcome.counts["duplicate"] == 1
    elsewhere = PartitionMonitor((home + 2) % 8, 8).process([Record(0, value, headers=headers)])
    assert elsewhere.dead_letters[0].reason is Reason.WRONG_PARTITION


def test_a_fork_is_at_home_with_its_root() -> None:
    home = home_partition(b"root", 8)
    value = json.dumps({"run": "child", "step": 1, "fork": {"root": "root", "parent": "root", "step": 0}})
    assert PartitionMonitor(home, 8).process([Record(0, value.encode())]).counts["judged"] == 1


def test_what_preflight_wrote_is_skipped_and_said_so_that_nobody_counts_it() -> None:
    outcome = monitor().process([Record(0, b"", key=b"__preflight__", headers=(("preflight", b""),))])
    assert not outcome.dead_letters
    assert outcome.counts == {PREFLIGHT: 1}


def test_an_error_in_one_runs_update_parks_the_record_and_starts_that_run_cold() -> None:
    log = Log()
    for step in range(5):
        log.json(run="good", step=step, loss=1.0)
        log.json(run="bad", step=step, loss=1.0)
    partition = monitor()
    partition.process(log.records[:6])
    partition.runs["bad"].slab = None  # type: ignore[assignment]  # as a bug of ours would leave it
    outcome = partition.process(log.records[6:])
    assert [letter.reason for letter in outcome.dead_letters] == [Reason.PROCESSING_ERROR]
    assert partition.runs["bad"].readings == 1
    assert partition.runs["good"].readings == 5


def test_want_of_memory_is_not_the_records_fault_and_ends_the_worker() -> None:
    class Exhausted(dict[int, Any]):
        def get(self, *_: Any) -> Any:
            raise MemoryError

    log = Log()
    log.json(run="r1", step=0, loss=1.0)
    log.json(run="r1", step=1, loss=1.0)
    partition = monitor()
    partition.process(log.records[:1])
    state = partition.runs["r1"]
    state.ranks = Exhausted(state.ranks)
    with pytest.raises(MemoryError):
        partition.process(log.records[1:])


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Several runs and ranks, JSON and compact, faults, restarts, repeats, late layouts, noise."""
    log = Log()
    steps = dict.fromkeys(("a", "b"), 0)
    for _ in range(draw(st.integers(20, 120))):
        run = draw(st.sampled_from(("a", "b")))
        choice = draw(st.integers(0, 19))
        step = steps[run]
        steps[run] += 1
        if choice == 0:
            log.add(draw(st.sampled_from((b"", b"junk", b"{}"))))
        elif choice == 1:
            log.add(codec.encode_layout(LayoutMessage(run, LAYOUT)))
        elif choice == 2:
            log.add(compact(step, run))
        elif choice == 3:
            steps[run] = max(0, step - draw(st.integers(1, 5)))
        else:
            record = {"run": run, **healthy(step), "rank": draw(st.integers(0, 2)), "time": float(step)}
            if choice == 4:
                record["loss"] = NAN
            if choice == 5:
                record["layers"]["h.1"]["grad_norm"] *= 1e4
            if choice == 6:
                record["events"] = [{"kind": "resume"}]
            log.json(**record)
    return log


@settings(max_examples=40, deadline=None)
@given(logs(), st.data())
def test_cutting_the_log_anywhere_and_restoring_there_changes_no_bit(log: Log, data: st.DataObject) -> None:
    whole = monitor()
    expected = whole.process(log.records)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log.records)), max_size=4)))
    partition, transitions, letters = monitor(), [], []
    for start, end in zip([0, *cuts], [*cuts, len(log.records)], strict=True):
        outcome = partition.process(log.records[start:end])
        transitions += outcome.transitions
        letters += outcome.dead_letters
        if partition.oldest_held() is None:  # a crash here: the snapshots are all that is left
            runs = {run: snapshot.load(snapshot.dump(state)) for run, state in partition.runs.items()}
            partition = monitor(runs=runs)
    assert [(key, each.encode()) for key, each in transitions] == [
        (key, each.encode()) for key, each in expected.transitions
    ]
    assert [letter.record.offset for letter in letters] == [
        letter.record.offset for letter in expected.dead_letters
    ]
    assert states(partition) == states(whole)


@settings(max_examples=20, deadline=None)
@given(logs(), st.integers(0, 120))
def test_replaying_what_the_state_has_seen_changes_nothing(log: Log, back: int) -> None:
    partition = monitor()
    partition.process(log.records)
    before = states(partition)
    held = partition.oldest_held()
    again = partition.process(log.records[-back:]) if held is None else partition.drain()
    assert not again.transitions
    assert states(partition) == before


def test_the_seventh_run_does_not_feel_the_first() -> None:
    alone = monitor()
    alone.process(
        [
            Record(at, json.dumps({**record, "run": "x"}).encode())
            for at, record in enumerate(training(range(60)))
        ]
    )
    among = monitor()
    log = Log()
    for step in range(60):
        for run in "abcdefx":
            log.json(**{**healthy(step), "run": run, **({"loss": NAN} if run == "a" else {})})
    among.process(log.records)
    assert states(among)["x"] == states(alone)["x"]


def test_headers_that_no_worker_wrote_say_nothing_of_forwarding() -> None:
    partition, value = monitor(), json.dumps({"run": "r1", "step": 1, "loss": 1.0}).encode()
    lies = (None, b"", b"x", b"-1", b"1e3", b"9" * 5000, b"7", b" 0", "٣".encode())
    log = Log()
    for lie in lies:
        log.add(
            value, headers=(("forwarded_partition", b"0"), ("forwarded_offset", lie if lie != b"7" else None))
        )
        log.add(value, headers=(("forwarded_partition", lie), ("forwarded_offset", b"7")))
    outcome = partition.process(log.records)
    assert not outcome.dead_letters
    assert partition.runs["r1"].origins == {}
    assert snapshot.load(snapshot.dump(partition.runs["r1"])).offset == 2 * len(lies) - 1


def test_a_layer_that_is_null_measures_nothing() -> None:
    log = Log()
    log.json(run="r1", step=1, loss=1.0, layers={"a": None, "b": {"grad_norm": 1.0}})
    partition = monitor()
    assert partition.process(log.records).counts["judged"] == 1
    assert partition.runs["r1"].newest_step == 1_000_000


def test_the_smallest_step_can_be_saved() -> None:
    log = Log()
    log.json(run="r1", step=-(2**43), loss=1.0)
    partition = monitor()
    partition.process(log.records)
    assert snapshot.load(snapshot.dump(partition.runs["r1"])).newest_step == -(2**43) * 10**6


def test_a_timestamp_that_no_clock_shows_is_no_time() -> None:
    for timestamp in (-1, -(2**63), 2**63 - 1):
        partition, log = monitor(), Log()
        log.add(b'{"run":"r1","step":1}', timestamp=timestamp)
        partition.process(log.records)
        assert partition.runs["r1"].last_time is None
