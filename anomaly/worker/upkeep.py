"""What becomes of runs that no record comes for: out of memory, closed, forgotten. A little at a time, under the lock.

None of it changes what a later record finds (`anomaly.monitor.lives`), so when it happens does not matter.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable

from anomaly.metrics import WorkerMetrics
from anomaly.settings import Settings
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.readings import reading_of
from anomaly.worker.stream import Stream

MAX_PAUSE_SECONDS = 0.02

log = logging.getLogger("anomaly.worker")


class Upkeep:
    """Looks after the partitions in turn; one with a thousand runs takes a millisecond."""

    def __init__(
        self, settings: Settings, turn: asyncio.Lock, stream: Stream, metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._turn = turn
        self._books = stream.books
        self._tombstone = stream.tombstone
        self._metrics = metrics
        self._idle_seconds = settings.idle_run_seconds
        self._max_in_memory = settings.max_runs_in_memory
        self._clock = clock
        self._last = -1
        self._disk_full = False

    async def look(self) -> None:
        """Look after the next partition, and after all that are needed when too much is in memory."""
        async with self._turn:
            partitions = sorted(self._books)
            if not partitions:
                return
            self._last = next((each for each in partitions if each > self._last), partitions[0])
            book = self._books[self._last]
            self._end_lives(book)
            self._rest(book, self._clock() - self._idle_seconds)
            self._make_room()

    def _end_lives(self, book: PartitionBook) -> None:
        """Close the runs whose time has come, and drop those of which nothing needs to be known."""
        lives = book.monitor.lives
        for run, life in lives.known():
            if life.ends is not None and book.committed_clock > life.ends:
                if book.forget(run):
                    self._tombstone(book, run)
                    self._metrics.forgotten.inc()
            elif not life.closed and lives.closed(life) and book.close(run, self._clock()):
                self._metrics.closed.inc()

    def _rest(self, book: PartitionBook, before: float, most: int = 1 << 30) -> int:
        """Move up to `most` runs out of memory that had no record since `before`; how many it were."""
        until = self._clock() + MAX_PAUSE_SECONDS
        moved = 0
        for run in book.quiet_since(before):
            if moved >= most or self._clock() > until:
                break
            try:
                moved += book.rest(run, reading_of(book.monitor.runs[run]))
                self._disk_full = False
            except sqlite3.Error as error:
                if not self._disk_full:
                    log.warning(
                        "idle runs stay in memory: data_dir cannot be written (%s); make room there", error
                    )
                self._disk_full = True
                break
        return moved

    def _make_room(self) -> None:
        over = sum(len(book.monitor.runs) for book in self._books.values()) - self._max_in_memory
        for book in sorted(self._books.values(), key=lambda one: -len(one.monitor.runs)):
            if over <= 0:
                return
            over -= self._rest(book, self._clock(), over)
