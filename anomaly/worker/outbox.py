"""What leaves the worker beside states: incidents, dead letters, forwarded records; sent in order, acknowledged.

The agent puts entries in while it holds the lock and goes on; a task sends them. `acknowledged` is what a save waits
for before it writes a state: a state's offset would keep an incident that was lost from ever being sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anomaly.worker.fault_points import Point, lost, reached
from anomaly.worker.guard import Lease, fail, guarded

MAX_QUEUED_BYTES = 32 << 20

Headers = list[tuple[str, bytes]]


@dataclass(slots=True)
class Outgoing:
    """One record to send; `acknowledged` is called with the offset at which it landed."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: Headers | None = None
    acknowledged: Callable[[int], None] | None = None


Send = Callable[[Outgoing], Awaitable[asyncio.Future[Any]]]
"""How a record is handed to the producer; the result is its acknowledgement to come."""


class Outbox:
    """Entries go out in the order they were put in; an error is the end of the process."""

    def __init__(self, send: Send, lease: Lease) -> None:
        self._send = send
        self._lease = lease
        self._queue: deque[Outgoing] = deque()
        self._sent: deque[asyncio.Future[Any]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._queued_bytes = 0
        self._settled = 0
        self.mark = 0
        """Entries put in since the start; what `acknowledged` takes."""

    def put(self, outgoing: Outgoing) -> None:
        """Have it sent. Never waits; the agent asks for `room` before it takes the next batch."""
        self.mark += 1
        self._queue.append(outgoing)
        self._queued_bytes += len(outgoing.value or b"")
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(guarded(self._send_all)())

    async def room(self) -> None:
        """Wait while too many bytes wait to be sent."""
        while self._queued_bytes > MAX_QUEUED_BYTES:
            await self._next_progress()

    async def acknowledged(self, mark: int) -> None:
        """Wait until the brokers have the first `mark` entries."""
        while self._settled < mark:
            await self._next_progress()

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    async def _send_all(self) -> None:
        while self._queue:
            self._lease.check()
            outgoing = self._queue.popleft()
            future = lost() or await self._send(outgoing)
            reached(Point.OUTBOX_SENT)
            self._queued_bytes -= len(outgoing.value or b"")
            self._sent.append(future)
            future.add_done_callback(lambda done, outgoing=outgoing: self._done(done, outgoing))  # type: ignore[misc]

    def _done(self, future: asyncio.Future[Any], outgoing: Outgoing) -> None:
        if future.cancelled():  # only a producer that is being stopped does so
            return
        error = future.exception()
        if error is not None:
            fail(error, f"sending to {outgoing.topic}")
        reached(Point.OUTBOX_ACKNOWLEDGED)
        if outgoing.acknowledged is not None:
            outgoing.acknowledged(future.result().offset)
        while self._sent and self._sent[0].done():
            self._sent.popleft()
            self._settled += 1
        self._progress.set()
