"""The partitions this worker reads: their books, and what becomes of a batch. Knows Kafka only through `Outbox`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from faust.types import TP

from anomaly.errors import Reason
from anomaly.exit_codes import ExitCode
from anomaly.incidents.transition import Status, Transition
from anomaly.metrics import RunReading, WorkerMetrics
from anomaly.monitor import Outcome, PartitionMonitor, RunState
from anomaly.monitor.log import seconds_of
from anomaly.monitor.monitor import PREFLIGHT
from anomaly.monitor.restarts import Admission
from anomaly.monitor.series import LAYER_LIMIT, SERIES_LIMIT
from anomaly.profile import judging_limits
from anomaly.settings import Settings
from anomaly.worker.consumer_thread import Fetched
from anomaly.worker.continuity import Batch
from anomaly.worker.end_in_sight import EndInSight
from anomaly.worker.fault_points import Point, reached
from anomaly.worker.guard import die
from anomaly.worker.idle import IdlePartition
from anomaly.worker.letters import dead_letter, forward, unreadable_snapshot
from anomaly.worker.outbox import Outbox, Outgoing
from anomaly.worker.partition_book import MAX_STATE_BYTES, PartitionBook
from anomaly.worker.repeats import SentBefore
from anomaly.worker.starts import Start
from anomaly.worker.store import UnreadableSnapshot

IGNORED = (Admission.DUPLICATE, Admission.LATE, Admission.REPLACED_SESSION)

log = logging.getLogger("anomaly.worker")


class Stream:
    """Processing, without Faust: everything here is called under the worker's lock."""

    def __init__(
        self, settings: Settings, partitions: int, metrics: WorkerMetrics, outbox: Outbox,
        clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.books: dict[int, PartitionBook] = {}
        self.partitions = partitions
        self._ends: dict[int, EndInSight] = {}
        self._settings = settings
        self._topics = settings.topics
        self._limits = judging_limits(settings)
        self._metrics = metrics
        self._outbox = outbox
        self._clock = clock
        self._wall_clock = wall_clock
        self.own_write: Callable[[int, int], None] = lambda *_: None
        """Told of partition and offset when a tombstone landed in the changelog."""

    def keep(self, partitions: Iterable[int]) -> None:
        """Forget the partitions that are not ours any more."""
        kept = set(partitions)
        gone = self.books.keys() - kept
        self._metrics.set_lags({}, gone)
        for partition in gone:
            del self.books[partition], self._ends[partition]

    def open(self, partition: int, idle: IdlePartition, start: Start, before: SentBefore) -> None:
        """Begin a partition whose states are recovered."""
        clock = start.metadata.clock
        monitor = PartitionMonitor(partition, self.partitions, self._limits, idle.runs, idle, clock)
        book = PartitionBook(partition, self.partitions, monitor, start.offset, idle=idle)
        book.repeats = before.transitions
        for run, timers in idle.take_timers().items():
            book.timers.wake(run, timers)
        for sent in before.of_timers:
            book.timers.adopt(sent)
        book.replay(until=start.end, incidents=min(start.metadata.incidents or 0, before.end), end=before.end)
        self.books[partition] = book
        self._ends[partition] = EndInSight(self._clock())
        self._metrics.lag.labels(str(partition)).set(0)

    def report_unreadable(self, found: UnreadableSnapshot) -> None:
        """A snapshot goes to the dead letters, once: its run starts cold, and what is left of it replaces it."""
        book = self.books.get(found.tp.partition)
        if book is not None and found.run in book.monitor.runs:
            book.mark(found.run, self._clock())
        elif book is not None:
            self.tombstone(book, found.run)
        log.error(
            "snapshot of run %r cannot be read, it starts cold: %s",
            found.key.decode(errors="replace"),
            found.detail,
        )
        self._metrics.dead_letters.labels(Reason.SNAPSHOT_UNREADABLE).inc()
        self._outbox.put(unreadable_snapshot(self._topics, found, self._settings.max_message_bytes))

    def process(self, partition: int, batch: Batch) -> None:
        """Judge a batch and have sent what comes of it. A batch that leaves a hole ends the process."""
        book = self.books.get(partition)
        if book is None:
            return
        if batch.follows != book.position:
            if batch.follows < book.position:
                return  # fetched before a seek; the same records come again from where processing stands
            die(
                ExitCode.INTERNAL_ERROR,
                f"partition {partition}: got a batch behind offset {batch.follows}, processing stands at "
                f"{book.position}; the log will be replayed",
            )
        started = self._clock()
        outcome = book.monitor.process(batch.records)
        book.last_unix_seconds = seconds_of(batch.records[-1].timestamp)
        self._report_damaged(book)
        book.advance(batch.records[-1].offset + 1, outcome, started)
        reached(Point.PROCESSED)
        book.timers.arrivals.update(outcome.touched)
        self._send(book, outcome)
        self._count(batch, outcome, self._clock() - started)

    def write_again(self, partition: int, run: str) -> None:
        """Have our last word on a run be the changelog's."""
        book = self.books[partition]
        if book.monitor.lives.find(run) is None:
            self.tombstone(book, run)
        else:
            book.mark(run, self._clock())

    def tombstone(self, book: PartitionBook, run: str) -> None:
        """Have the changelog drop a run."""
        self._outbox.put(
            Outgoing(
                self._topics.changelog, run.encode(errors="replace"), None, book.partition,
                acknowledged=lambda offset: self.own_write(book.partition, offset),
            )
        )  # fmt: skip

    def tick(self, fetched: Callable[[int], Fetched | None]) -> None:
        """Let time pass for the timers. `fetched` gives the latest answer to a fetch of a partition."""
        now = self._clock()
        for partition, book in self.books.items():
            seconds = self._ends[partition].seconds(now, fetched(partition), book.position)
            outcome = book.timers.tick(seconds, self._wall_clock())
            book.advance(book.position, outcome, now)
            self._send(book, outcome)

    def report_too_large(self) -> None:
        """Runs that start cold because nobody could write their states."""
        for book in self.books.values():
            for run, size in book.too_large.items():
                self._metrics.too_large.inc()
                log.error(
                    "state of run %r has %d bytes, at most %d can be saved: it starts cold; send fewer series, or "
                    "lower max_series_per_run", run, size, MAX_STATE_BYTES,
                )  # fmt: skip
            book.too_large.clear()

    def _report_damaged(self, book: PartitionBook) -> None:
        """Snapshots whose damage showed when their runs were brought back."""
        if book.idle is None or not book.idle.damaged:
            return
        tp = TP(self._topics.changelog, book.partition)
        for run, (payload, detail) in book.idle.damaged.items():
            self.report_unreadable(UnreadableSnapshot(tp, -1, run.encode(), payload, detail))
        book.idle.damaged.clear()

    def _send(self, book: PartitionBook, outcome: Outcome) -> None:
        for key, transition in outcome.transitions:
            self._transition(book, key, transition)
        for refused in outcome.dead_letters:
            self._metrics.dead_letters.labels(refused.reason).inc()
            limit = self._settings.max_message_bytes
            self._outbox.put(dead_letter(self._topics, refused.record, refused.reason, refused.detail, limit))
        for leaving in outcome.forwards:
            self._outbox.put(forward(self._topics, leaving.record, leaving.key, leaving.partition))

    def _transition(self, book: PartitionBook, key: bytes, transition: Transition) -> None:
        identity = (transition.incident, transition.transition)
        if identity in book.repeats:
            book.repeats.discard(identity)
            self._metrics.repeated.inc()
            return
        if transition.status is Status.OPENED:
            self._metrics.incidents.labels(transition.kind, transition.severity).inc()
        self._metrics.transitions.labels(transition.status).inc()

        def landed(offset: int) -> None:
            book.incident_landed(offset)
            if transition.updated_unix_seconds is not None:
                self._metrics.latency.observe(max(0.0, self._wall_clock() - transition.updated_unix_seconds))

        self._outbox.put(
            Outgoing(self._topics.incidents, key, transition.encode(), book.partition, acknowledged=landed)
        )

    def _count(self, batch: Batch, outcome: Outcome, seconds: float) -> None:
        self._metrics.processing.observe(seconds)
        self._metrics.records.inc(len(batch.records) - outcome.counts[PREFLIGHT])
        self._metrics.bytes.inc(batch.value_bytes)
        self._metrics.values.inc(outcome.counts["values"])
        self._metrics.forwarded.inc(len(outcome.forwards))
        for reason in (SERIES_LIMIT, LAYER_LIMIT):
            if outcome.counts[reason]:
                self._metrics.refused_values.labels(reason).inc(outcome.counts[reason])
        for reason in IGNORED:
            if outcome.counts[reason]:
                self._metrics.ignored.labels(reason).inc(outcome.counts[reason])

    def states(self) -> list[RunState]:
        """Every live run state; safe to call from another thread."""
        return [state for book in list(self.books.values()) for state in list(book.monitor.runs.values())]

    @property
    def known_runs(self) -> int:
        """Runs in memory and out of it."""
        return sum(len(book.monitor.lives.known()) for book in self.books.values())

    def resting(self) -> list[RunReading]:
        """What the runs show that are not in memory; safe to call from another thread."""
        idle = [book.idle for book in list(self.books.values()) if book.idle is not None]
        return [run.reading for partition in idle for run in list(partition.resting().values())]

    def gauge(self, ends: Mapping[int, int]) -> None:
        """Set the gauges that follow time. `ends` are the partitions' end offsets, where they are known."""
        now = self._clock()
        self.report_too_large()
        lags = {partition: end - self.books[partition].position for partition, end in ends.items()}
        self._metrics.set_lags(lags)
        behind = (self.books[partition].last_unix_seconds for partition, lag in lags.items() if lag > 0)
        oldest = min((since for since in behind if since is not None), default=None)
        self._metrics.seconds_behind.set(0 if oldest is None else max(0.0, self._wall_clock() - oldest))
        self._metrics.partitions.set(len(self.books))
        idle = sum(len(book.idle.resting()) for book in self.books.values() if book.idle is not None)
        self._metrics.idle_runs.set(idle)
        self._metrics.live_runs.set(idle + sum(len(book.monitor.runs) for book in self.books.values()))
        self._metrics.silent_runs.set(sum(len(book.timers.silent) for book in self.books.values()))
        self._metrics.snapshot_age.set(
            max((book.longest_waiting(now) for book in self.books.values()), default=0)
        )
