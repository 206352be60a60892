"""The run states as Faust's table storage: filled from the changelog at recovery, never through the table.

The live key is (partition, run): a run may have state in two partitions of which this worker owns both. Of a run's
snapshots the highest (source offset, revision) wins, so that one written late by a worker that had lost the partition
does no harm. They go where idle runs are (`idle`), unread but for their heads: a run is decoded at its next record. A
snapshot that cannot be read is reported and its run starts cold; stock recovery would hang for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from faust.stores import STORES
from faust.stores.base import Store
from faust.types import TP

from anomaly.errors import SnapshotError
from anomaly.monitor import snapshot
from anomaly.monitor.snapshot import Head
from anomaly.topics import is_preflight
from anomaly.worker.guard import fail
from anomaly.worker.idle import IdleFile, IdlePartition

SCHEME = "runstate"


@dataclass(frozen=True, slots=True)
class UnreadableSnapshot:
    """A record of the changelog that `snapshot.load` refused."""

    tp: TP
    offset: int
    key: bytes
    value: bytes
    detail: str

    @property
    def run(self) -> str:
        """The run, as the key names it."""
        return self.key.decode(errors="replace")


class RunStateStore(Store[bytes, bytes]):
    """Run states by partition and run, and how far each changelog partition has been read."""

    def __post_init__(self) -> None:
        self.data: dict[bytes, bytes] = {}  # Faust looks at it; the states are in `partitions`
        self.partitions: dict[int, IdlePartition] = {}
        self.file: IdleFile | None = None
        """Where the states go; given before anything is recovered."""
        self.unreadable: dict[tuple[int, str], UnreadableSnapshot] = {}
        """By partition and run; a readable snapshot that follows takes the entry away."""
        self.on_recovered: Callable[[set[int]], Awaitable[None]] | None = None
        """Called with the partitions that are ours, before any of them is read."""
        self._offsets: dict[TP, int] = {}
        self._own: dict[TP, set[int]] = {}
        """What landed behind an offset that is not ours, until that was looked at."""

    def runs(self, partition: int) -> IdlePartition:
        """The runs of one partition, the same object each time until the partition leaves."""
        runs = self.partitions.get(partition)
        if runs is None:
            assert self.file is not None
            runs = self.partitions[partition] = IdlePartition(partition, {}, self.file)
        return runs

    def read(self, partitions: Iterable[int]) -> dict[int, int]:
        """How far each partition's log has been read, as its runs show."""
        return {partition: self.runs(partition).read for partition in partitions}

    def persisted_offset(self, tp: TP) -> int | None:
        """Where recovery may start: a partition that stays here is not read again from its beginning."""
        return self._offsets.get(tp)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """All of `tp` up to `offset` is in the live states."""
        self._offsets[tp] = max(offset, self._offsets.get(tp, -1))

    def own_write(self, tp: TP, offset: int) -> None:
        """Our snapshot landed at `offset`. Move on only if nobody wrote in between: that would have to be read."""
        if offset == self._offsets.get(tp, -1) + 1:
            self._offsets[tp] = offset
        else:
            self._own.setdefault(tp, set()).add(offset)

    def unread(self, tp: TP, end: int) -> set[int]:
        """Offsets below `end` that were neither read nor ours. None of ours may be on its way."""
        own = self._own.pop(tp, set())
        return set(range(self._offsets.get(tp, -1) + 1, end)) - own

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Take snapshots in. An exception would be logged by Faust, which then waits for ever: it ends the process."""
        try:
            for event in batch:
                message = event.message
                self.set_persisted_offset(message.tp, message.offset)
                self._take(message.tp, message)
        except Exception as error:
            fail(error, "recovery")

    def take_ahead(self, tp: TP, records: Iterable[Any]) -> None:
        """Take fetched records of the changelog in before Faust has seen them; only the newest of a run is kept.

        How far the partition has been read, Faust's own way says alone: these may be of a fetch that did not count.
        """
        newest: dict[str, tuple[Head, bytes]] = {}
        for record in records:
            if is_preflight(record.key, record.value):
                continue
            run = _run_of(record)
            head = _head(record)
            if not isinstance(head, Head):
                self._recover(tp, newest.pop(run, None))
                self._take(tp, record)
            elif run not in newest or _order(head) > _order(newest[run][0]):
                newest[run] = head, record.value
        for found in newest.values():
            self._recover(tp, found)

    def _take(self, tp: TP, record: Any) -> None:
        """Take in one record of the changelog: Faust's message of it or aiokafka's."""
        if is_preflight(record.key, record.value):
            return
        runs, run, head = self.runs(tp.partition), _run_of(record), _head(record)
        if isinstance(head, Head):
            self._recover(tp, (head, record.value))
        elif head is None:
            runs.forget(run)
            self.unreadable.pop((tp.partition, run), None)
        else:
            cold = runs.cold(run)  # an older one would be behind the commit: better cold than with a hole
            runs.forget(run)
            if cold is not None:
                runs.runs[run] = cold
            self.unreadable[tp.partition, run] = UnreadableSnapshot(
                tp, record.offset, record.key or b"", record.value, str(head)
            )

    def _recover(self, tp: TP, found: tuple[Head, bytes] | None) -> None:
        if found is not None:
            self.unreadable.pop((tp.partition, found[0].run), None)
            self.runs(tp.partition).recover(*found)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """All snapshots are in. Faust waits for this before it reads a source partition."""
        partitions = {tp.partition for tp in active_tps}
        self.keep(partitions)
        if self.on_recovered is not None:
            await self.on_recovered(partitions)

    def take_unreadable(self) -> list[UnreadableSnapshot]:
        """What could not be read since the last call and was not followed by something readable."""
        found = [entry for (partition, _), entry in self.unreadable.items() if partition in self.partitions]
        self.unreadable.clear()
        return found

    def keep(self, partitions: set[int]) -> None:
        """Forget all others, whole: when one comes back, it is read from the changelog."""
        for gone in self.partitions.keys() - partitions:
            self.partitions.pop(gone).drop()
        self._offsets = {tp: offset for tp, offset in self._offsets.items() if tp.partition in partitions}

    def reset_state(self) -> None:
        """Nothing is on disk."""

    async def backup_partition(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is on disk."""

    def restore_backup(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is on disk."""


def _run_of(record: Any) -> str:
    return (record.key or b"").decode(errors="replace")


def _head(record: Any) -> Head | SnapshotError | None:
    """The head of a record's snapshot; None for a tombstone."""
    if record.value is None:
        return None
    try:
        head = snapshot.head(record.value)
    except SnapshotError as error:
        return error
    if head.run != _run_of(record):
        return SnapshotError(f"the key names run {_run_of(record)!r} and the snapshot run {head.run!r}")
    return head


def _order(head: Head) -> tuple[int, int]:
    return head.marks.offset, head.marks.revision


STORES.aliases[SCHEME] = f"{__name__}:RunStateStore"
