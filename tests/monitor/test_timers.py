"""Silence, told by time that counts: opened, resolved, over restarts, outside declared pauses."""

from __future__ import annotations

import json
from typing import Any

from anomaly.incidents import Severity, Status, decode_transition, transition_schema
from anomaly.monitor.state import Timers
from anomaly.monitor.timers import NO_RECORD, PartitionTimers
from tests.monitor.logs import monitor, states
from tests.monitor.timed import PAUSE, SILENT, WALL, Watched


def test_a_run_without_a_record_for_a_minute_is_silent_until_the_next_one() -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.pass_(58)
    assert watched.seen == []
    watched.pass_(3)
    assert watched.seen == SILENT
    opened = watched.transitions[0]
    assert (opened.severity, opened.step, opened.attempt, opened.last_good_step) == (
        Severity.CRITICAL,
        19,
        0,
        19,
    )
    assert opened.source is not None
    assert opened.source.offset == 19
    assert opened.value > 60
    assert opened.expected == 1.0
    assert decode_transition(opened.encode()) == opened
    watched.pass_(600)
    watched.steps([20])
    assert watched.seen == [*SILENT, ("run_silent", Status.RESOLVED)]
    assert [transition.transition for transition in watched.transitions] == [0, 1]
    assert set(watched.transitions[0].__struct_fields__) == set(transition_schema()["properties"])


def test_a_run_that_reports_every_minute_has_ten_minutes() -> None:
    watched = Watched()
    watched.steps(range(5), every=60)
    watched.pass_(530)
    assert watched.seen == []
    watched.pass_(20)
    assert watched.seen == SILENT


def test_a_second_silence_is_another_incident() -> None:
    watched = Watched()
    for begin in (0, 20):
        watched.steps(range(begin, begin + 20))
        watched.pass_(100)
    opened = [each.incident for each in watched.transitions if each.status is Status.OPENED]
    assert len(opened) == len(set(opened)) == 2


def test_a_gap_that_a_run_came_back_from_twice_is_its_habit() -> None:
    watched = Watched()
    for begin in (0, 20, 40):
        watched.steps(range(begin, begin + 20))
        watched.pass_(100)  # an evaluation that nobody declared
    assert watched.seen.count(SILENT[0]) == 2
    watched.pass_(60)
    assert watched.seen.count(SILENT[0]) == 3


def test_a_gap_before_a_restart_is_no_habit() -> None:
    watched = Watched()
    for _ in range(3):
        watched.steps(range(20))
        watched.pass_(1000)
    assert watched.partition.runs["r1"].attempt == 2
    watched.steps(range(20))
    watched.pass_(70)
    assert watched.seen.count(SILENT[0]) == 4


def test_time_that_does_not_count_makes_nobody_silent_and_teaches_nothing() -> None:
    watched = Watched()
    watched.steps(range(20), every=60)
    for step in range(20, 40):  # caught up after an hour away: all at once
        watched.record(step=step, loss=1.0)
        watched.pass_(0.5, counts=False)
    watched.pass_(5000, counts=False)
    assert watched.seen == []
    watched.pass_(550)
    assert watched.seen == []


def test_a_restart_of_the_worker_makes_nobody_silent_and_forgets_nobody() -> None:
    before = Watched()
    for step in range(20):
        before.record("alive", step=step, loss=1.0)
        before.steps([step], run="dead")
    before.timers.tick(0.5, WALL)
    for step in range(20, 65):
        before.steps([step], run="alive")
    assert before.touched == [{"dead": NO_RECORD}]  # half of its limit has passed: saved
    after = before.restarted()
    after.pass_(0.5)
    assert after.seen == []
    for step in range(65, 110):
        after.steps([step], run="alive")
    assert [(each.run, each.kind) for each in after.transitions] == [("dead", "run_silent")]
    assert 60 < after.transitions[0].value < 70


def test_an_open_silence_survives_a_restart_and_ends_with_the_next_record() -> None:
    before = Watched()
    before.steps(range(20))
    before.pass_(70)
    after = before.restarted()
    after.pass_(500)
    assert after.seen == []
    assert after.timers.silent == {"r1"}
    after.steps([20])
    assert after.seen == [("run_silent", Status.RESOLVED)]
    assert after.transitions[0].incident == before.transitions[0].incident
    assert after.transitions[0].transition == 1


def test_what_was_sent_before_a_crash_and_not_saved_is_taken_in() -> None:
    before = Watched()
    before.steps(range(20))
    crashed = before.restarted()  # its snapshot is older than the incident
    before.pass_(70)
    sent = [decode_transition(transition.encode()) for transition in before.transitions]
    for transition in sent:
        crashed.timers.adopt(transition)
    crashed.pass_(500)
    assert crashed.seen == []
    crashed.steps([20])
    before.steps([20])
    assert crashed.transitions[0].incident == before.transitions[1].incident
    again = crashed.restarted()  # now it is saved: what the topic holds is known
    for transition in before.transitions:
        again.timers.adopt(transition)
    assert again.timers.silent == set()
    crashed.pass_(300)
    assert crashed.transitions[1].incident not in {transition.incident for transition in before.transitions}


def test_a_silence_that_is_told_again_after_a_crash_has_the_same_identity() -> None:
    before = Watched()
    before.steps(range(20))
    crashed = before.restarted()
    before.pass_(70)
    crashed.pass_(70)
    assert crashed.transitions[0].incident == before.transitions[0].incident


def test_a_run_of_one_record_has_an_hour() -> None:
    watched = Watched()
    watched.steps([0])
    watched.pass_(3590)
    assert watched.seen == []
    watched.pass_(20)
    assert watched.seen == SILENT


def test_a_repeated_layout_is_no_sign_of_life() -> None:
    watched = Watched()
    watched.steps(range(20))
    for _ in range(8):
        watched.timers.arrivals["r1"] = 0  # as a layout would
        watched.pass_(10)
    assert watched.seen == SILENT


def test_the_record_path_never_sees_the_timers() -> None:
    """State and transitions are the same with timers and without, whatever these did meanwhile."""
    watched, alone = Watched(), monitor()
    told = []
    for begin in (0, 50, 100):
        for step in range(begin, begin + 50):
            loss = float("nan") if step in (60, 110) else 1.0
            fields: dict[str, Any] = {"step": step, "loss": loss, "events": PAUSE if step == 70 else []}
            told += [transition for _, transition in watched.record(**fields).transitions]
            watched.pass_(1)
        watched.pass_(200)
    assert watched.seen.count(SILENT[0]) == 2
    outcome = alone.process(watched.log.records)
    assert [json.loads(each.encode()) for _, each in outcome.transitions] == [
        json.loads(each.encode()) for each in told
    ]
    assert states(alone) == states(watched.partition)


def test_a_timer_raises_the_revision_so_that_its_snapshot_is_the_newer_one() -> None:
    watched = Watched()
    watched.steps(range(20))
    state = watched.partition.runs["r1"]
    before = (state.offset, state.revision)
    watched.pass_(70)
    assert (state.offset, state.revision) > before
    assert [incident.kind for incident in state.open_incidents] == ["run_silent"]


def test_a_slow_run_that_is_not_in_memory_is_looked_at_no_sooner_than_it_may_be_silent() -> None:
    asked: list[str] = []
    timers = PartitionTimers(0, {}, lambda run: asked.append(run))
    timers.wake("slow", Timers(intervals=[300.0] * 5))
    timers.wake("saved at half", Timers(intervals=[300.0] * 5, quiet=1600.0))
    timers.wake("fast", Timers(intervals=[1.0] * 5, quiet=10.0))
    for _ in range(2800):
        timers.tick(0.5, WALL)
    assert asked == ["fast"]
    for _ in range(300):
        timers.tick(0.5, WALL)
    assert asked == ["fast", "saved at half", "slow"]
