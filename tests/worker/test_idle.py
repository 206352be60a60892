"""Runs that are not in memory: what they cost there, and that nothing of them is lost."""

from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from anomaly.monitor import PartitionMonitor, RunState, snapshot
from anomaly.worker.idle import FILE, IdleFile, IdlePartition
from anomaly.worker.readings import reading_of
from tests.monitor.logs import log_of, training

IDLE_RUNS = 20_000
MAX_BYTES_A_RUN = 1_500


def a_state() -> RunState:
    monitor = PartitionMonitor(0, 1)
    monitor.process(log_of(training(range(20))).records)
    return monitor.runs["r1"]


def test_twenty_thousand_idle_runs_take_a_kilobyte_each_and_all_come_back(tmp_path: Path) -> None:
    state, expected = a_state(), {}
    idle = IdlePartition(0, {}, IdleFile(str(tmp_path / FILE)))
    tracemalloc.start()
    for number in range(IDLE_RUNS):
        state.run = f"a-run-of-some-team-{number}"
        payload = snapshot.dump(state)
        idle.recover(snapshot.head(payload), payload)
    idle.take_timers()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{taken / IDLE_RUNS:.0f} bytes a run in memory, {len(payload)} in the file")
    assert taken < IDLE_RUNS * MAX_BYTES_A_RUN
    assert len(idle.resting()) == IDLE_RUNS
    for number in range(0, IDLE_RUNS, 997):
        state.run = f"a-run-of-some-team-{number}"
        expected[state.run] = snapshot.dump(state)
    brought = {run: idle.bring(run) for run in expected}
    assert {run: snapshot.dump(back) for run, back in brought.items() if back} == expected


def test_the_file_of_an_earlier_start_is_not_read(tmp_path: Path) -> None:
    path = str(tmp_path / FILE)
    Path(path).write_bytes(b"left behind")
    file = IdleFile(path)
    file.put(0, "r", b"state")
    assert file.take(0, "r") == b"state"


def test_a_run_stays_in_memory_when_the_file_cannot_take_it(tmp_path: Path) -> None:
    file = IdleFile(str(tmp_path / FILE))
    state = a_state()
    file._database.close()  # as a disk that is full or gone would answer
    idle = IdlePartition(0, {"r1": state}, file)
    with pytest.raises(sqlite3.Error):
        idle.rest(state, reading_of(state))
    assert idle.runs == {"r1": state}
    assert idle.resting() == {}


def test_a_snapshot_that_is_damaged_in_the_file_starts_its_run_cold_behind_what_it_covered(
    tmp_path: Path,
) -> None:
    state = a_state()
    state.offset = 41
    payload = snapshot.dump(state)
    at = payload.index(state.slab.dump())
    damaged = payload[: at - 2] + b"\xff" + payload[at - 1 :]
    idle = IdlePartition(0, {}, IdleFile(str(tmp_path / FILE)))
    idle.recover(snapshot.head(payload), damaged)
    cold = idle.bring("r1")
    assert cold is not None
    assert (cold.offset, cold.readings) == (41, 0)
    assert idle.damaged["r1"][0] == damaged
