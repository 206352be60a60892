"""The worker on Faust: which of its own parts runs when. The only module, with its transport, that knows Faust.

One lock, `turn`, keeps processing, the dump of states and the change of partitions apart. What happens when:

    assigned      forget what left; Faust recovers the states of the rest from the changelog (`store`)
    recovered     commits and sent incidents are read, books opened, a first commit made where there was none
    a batch       judged, what comes of it put into the outbox (`stream`)
    every second  a rolling save (`saver`); four times a second a look at the clock, the lease, the topic;
                  twice a second the timers of the runs (`end_in_sight`)
    revoked, end  everything is saved, within two seconds
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from faust.types import TP

from anomaly.health import Health
from anomaly.metrics import WorkerMetrics
from anomaly.settings import Settings
from anomaly.worker import foreign
from anomaly.worker import store as state_store
from anomaly.worker.continuity import Batch
from anomaly.worker.faust_app import build_app
from anomaly.worker.foreign import ForeignRecords
from anomaly.worker.guard import Lease, fail, guarded
from anomaly.worker.idle import FILE, IdleFile
from anomaly.worker.outbox import Outbox, Outgoing
from anomaly.worker.repeats import sent_before
from anomaly.worker.same_topic import assigned_partitions, check_ends, check_partitions
from anomaly.worker.saver import Saver
from anomaly.worker.starts import find_starts
from anomaly.worker.stream import Stream
from anomaly.worker.transport import BatchSchema, Consumer, Producer
from anomaly.worker.upkeep import Upkeep

LOOK_SECONDS = 0.25
TICK_SECONDS = 0.5
UPKEEP_SECONDS = 0.25
SAVE_SECONDS = 2.0
"""For everything, at revocation and at the end; what takes longer is replayed by whoever comes next."""

log = logging.getLogger("anomaly.worker")


class Worker:
    """One worker process; `app` is what Faust runs."""

    def __init__(
        self, settings: Settings, partitions: int, metrics: WorkerMetrics, health: Health, address: str
    ) -> None:
        self.settings = settings
        self.topics = settings.topics
        self.partitions = partitions
        self.metrics = metrics
        self.health = health
        self.address = address
        self.lease = Lease(settings.session_timeout_seconds)
        self.app = build_app(settings, partitions, self.lease)
        self.turn = asyncio.Lock()
        self._recovering = asyncio.Lock()
        self.outbox = Outbox(self._send, self.lease)
        self.stream = Stream(settings, partitions, metrics, self.outbox)
        changelog = self.topics.changelog
        self.saver = Saver(changelog, self.turn, self.outbox, self._send, self, self.lease, metrics)
        self.stream.own_write = self.own_write
        self.upkeep = Upkeep(settings, self.turn, self.stream, metrics)
        self._missing_offsets = 0
        self._wire()

    def _wire(self) -> None:
        app = self.app
        source = app.topic(
            self.topics.telemetry, schema=BatchSchema(), acks=False, partitions=self.partitions, maxsize=4096
        )
        table = app.Table(
            "state", key_type=bytes, value_type=bytes, store=f"{state_store.SCHEME}://local",
            partitions=self.partitions, recovery_buffer_size=32,
        )  # fmt: skip
        self.store = cast(state_store.RunStateStore, table.data)
        self.store.file = IdleFile(str(Path(self.settings.data_dir).expanduser() / FILE))
        self.store.on_recovered = guarded(self.recovered)
        ends = lambda *tps: self.consumer.highwaters(*tps)  # noqa: E731
        others = ForeignRecords(
            self.settings, self.turn, self.saver, self.stream, self.store, self.metrics, ends
        )
        app.agent(source, name="judge")(guarded(self.consume))
        app.timer(LOOK_SECONDS)(guarded(self.look))
        app.timer(TICK_SECONDS)(guarded(self.tick))
        app.timer(self.settings.snapshot_seconds)(guarded(self.save))
        app.timer(foreign.LOOK_SECONDS)(guarded(partial(self.if_settled, others.look)))
        app.timer(UPKEEP_SECONDS)(guarded(partial(self.if_settled, self.upkeep.look)))
        app.on_partitions_revoked.connect(guarded(self.revoked))
        app.on_partitions_assigned.connect(guarded(self.assigned))
        app.on_before_shutdown.connect(guarded(self.stopping))

    @property
    def consumer(self) -> Consumer:
        """Exists once Faust has started."""
        return cast(Consumer, self.app.consumer)

    @property
    def settled(self) -> bool:
        """No rebalance and no recovery is going on."""
        return not self.app.rebalancing and not self.app.in_recovery and self.app.flow_control.is_active()

    async def if_settled(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what is done now and then, unless partitions are on their way."""
        if self.settled:
            await work()

    async def consume(self, stream: Any) -> None:
        """The agent: batch after batch."""
        async for event in stream.events():
            batch: Batch = event.value
            self.consumer.taken(batch)
            await self.outbox.room()
            async with self.turn:
                if self.settled and event.message.generation_id == self.app.consumer_generation_id:
                    self.lease.check()
                    self.stream.process(event.message.partition, batch)
                # else it is of an assignment that is gone: what is still ours is read again from its position

    async def look(self) -> None:
        """The regular look at everything that no message brings."""
        self.health.pulse()
        if not self.settled:
            self.health.ready = False
            return
        self.lease.check()
        check_partitions(self.topics.telemetry, self.consumer, self.partitions)
        ends = {
            partition: end
            for partition in self.stream.books
            if (end := self.consumer.highwater(TP(self.topics.telemetry, partition))) is not None
        }
        if not self.settings.development_broker:  # its end is the base of the last batch + 1
            await check_ends(self.topics.telemetry, self.consumer, ends, dict(self.stream.books))
        self.stream.gauge(ends)
        self.metrics.missing_offsets.inc(self.consumer.continuity.missing_offsets - self._missing_offsets)
        self._missing_offsets = self.consumer.continuity.missing_offsets
        self._ready(bool(self.stream.books))

    def _ready(self, ready: bool) -> None:
        if ready and not self.health.ready:
            held = f"{len(self.stream.books)} of {self.partitions} partitions of {self.topics.telemetry}"
            group = self.topics.consumer_group
            log.info(
                "ready: %s, %d runs, group %s, http://%s/metrics",
                held,
                self.stream.known_runs,
                group,
                self.address,
            )
        self.health.ready = ready
        self.metrics.ready.set(ready)

    async def tick(self) -> None:
        """Time passes, for what no record brings."""
        if self.settled:
            async with self.turn:
                self.stream.tick(lambda at: self.consumer.fetched(TP(self.topics.telemetry, at)))

    async def save(self) -> None:
        """The rolling save."""
        books = list(self.stream.books.values())
        if self.settled and books:
            await self.saver.save(books, self.saver.budget(books, self.settings.snapshot_seconds))

    async def revoked(self, *_: Any, **__: Any) -> None:
        """A rebalance begins: whoever gets our partitions should find everything saved."""
        self.health.ready = False
        self.metrics.ready.set(0)
        await self._save_all("at a rebalance")

    async def _save_all(self, when: str) -> None:
        books = list(self.stream.books.values())
        if not books:
            return
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                await self.saver.save_all(books)
        except TimeoutError:
            log.warning("not everything was saved %s in %g s; the rest will be replayed", when, SAVE_SECONDS)

    async def assigned(self, *args: Any, **_: Any) -> None:
        """What stays, stays live; the rest is forgotten whole."""
        assigned: set[TP] = args[1]  # after the app
        self.lease.renew()
        self.consumer.position_of = self._position
        self.consumer.take_ahead = self.store.take_ahead
        partitions = assigned_partitions(self.topics, assigned)
        async with self.turn:
            self.stream.keep(partitions)
            self.store.keep(partitions)
        self.metrics.rebalances.inc()

    def _position(self, tp: TP) -> int | None:
        book = self.stream.books.get(tp.partition)
        return None if book is None else book.position

    async def recovered(self, partitions: set[int]) -> None:
        """States are in. Open what is new, before anything of it is read."""
        async with self._recovering:
            generation = self.app.consumer_generation_id
            read = {} if self.settings.development_broker else self.store.read(partitions)
            starts = await find_starts(
                self.consumer, self.topics.telemetry, partitions, self.partitions, read
            )
            async with self.turn:
                self.stream.keep(partitions)
                moved_on = {
                    partition
                    for partition, book in self.stream.books.items()
                    if starts[partition].offset > book.position  # somebody else had it meanwhile
                }
                self.stream.keep(partitions - moved_on)
            opening = partitions - self.stream.books.keys()
            remembered = {partition: starts[partition].metadata.incidents for partition in opening}
            before = await sent_before(self.settings.connection, self.topics.incidents, remembered)
            async with self.turn:
                if generation != self.app.consumer_generation_id:
                    return  # partitions changed again; this is called once more
                for each in opening:
                    self.stream.open(each, self.store.runs(each), starts[each], before[each])
                for found in self.store.take_unreadable():
                    self.stream.report_unreadable(found)

    async def stopping(self, *_: Any, **__: Any) -> None:
        """The end, as asked; or Faust's own crash, after which nothing may be written."""
        self.health.ready = False
        if self.app.crashed:
            fail(self.app.crash_reason or RuntimeError("unknown"), "Faust")
        await self._save_all("at the end")

    async def commit(self, commits: Mapping[int, tuple[int, str]]) -> bool:
        """See `saver.Log`."""
        check_partitions(self.topics.telemetry, self.consumer, self.partitions)
        return await self.consumer.commit_with(
            {TP(self.topics.telemetry, partition): commit for partition, commit in commits.items()}
        )

    def own_write(self, partition: int, offset: int) -> None:
        """See `saver.Log`."""
        self.store.own_write(TP(self.topics.changelog, partition), offset)

    async def _send(self, outgoing: Outgoing) -> asyncio.Future[Any]:
        return await cast(Producer, self.app.producer).send_raw(
            outgoing.topic, outgoing.value, outgoing.key, partition=outgoing.partition,
            timestamp_ms=outgoing.timestamp_ms, headers=outgoing.headers,
        )  # fmt: skip
