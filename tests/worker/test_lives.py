"""Who is admitted, closed and forgotten is decided by the log alone: crashes, saves and closings change nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from anomaly import codec
from anomaly.errors import Reason
from anomaly.monitor import Limits, Outcome, PartitionMonitor, RunState, snapshot
from anomaly.records import Layout, LayoutMessage
from anomaly.worker.commits import read_metadata
from anomaly.worker.idle import FILE, IdleFile, IdlePartition
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.readings import reading_of
from tests.monitor.logs import Record

LIMITS = Limits(runs_per_partition=3, finished_ms=1_000, silent_ms=3_000, forgotten_ms=20_000)
NAN = float("nan")
START = 1_790_000_000_000


def record(offset: int, at: int, run: str, **fields: Any) -> Record:
    value = json.dumps({"run": run, "step": offset, "loss": 1.0, **fields}).encode()
    return Record(offset, value, timestamp=START + at)


def log(seed: int, records: int = 150) -> list[Record]:
    """A few runs with pauses between a moment and long enough to be forgotten; faults, ends, unknown layouts."""
    draw, at, found = random.Random(seed), 0, []
    for offset in range(records):
        at += draw.choice([0, 1, 50, 50, 900, 2_500, 21_000]) if draw.random() < 0.4 else 10
        run = draw.choice("aaabbbccdef")
        fields: dict[str, Any] = {"loss": draw.choice([1.0, 1.0, 1.0, NAN])}
        if draw.random() < 0.1:
            fields["events"] = [{"kind": "finished"}]
        found.append(record(offset, at - draw.choice([0, 0, 0, 500]), run, **fields))
        if draw.random() < 0.05:
            layout = LayoutMessage(run, Layout((), (), ("loss",)))
            found[-1].value = codec.encode_layout(layout)
    return found


class Disturbed:
    """A partition whose worker saves when it likes and dies when it likes; the log and what it saved are all it has."""

    def __init__(self, records: Sequence[Record], seed: int, path: Path) -> None:
        self._path = str(path / FILE)
        self._records = records
        self._draw = random.Random(seed)
        self._changelog: dict[str, bytes] = {}
        self._commit = (0, "")
        self.outcomes: list[Outcome] = []
        self.crashes = 0
        self.closings = 0
        self.rests = 0
        self.book = self._opened()

    def run(self) -> None:
        while self.book.position < len(self._records):
            count = self._draw.randint(1, 6)
            batch = self._records[self.book.position : self.book.position + count]
            outcome = self.book.monitor.process(batch)
            self.outcomes.append(outcome)
            self.book.advance(batch[-1].offset + 1, outcome, 0.0)
            self._upkeep()
            if self._draw.random() < 0.15:
                self.crashes += 1
                self.book = self._opened()

    def _upkeep(self) -> None:
        for run, _ in self.book.monitor.lives.known():
            self.closings += self.book.close(run, 0.0)
        for run in list(self.book.dirty):
            if self._draw.random() < 0.4:
                payload = self.book.dump(run)
                assert payload is not None
                self._changelog[run] = payload
        self.book.in_flight.clear()
        for run in self.book.quiet_since(1.0):
            if self._draw.random() < 0.3:
                self.rests += self.book.rest(run, reading_of(self.book.monitor.runs[run]))
        if self._draw.random() < 0.5:
            self._commit = self.book.commit()

    def _opened(self) -> PartitionBook:
        idle = IdlePartition(0, {}, IdleFile(self._path))
        for payload in self._changelog.values():
            idle.recover(snapshot.head(payload), payload)
        clock = read_metadata(self._commit[1]).clock
        monitor = PartitionMonitor(0, 1, LIMITS, idle.runs, idle, clock)
        return PartitionBook(0, 1, monitor, self._commit[0], idle=idle)

    def states(self) -> dict[str, RunState]:
        """Every run, brought back."""
        for run, _ in self.book.monitor.lives.known():
            self.book.monitor.lives.find(run)
        return self.book.monitor.runs


def letters(outcomes: Sequence[Outcome]) -> dict[int, tuple[str, str]]:
    return {
        letter.record.offset: (letter.reason, letter.detail)
        for one in outcomes
        for letter in one.dead_letters
    }


def transitions(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], bytes]:
    sent = [each for one in outcomes for _, each in one.transitions]
    return {(each.incident, each.transition): each.encode() for each in sent}


@pytest.mark.parametrize("seed", range(60))
def test_crashes_saves_rests_and_closings_anywhere_change_no_decision_no_transition_and_no_state(
    seed: int, tmp_path: Path
) -> None:
    records = log(seed)
    whole = PartitionMonitor(0, 1, LIMITS)
    expected = whole.process(records)
    disturbed = Disturbed(records, seed, tmp_path)
    disturbed.run()
    assert letters(disturbed.outcomes) == letters([expected])
    assert transitions(disturbed.outcomes) == transitions([expected])
    for run, state in disturbed.states().items():
        if not state.life.closed:
            assert snapshot.dump(state, marks=False) == snapshot.dump(whole.runs[run], marks=False)


def test_what_the_seeds_above_try_does_happen(tmp_path: Path) -> None:
    happened = {"run_limit": 0, "crashes": 0, "closings": 0, "reopened": 0, "rests": 0}
    for seed in range(60):
        disturbed = Disturbed(log(seed), seed, tmp_path)
        disturbed.run()
        happened["run_limit"] += len(letters(disturbed.outcomes))
        happened["crashes"] += disturbed.crashes
        happened["closings"] += disturbed.closings
        happened["rests"] += disturbed.rests
        happened["reopened"] += sum(state.attempt > 0 for state in disturbed.states().values())
    assert all(count > 20 for count in happened.values()), happened


def test_a_run_too_many_is_parked_record_by_record_until_one_of_the_others_is_forgotten() -> None:
    monitor = PartitionMonitor(0, 1, LIMITS)
    monitor.process([record(at, at, run, loss=NAN) for at, run in enumerate("abc")])
    refused = monitor.process([record(3, 10, "d"), record(4, 20, "d"), record(5, 30, "a")])
    assert [letter.reason for letter in refused.dead_letters] == [Reason.RUN_LIMIT] * 2
    assert "3 runs" in refused.dead_letters[0].detail
    assert set(monitor.runs) == {"a", "b", "c"}
    assert not monitor.process([record(6, 20_003, "d")]).dead_letters


def test_run_ids_that_send_a_record_and_never_again_make_room_soon() -> None:
    monitor = PartitionMonitor(0, 1, LIMITS)
    first = monitor.process([record(at, at, f"invented-{at}") for at in range(50)])
    assert len(first.dead_letters) == 47
    assert not monitor.process([record(50, 1_100, "real")]).dead_letters


def test_a_closed_run_starts_over_as_the_next_attempt_and_its_incidents_identities_go_on() -> None:
    monitor = PartitionMonitor(0, 1, LIMITS)
    first = monitor.process([record(0, 0, "r", step=5, loss=NAN, events=[{"kind": "finished"}])])
    again = monitor.process([record(1, 1_001, "r", step=5, loss=NAN)])
    opened = [each for one in (first, again) for _, each in one.transitions if each.transition == 0]
    assert [each.attempt for each in opened] == [0, 1]
    assert opened[0].incident != opened[1].incident
    assert monitor.runs["r"].book.ordinals == {"nonfinite_loss": 2}


def test_an_incident_that_was_open_when_its_run_was_closed_is_resolved_by_the_next_record() -> None:
    for close in (False, True):
        monitor = PartitionMonitor(0, 1, LIMITS)
        monitor.process([record(0, 0, "r", loss=NAN, tags={"team": "x"}), record(1, 3_001, "other")])
        if close:
            assert monitor.close("r")
        again = monitor.process([record(2, 3_002, "r")])
        assert [(each.status, each.attempt, each.tags) for _, each in again.transitions] == [
            ("resolved", 0, {"team": "x"})
        ]


def test_a_closed_runs_snapshot_is_small_and_wins_over_the_one_before() -> None:
    monitor = PartitionMonitor(0, 1, LIMITS)
    layers = {f"h.{at}": {"grad_norm": 1.0} for at in range(100)}
    monitor.process([record(at, at, "r", layers=layers) for at in range(5)])
    before = monitor.runs["r"].revision
    monitor.process([record(5, 4_000, "other")])
    assert monitor.close("r")
    assert not monitor.close("r")
    closed = monitor.runs["r"]
    assert (closed.offset, closed.revision) == (4, before + 1)
    assert len(snapshot.dump(closed)) < 350
    assert snapshot.dump(snapshot.load(snapshot.dump(closed))) == snapshot.dump(closed)
