"""Runs that are not in memory: their snapshots in a local SQLite file until the next record asks for them.

After recovery that is every run; from then on those that have been quiet for a while and of which all is saved. In
memory stay its name, how far it has been read, until when it is known, and what it shows in /metrics. The file is made
anew at each start: the changelog is the truth, and what cannot be read from here ends the process, which then recovers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import msgspec

from anomaly.errors import SnapshotError
from anomaly.metrics import RunReading
from anomaly.monitor import RunState, snapshot
from anomaly.monitor.lives import cold
from anomaly.monitor.snapshot import Head
from anomaly.monitor.state import Life, Timers
from anomaly.worker.readings import reading_of_head

FILE = "idle-runs.sqlite"
IN_MEMORY = ":memory:"
CACHE_KIB = 4096


class IdleFile:
    """The file at `path`, or `IN_MEMORY`, for all partitions of one worker. Used by the event loop's thread alone."""

    def __init__(self, path: str) -> None:
        if path != IN_MEMORY:
            Path(path).unlink(missing_ok=True)  # another worker that had it open keeps its own
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "page_size=32768",  # a state is tens of kilobytes
            "journal_mode=OFF",
            "synchronous=OFF",
            "locking_mode=EXCLUSIVE",
            f"cache_size=-{CACHE_KIB}",
        ):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE runs(part INTEGER, run BLOB, state BLOB, PRIMARY KEY(part, run))"
        )

    def put(self, partition: int, run: str, payload: bytes) -> None:
        """Keep a snapshot. Raises `sqlite3.Error`, for a full disk for instance."""
        self._database.execute(
            "INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", (partition, run.encode(errors="replace"), payload)
        )

    def take(self, partition: int, run: str) -> bytes:
        """The snapshot, which is then gone from here."""
        key = (partition, run.encode(errors="replace"))
        row = self._database.execute("SELECT state FROM runs WHERE part = ? AND run = ?", key).fetchone()
        self._database.execute("DELETE FROM runs WHERE part = ? AND run = ?", key)
        payload: bytes = row[0]
        return payload

    def drop(self, partition: int) -> None:
        """Forget a partition that left."""
        self._database.execute("DELETE FROM runs WHERE part = ?", (partition,))


class IdleRun(msgspec.Struct):
    """What is known of a run that is not in memory."""

    life: Life
    offset: int
    revision: int
    reading: RunReading


class IdlePartition:
    """One partition's idle runs; `runs` are its live ones, the same dict as the monitor's."""

    def __init__(self, partition: int, runs: dict[str, RunState], file: IdleFile) -> None:
        self.partition = partition
        self.runs = runs
        self._file = file
        self._idle: dict[str, IdleRun] = {}
        self._timers: dict[str, Timers | None] = {}
        self.damaged: dict[str, tuple[bytes, str]] = {}
        """Runs that had to start cold when they were brought back: snapshot, and what is wrong with it."""

    def resting(self) -> Mapping[str, IdleRun]:
        """All that are here."""
        return self._idle

    @property
    def read(self) -> int:
        """The log has been read up to here, as the runs show: the offset after the highest applied."""
        applied = [*(run.offset for run in self._idle.values()), *(run.offset for run in self.runs.values())]
        return max(applied, default=-1) + 1

    def take_timers(self) -> dict[str, Timers | None]:
        """The timers of the runs that were recovered since the last call."""
        found, self._timers = self._timers, {}
        return found

    def bring(self, run: str) -> RunState | None:
        """The run, which is from now on the caller's; cold where its snapshot turns out to be damaged."""
        idle = self._idle.pop(run, None)
        if idle is None:
            return None
        payload = self._file.take(self.partition, run)
        try:
            return snapshot.load(payload)
        except SnapshotError as error:
            self.damaged[run] = payload, str(error)
            return RunState(run, offset=idle.offset, revision=idle.revision + 1, life=idle.life)

    def rest(self, state: RunState, reading: RunReading) -> None:
        """Keep a live run here. Raises `sqlite3.Error`; then it stays where it is."""
        self._file.put(self.partition, state.run, snapshot.dump(state))
        self._idle[state.run] = IdleRun(state.life, state.offset, state.revision, reading)
        del self.runs[state.run]

    def recover(self, head: Head, payload: bytes) -> None:
        """Take in a snapshot of the changelog, unless what is known is as new."""
        known = self._idle.get(head.run) or self.runs.get(head.run)
        if known is not None and (head.marks.offset, head.marks.revision) <= (known.offset, known.revision):
            return
        self.runs.pop(head.run, None)
        self._file.put(self.partition, head.run, payload)
        marks = head.marks
        self._idle[head.run] = IdleRun(marks.life, marks.offset, marks.revision, reading_of_head(head))
        self._timers.pop(head.run, None)
        ended = marks.life.closed or head.context.outcome is not None
        if not ended or (head.timers is not None and head.timers.book.open):
            self._timers[head.run] = head.timers

    def cold(self, run: str) -> RunState | None:
        """The run as it starts over from what was known of it before; None where that is nothing."""
        state = self.runs.get(run) or self.bring(run)
        return None if state is None else cold(state, state.slab.levels)

    def drop(self) -> None:
        """The partition leaves."""
        self._idle.clear()
        self._file.drop(self.partition)

    def forget(self, run: str) -> None:
        """The run is no more."""
        if self._idle.pop(run, None) is not None:
            self._file.take(self.partition, run)
        self.runs.pop(run, None)
        self._timers.pop(run, None)
