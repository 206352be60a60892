"""Silence, told by time that counts: opened, resolved, over restarts, outside declared pauses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from anomaly.incidents import Severity, Status, Transition, decode_transition, transition_schema
from anomaly.monitor import Limits, PartitionMonitor, snapshot
from anomaly.monitor.log import Outcome
from anomaly.monitor.state import Timers
from anomaly.monitor.timers import NO_RECORD, PartitionTimers
from tests.monitor.logs import Log, monitor, states

WALL = 1_800_000_000.0


class Watched:
    """A partition and its timers, as a worker ties them together; time passes in half seconds."""

    def __init__(self, partition: PartitionMonitor | None = None) -> None:
        self.partition = partition or monitor()
        self.timers = PartitionTimers(0, self.partition.runs)
        self.log = Log()
        self.transitions: list[Transition] = []
        self.touched: list[dict[str, int]] = []

    def record(self, run: str = "r1", **fields: Any) -> Outcome:
        outcome = self.partition.process([self.log.json(run=run, **fields)])
        self.timers.arrivals.update(outcome.touched)
        return outcome

    def pass_(self, seconds: float, counts: bool = True) -> None:
        for _ in range(round(seconds * 2)):
            self._take(self.timers.tick(0.5 if counts else 0.0, WALL + self.timers.now))

    def steps(self, steps: Iterable[int], every: float = 1.0, run: str = "r1") -> None:
        for step in steps:
            self.record(run, step=step, loss=1.0)
            self.pass_(every)

    def restarted(self) -> Watched:
        """Another worker, with what was saved now."""
        runs = {run: snapshot.load(snapshot.dump(state)) for run, state in self.partition.runs.items()}
        other = Watched(PartitionMonitor(0, 1, runs=runs))
        other.log = self.log
        return other

    @property
    def seen(self) -> list[tuple[str, str]]:
        return [(transition.kind, transition.status) for transition in self.transitions]

    def _take(self, outcome: Outcome) -> None:
        self.transitions += [transition for _, transition in outcome.transitions]
        if outcome.touched:
            self.touched.append(outcome.touched)


PAUSE = [{"kind": "eval_start"}]
SILENT = [("run_silent", Status.OPENED)]


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


@pytest.mark.parametrize(
    ("events", "quiet"),
    [
        ([{"kind": "pause", "seconds": 600}], 650),
        ([{"kind": "eval_start"}], 40_000),
        ([{"kind": "checkpoint_start"}], 40_000),
        ([{"kind": "finished", "outcome": "completed"}], 200_000),
    ],
)
def test_a_declared_pause_and_a_finished_run_are_quiet(events: list[dict[str, Any]], quiet: float) -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=events)
    watched.pass_(quiet)
    assert watched.seen == []


@pytest.mark.parametrize(
    "events",
    [
        [{"kind": "pause", "seconds": 600}],
        [{"kind": "pause", "seconds": "long"}],
        [{"kind": "eval_start"}, {"kind": "checkpoint_start"}],
    ],
)
def test_a_pause_is_over_when_the_run_goes_on(events: list[dict[str, Any]]) -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=events)
    watched.pass_(50)
    watched.steps(range(21, 40))
    watched.pass_(80)
    assert watched.seen == SILENT


def test_a_pause_is_over_with_its_end_and_its_length_is_known_the_next_time() -> None:
    watched = Watched()
    watched.steps(range(20))
    watched.record(step=20, loss=1.0, events=[{"kind": "eval_start"}])
    watched.pass_(500)
    watched.record(step=21, loss=1.0, events=[{"kind": "eval_end"}])
    watched.pass_(61)
    assert watched.seen == SILENT
    watched.steps(range(22, 30))
    watched.record(step=30, loss=1.0, events=[{"kind": "eval_start"}])
    watched.pass_(3600)
    assert len(watched.seen) == 2
    watched.pass_(1600)
    assert len(watched.seen) == 3


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


def world(watched: Watched, ranks: Iterable[int], steps: Iterable[int], size: int = 8) -> None:
    for step in steps:
        for rank in ranks:
            watched.record(step=step, rank=rank, loss=1.0, place={"world_size": size})
        watched.pass_(1)


def test_a_rank_that_never_came_is_named_and_resolved_when_it_comes() -> None:
    watched = Watched()
    world(watched, (0, 1, 2, 3, 4, 6, 7), range(90))
    assert watched.seen == [("partial_telemetry", Status.OPENED)]
    assert watched.transitions[0].ranks == (5,)
    world(watched, range(8), range(90, 92))
    assert watched.seen[1:] == [("partial_telemetry", Status.RESOLVED)]


def test_where_most_ranks_never_report_nobody_asked_them_to() -> None:
    watched = Watched()
    world(watched, (0, 4), range(200))
    assert watched.seen == []


def test_a_silent_world_is_one_incident_beside_the_missing_rank() -> None:
    watched = Watched()
    world(watched, (0, 1, 2), range(80), size=4)
    watched.pass_(100)
    assert watched.seen == [("partial_telemetry", Status.OPENED), ("run_silent", Status.OPENED)]
    assert len({transition.incident for transition in watched.transitions}) == 2


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


def test_a_run_that_was_closed_is_not_watched_and_its_return_ends_its_silence() -> None:
    watched = Watched(monitor(limits=Limits(silent_ms=1000, finished_ms=1000)))
    watched.steps(range(20))
    watched.pass_(70)
    watched.steps(range(20), run="finished")
    watched.record("finished", step=20, loss=1.0, events=[{"kind": "finished"}])
    later = {"timestamp": 1_790_000_100_000}
    watched.partition.process([watched.log.add(b'{"run":"other","step":1}', **later)])
    assert watched.partition.close("r1")
    assert watched.partition.close("finished")
    after = watched.restarted()
    after.pass_(3000)
    assert after.seen == []
    after.partition.lives.tick(1_790_000_100)
    outcome = after.partition.process([after.log.add(b'{"run":"r1","step":20}', **later)])
    after.timers.arrivals.update(outcome.touched)
    after.pass_(0.5)
    assert after.seen == [("run_silent", Status.RESOLVED)]
    assert after.partition.runs["r1"].attempt == 1


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
