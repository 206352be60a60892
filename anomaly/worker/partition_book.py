"""What a worker knows of one partition it reads: how far, what of it is not saved yet, what to commit.

A run whose state changed is *dirty* from its first record that no saved state covers. When its state is dumped it is
*in flight* until the changelog has acknowledged it. The commit is the lowest offset of what is dirty or held, so that a
replay from it finds everything that was not saved; states carry their own offset and skip the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile

from anomaly.metrics import RunReading
from anomaly.monitor import Outcome, PartitionMonitor, snapshot
from anomaly.monitor.forks import unsaved_forks
from anomaly.monitor.lives import smaller
from anomaly.monitor.timers import NO_RECORD, PartitionTimers
from anomaly.topics import SNAPSHOT_MAX_BYTES
from anomaly.worker.commits import CommitMetadata, read_metadata
from anomaly.worker.idle import IdlePartition

MAX_STATE_BYTES = SNAPSHOT_MAX_BYTES - 65_536 - 4_096
"""What a producer takes, less the key and the batch's own bytes. The limits keep a state below it; should one grow past
them all the same, its run starts cold: a state that nobody can write would stop its partition at every start."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A run's oldest change that is not saved."""

    offset: int
    """Source offset of the first record."""
    incidents: int
    """Where the incidents partition ended, at the latest, when that record was first processed."""
    since: float
    """When that was, on the worker's clock."""
    clock: int = 0
    """The partition's own clock before that record."""


@dataclass(slots=True)
class PartitionBook:
    """One partition's bookkeeping; `idle` are the monitor's runs that are not in memory."""

    partition: int
    partitions: int
    monitor: PartitionMonitor
    position: int
    """The next source offset to process."""
    incidents_end: int = 0
    """The incidents partition ends here or later."""
    replay_until: int = 0
    """Below this offset a record may have been processed before, by whoever had the partition."""
    incidents_before: int = 0
    """Its transitions are then in the incidents partition from here on."""
    repeats: set[tuple[str, int]] = field(default_factory=set)
    """Transitions that the incidents topic already has and a replay may bring again."""
    dirty: dict[str, Uncovered] = field(default_factory=dict)
    in_flight: dict[str, Uncovered] = field(default_factory=dict)
    committed: tuple[int, str] | None = None
    committed_clock: int = 0
    """The partition's own clock at what is committed: no replay begins before."""
    idle: IdlePartition | None = None
    last_unix_seconds: float | None = None
    """The Kafka timestamp of the record processed last."""
    too_large: dict[str, int] = field(default_factory=dict)
    """Runs that had to start cold because nobody could write their state, with its bytes; told of, then cleared."""
    timers: PartitionTimers = field(init=False)
    _touched: dict[str, float] = field(default_factory=dict)
    """When a record of each run came last, oldest first."""

    def __post_init__(self) -> None:
        self.timers = PartitionTimers(self.partition, self.monitor.runs, self.monitor.lives.find)

    def replay(self, until: int, incidents: int, end: int) -> None:
        """Records below `until` may be a replay; the transitions of such stand from `incidents` to `end`."""
        self.replay_until, self.incidents_before, self.incidents_end = until, incidents, end

    def advance(self, position: int, outcome: Outcome, now: float) -> None:
        """A batch up to `position` was processed and `outcome` came of it.

        A timer changes runs, too: then `position` is what it was and the offsets are `timers.NO_RECORD`.
        """
        incidents = self._incidents_from()
        for run, offset in outcome.touched.items():
            self._touched.pop(run, None)
            self._touched[run] = now
            known = self.dirty.get(run)
            clock = outcome.clocks.get(run, 0)
            if known is None:
                self.dirty[run] = Uncovered(offset, incidents, now, clock)
            elif offset < known.offset:  # it was held, and its layout came
                self.dirty[run] = Uncovered(offset, known.incidents, known.since, clock)
        self.position = position

    def incident_landed(self, offset: int) -> None:
        """A transition of ours was acknowledged at `offset`."""
        self.incidents_end = max(self.incidents_end, offset + 1)

    def dump(self, run: str) -> bytes | None:
        """The run's state to write, from now on in flight; None if the run is gone."""
        uncovered = self.dirty.pop(run)
        state = self.monitor.runs.get(run)
        if state is None:
            return None
        self.in_flight[run] = uncovered
        payload = snapshot.dump(state)
        if len(payload) > MAX_STATE_BYTES:
            self.too_large[run] = len(payload)
            state = self.monitor.runs[run] = smaller(state)
            payload = snapshot.dump(state)
        return payload

    def quiet_since(self, before: float) -> list[str]:
        """Runs in memory of which all is saved and no record came since `before`, the quietest first."""
        never = [run for run in self.monitor.runs if run not in self._touched]
        long = list(takewhile(lambda run: self._touched[run] < before, self._touched))
        return [run for run in never + long if run in self.monitor.runs and self._settled(run)]

    def rest(self, run: str, reading: RunReading) -> bool:
        """Move a run out of memory; False where there is nowhere. Raises `sqlite3.Error`."""
        if self.idle is None:
            return False
        self.idle.rest(self.monitor.runs[run], reading)
        self._touched.pop(run, None)
        return True

    def close(self, run: str, now: float) -> bool:
        """Close a run of which all is saved, if its time has come; what is left of it is to be saved."""
        if not self._settled(run) or self.monitor.lives.find(run) is None or not self.monitor.close(run):
            return False
        self.mark(run, now)
        return True

    def forget(self, run: str) -> bool:
        """Drop a run of which all is saved."""
        if not self._settled(run):
            return False
        self.monitor.runs.pop(run, None)
        if self.idle is not None:
            self.idle.forget(run)
        self._touched.pop(run, None)
        self.timers.forget(run)
        return True

    def _settled(self, run: str) -> bool:
        """All of it is saved, and so is what started from it: its forks would be forgotten with the live state."""
        if run in self.dirty or run in self.in_flight or self.monitor.holds(run):
            return False
        state = self.monitor.runs.get(run)
        return state is None or not any(unsaved_forks(state, self.monitor.runs))

    def mark(self, run: str, now: float) -> None:
        """Have a run's state written once more, although no record of it came."""
        if run not in self.dirty:
            self.dirty[run] = Uncovered(NO_RECORD, self._incidents_from(), now)

    def unsaved_forks(self, run: str) -> list[str]:
        """The runs to be dumped before `run`, a dirty one: forks that started from it and were never saved."""
        state = self.monitor.runs.get(run)
        if state is None or not state.forks:
            return []
        found = (fork.run for fork in unsaved_forks(state, self.monitor.runs))
        names = [name for name in dict.fromkeys(found) if name not in self.in_flight]
        for name in names:  # one of which nothing was applied yet is not dirty by itself
            self.dirty.setdefault(name, replace(self.dirty[run], offset=NO_RECORD))
        return names

    def landed(self) -> None:
        """What was in flight is acknowledged."""
        for run in self.in_flight:
            state = self.monitor.runs.get(run)
            if state is not None:
                state.saved = True
        self.in_flight.clear()

    def put_back(self) -> None:
        """The save was given up: what was in flight is dirty, from where it was."""
        for run, older in self.in_flight.items():
            newer = self.dirty.get(run, older)
            first = min(
                older, newer, key=lambda one: one.offset
            )  # the newer where only a timer had changed it
            self.dirty[run] = Uncovered(first.offset, older.incidents, older.since, first.clock)
        self.in_flight.clear()

    def commit_landed(self, commit: tuple[int, str]) -> None:
        """This commit was acknowledged."""
        self.committed = commit
        self.committed_clock = read_metadata(commit[1]).clock

    def commit(self) -> tuple[int, str]:
        """What may be committed once everything in flight is acknowledged: offset and metadata."""
        held = self.monitor.oldest_held()
        offset, clock = self.position, self.monitor.lives.clock
        if held is not None:
            offset, clock = held.record.offset, held.clock
        incidents = self._incidents_from()
        for uncovered in self.dirty.values():
            incidents = min(incidents, uncovered.incidents)
            if uncovered.offset < offset:
                offset, clock = uncovered.offset, uncovered.clock
        return offset, CommitMetadata(self.partitions, incidents, clock).encode()

    def _incidents_from(self) -> int:
        """Where transitions of the next record may stand, if it is judged again one day."""
        return self.incidents_before if self.position < self.replay_until else self.incidents_end

    def longest_waiting(self, now: float) -> float:
        """Seconds that the oldest change has not been saved; 0 when all is."""
        waiting = [uncovered.since for runs in (self.dirty, self.in_flight) for uncovered in runs.values()]
        return now - min(waiting, default=now)
