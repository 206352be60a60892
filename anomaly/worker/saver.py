"""The rolling save: what was sent acknowledged → states written and acknowledged → offsets committed. In this order.

States before incidents would lose one: the state's offset keeps a replay from making it again. Rolling, because all
states of 5,000 runs every second would be absurd: each pass writes the longest-waiting runs up to a byte budget.
States are dumped under the worker's lock and written outside it, so that processing pauses for the dump alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from anomaly.metrics import WorkerMetrics
from anomaly.worker.fault_points import Point, reached
from anomaly.worker.guard import Lease
from anomaly.worker.outbox import Outbox, Outgoing, Send
from anomaly.worker.partition_book import PartitionBook

MIN_BUDGET_BYTES = 1 << 20
MIN_STATE_BYTES = 16 << 10
"""What a small state costs of the budget: dumping, sending and awaiting it is dearer than its bytes."""
TURNOVER_SECONDS = 30.0
"""All states are written within this time, if all keep changing: also how much log is replayed after a crash."""
CHUNK_BYTES = 32 << 20
"""Written and acknowledged before the next is dumped, where everything is to be saved."""
MAX_PAUSE_SECONDS = 0.02


class Log(Protocol):
    """The broker, as far as a save needs it."""

    async def commit(self, commits: Mapping[int, tuple[int, str]]) -> bool:
        """Commit telemetry's offsets with metadata; False when a rebalance makes that impossible now."""

    def own_write(self, partition: int, offset: int) -> None:
        """A snapshot of ours landed in the changelog."""


@dataclass(frozen=True, slots=True)
class _Dumped:
    book: PartitionBook
    run: str
    payload: bytes


class Saver:
    """Saves books' dirty runs. One pass at a time; `turn` is the worker's lock."""

    def __init__(
        self, changelog: str, turn: asyncio.Lock, outbox: Outbox, send: Send, log: Log, lease: Lease,
        metrics: WorkerMetrics, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._changelog = changelog
        self._turn = turn
        self._outbox = outbox
        self._send = send
        self._log = log
        self._lease = lease
        self._metrics = metrics
        self._clock = clock
        self._passing = asyncio.Lock()
        self._mean_state_bytes = 0.0
        self._longest_pause = 0.0

    def budget(self, books: Iterable[PartitionBook], seconds: float) -> float:
        """Bytes for one pass, with a pass every `seconds`."""
        runs = sum(len(book.monitor.runs) for book in books)
        mean = max(self._mean_state_bytes, MIN_STATE_BYTES)
        return max(MIN_BUDGET_BYTES, runs * mean * seconds / TURNOVER_SECONDS)

    async def save(self, books: Collection[PartitionBook], budget: float) -> None:
        """One pass over `books`: up to `budget` bytes of states, then what may be committed of each."""
        async with self._passing:
            await self._pass(books, budget)

    @asynccontextmanager
    async def nothing_in_flight(self) -> AsyncIterator[None]:
        """While entered, whatever was written to the changelog is acknowledged, and nothing else is."""
        async with self._passing:
            await self._outbox.acknowledged(self._outbox.mark)
            yield

    async def save_all(self, books: Collection[PartitionBook]) -> None:
        """Passes until nothing is dirty. Only while nothing is processed, or it may not end."""
        async with self._passing:
            await self._pass(books, CHUNK_BYTES)
            while any(book.dirty for book in books):
                await self._pass(books, CHUNK_BYTES)

    async def _pass(self, books: Collection[PartitionBook], budget: float) -> None:
        try:
            dumped = await self._dump(books, budget)
            async with self._turn:  # what is processed from here on, these commits do not cover
                commits = {book.partition: book.commit() for book in books}
                mark = self._outbox.mark
            await self._outbox.acknowledged(mark)
            await self._write(dumped)
        except BaseException:
            for book in books:
                book.put_back()
            raise
        for book in books:
            book.landed()
        self._count(dumped)
        changed = {
            book.partition: commits[book.partition]
            for book in books
            if book.committed != commits[book.partition]
        }
        if changed:
            self._lease.check()
            if await self._log.commit(changed):
                reached(Point.COMMITTED)
                for book in books:
                    book.commit_landed(commits[book.partition])

    async def _dump(self, books: Collection[PartitionBook], budget: float) -> list[_Dumped]:
        """Dump the longest-waiting runs, letting processing in between whenever it has waited long enough."""
        waiting = sorted(
            (
                (uncovered.since, book.partition, run)
                for book in books
                for run, uncovered in book.dirty.items()
            ),
            reverse=True,
        )
        by_partition = {book.partition: book for book in books}
        dumped: list[_Dumped] = []
        while waiting and budget > 0:
            async with self._turn:
                started = self._clock()
                while waiting and budget > 0 and self._clock() - started < MAX_PAUSE_SECONDS:
                    _, partition, run = waiting.pop()
                    book = by_partition[partition]
                    for each in (*book.unsaved_forks(run), run) if run in book.dirty else ():
                        payload = book.dump(each)
                        if payload is not None:
                            dumped.append(_Dumped(book, each, payload))
                            budget -= max(len(payload), MIN_STATE_BYTES)
                self._longest_pause = max(self._longest_pause, self._clock() - started)
            await asyncio.sleep(0)
        self._metrics.snapshot_pause.set(self._longest_pause)
        return dumped

    async def _write(self, dumped: list[_Dumped]) -> None:
        sent: list[tuple[_Dumped, Awaitable[Any]]] = []
        for state in dumped:
            self._lease.check()
            outgoing = Outgoing(self._changelog, state.run.encode(), state.payload, state.book.partition)
            sent.append((state, await self._send(outgoing)))
            reached(Point.STATE_SENT)
        for state, acknowledgement in sent:
            landed = await acknowledgement
            self._log.own_write(state.book.partition, landed.offset)
            reached(Point.STATE_ACKNOWLEDGED)

    def _count(self, dumped: list[_Dumped]) -> None:
        if not dumped:
            return
        total = sum(len(state.payload) for state in dumped)
        mean = total / len(dumped)
        self._mean_state_bytes = 0.8 * self._mean_state_bytes + 0.2 * mean if self._mean_state_bytes else mean
        self._metrics.snapshots.inc(len(dumped))
        self._metrics.snapshot_bytes.inc(total)
