"""A desk without Kafka: a ledger that remembers, a receiver that records, a clock that a test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from anomaly.incidents.action_book import ActionBook
from anomaly.incidents.transition import Transition
from anomaly.notify.courier import Mailbox
from anomaly.notify.decide import Reason
from anomaly.notify.delivery import Delivery
from anomaly.notify.desk import Desk
from anomaly.notify.entry import Entry, decode_entry
from anomaly.notify.links import Links
from anomaly.notify.metrics import NotifierMetrics
from anomaly.notify.office import Office
from anomaly.notify.routing import Routes
from anomaly.settings_receivers import WebhookSpec
from anomaly.settings_routes import RouteSpec

START = 1_790_000_000.0


class Clock:
    """Unix seconds that stand still until `advance`."""

    def __init__(self) -> None:
        self.now = START
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Let everything happen that is due until then, in its order."""
        await calm()
        end = self.now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, future = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not future.done():
                future.set_result(None)
            await calm()
        self.now = end


async def calm() -> None:
    """Let every task come to where it waits."""
    for _ in range(60):
        await asyncio.sleep(0)


class KilledError(Exception):
    """The process is gone."""


class RememberingLedger:
    """A ledger in memory, which holds bytes as the real one does; `before` is asked before each write."""

    def __init__(self) -> None:
        self.records: dict[bytes, tuple[int, bytes]] = {}
        self.writes = 0
        self.before: Callable[[int], None] = lambda _: None
        self.away: asyncio.Event | None = None
        """While it is there and not set no write is acknowledged."""

    async def write(self, partition: int, entry: Entry) -> None:
        self.writes += 1
        self.before(self.writes)
        if self.away is not None:
            await self.away.wait()
        self.records[entry.key] = (partition, entry.encode())
        await asyncio.sleep(0)

    async def forget(self, partition: int, receiver: str, incident: str) -> None:
        self.records.pop(f"{receiver}\x00{incident}".encode(), None)

    def read(self) -> dict[int, dict[str, Entry]]:
        found: dict[int, dict[str, Entry]] = {}
        for partition, value in self.records.values():
            entry = decode_entry(value)
            found.setdefault(partition, {})[entry.incident] = entry
        return found


class RecordingReceiver:
    """Keeps what it is told; `answer` may raise, before it is kept."""

    wants_picture = False

    def __init__(self, name: str, refresh_seconds: float | None = None) -> None:
        self.name = name
        self.refresh_seconds = refresh_seconds
        self.told: list[Delivery] = []
        self.refreshed: list[Sequence[Delivery]] = []
        self.hangs: asyncio.Event | None = None
        """While it is there and not set `refresh` does not come back."""
        self.answer: Callable[[Delivery], None] = lambda _: None

    async def deliver(self, delivery: Delivery) -> str | None:
        await asyncio.sleep(0)
        self.answer(delivery)
        self.told.append(delivery)
        return f"receipt of {delivery.dedup}"

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        self.refreshed.append(deliveries)

    async def close(self) -> None:
        """Nothing."""

    def events(self) -> list[tuple[str, str]]:
        """(event, key) of each."""
        return [(str(one.event), one.key) for one in self.told]


class Scene:
    """One receiver's desk; `again` is the desk of a process that comes after a crash."""

    def __init__(
        self,
        receiver: RecordingReceiver,
        fallback: RecordingReceiver | None = None,
        routes: Sequence[RouteSpec] = (),
        **spec: Any,
    ) -> None:
        self.clock = Clock()
        self.ledger = RememberingLedger()
        self.book = ActionBook()
        self.receiver = receiver
        self.registry = CollectorRegistry()
        names = [receiver.name] + ([fallback.name] if fallback else [])
        self.office = Office(
            self.ledger, self.book, Routes(routes), Links(), NotifierMetrics(self.registry, names, Reason),
            lambda: None, clock=self.clock, sleep=self.clock.sleep,
        )  # fmt: skip
        own = WebhookSpec(type="webhook", name=receiver.name, url="http://x", **spec)
        self._own = Mailbox(own, receiver)
        self._fallback = None
        if fallback is not None:
            self._fallback = Mailbox(
                WebhookSpec(type="webhook", name=fallback.name, url="http://y"), fallback
            )
        self.desk = Desk(self._own, self._fallback, self.office)
        self._tasks: list[asyncio.Task[None]] = []

    def again(self) -> None:
        """Another process, which knows the ledger alone."""
        self.desk = Desk(self._own, self._fallback, self.office)
        self.desk.load(self.ledger.read())

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def take(self, *transitions: Transition) -> None:
        """All at once; returns when nothing moves any more without time."""
        queues: dict[str, list[tuple[int, Transition]]] = {}
        for offset, one in enumerate(transitions):
            queues.setdefault(one.incident, []).append((offset, one))
        for queue in queues.values():
            self.start(self._work_off(queue))
        await calm()

    async def _work_off(self, queue: list[tuple[int, Transition]]) -> None:
        for offset, one in queue:
            await self.desk.take(0, offset, one, self.clock.now)

    async def unfinished(self) -> None:
        for _, work in self.desk.unfinished():
            self.start(work())
        await calm()

    async def look_again(self) -> None:
        for incident in self.desk.due():
            self.start(self.desk.look_again(incident))
        await calm()

    async def end(self) -> None:
        """Nothing may have failed."""
        for task in self._tasks:
            if task.done():
                task.result()
            else:
                task.cancel()
        await self.desk.storms.stop()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"receiver": self.receiver.name, **labels}) or 0.0
