"""One receiver's lane: a consumer of the incidents topic with a group of its own, in front of its desk.

Transitions of one incident are dealt with in order, those of different incidents at the same time. An offset is
committed once it and all before it are recorded in the ledger. The group gives all partitions to one process
(`one_owner`); the others stand by and read the ledger when it is their turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, TopicAuthorizationFailedError

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.incidents.transition import Transition, decode_transition
from anomaly.notify.decide import Reason
from anomaly.notify.desk import Desk
from anomaly.notify.ledger import Ledger
from anomaly.notify.one_owner import one_owner
from anomaly.notify.progress import Progress
from anomaly.notify.queues import Queues, ended
from anomaly.topics import is_preflight

POLL_MS = 200
MOST_WAITING = 2_000
"""Transitions taken and not recorded yet; beyond that nothing is fetched."""
LARGEST_BYTES = 512 << 10
"""Of a transition: an entry that holds it must fit into the ledger. Ours are a few thousand."""
COMMIT_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 5.0
STOP_SECONDS = 2.0
"""What is on its way may still arrive; what waits longer is told by whoever comes next."""
HEARTBEATS = 5
"""In a session: as many may be missed."""

log = logging.getLogger(__name__)


class Lane:
    """Runs until cancelled. `starts` are the ends of the incidents topic when the process began, by partition: where
    a group begins that never committed.
    """

    def __init__(
        self,
        desk: Desk,
        ledger: Ledger,
        connection: Connection,
        topic: str,
        group: str,
        starts: Mapping[int, int],
        since_unix_seconds: float,
        session_seconds: float,
    ) -> None:
        self.settled = False
        """Assigned, or standing by."""
        self.look_now = asyncio.Event()
        """Set it when people have acted."""
        self._desk = desk
        self._ledger = ledger
        self._topic = topic
        self._starts = starts
        self._assignments = 0
        self._taken_over = 0
        self._progress = Progress()
        self._committed: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        """Of the partitions when they became ours; until something is fetched nothing else says it."""
        self._queues = Queues()
        self._paused = False
        self._consumer = AIOKafkaConsumer(
            **kafka_options(connection),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(one_owner(since_unix_seconds),),
            session_timeout_ms=int(session_seconds * 1000),
            heartbeat_interval_ms=int(session_seconds * 1000 / HEARTBEATS),
            fetch_max_wait_ms=100,
            metadata_max_age_ms=60_000,
        )

    async def run(self) -> None:
        """Follow the incidents for ever. Raises `KafkaError` where Kafka refuses, and whatever else goes wrong."""
        refresh = self._desk.mailbox.receiver.refresh_seconds
        try:
            self._consumer.subscribe([self._topic], listener=_Listener(self._revoked, self._assigned))
            await self._consumer.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._consume())
                group.create_task(self._every(COMMIT_SECONDS, self._commit))
                group.create_task(self._look())
                if refresh is not None:
                    group.create_task(self._every(refresh, partial(self._desk.refresh, self._queues)))
        finally:
            await self._revoked()
            await self._consumer.stop()

    async def _consume(self) -> None:
        while self._queues.failure is None:
            if self._taken_over != self._assignments:
                await self._take_over()
            self._hold_back()
            batches = await self._consumer.getmany(timeout_ms=POLL_MS)
            if not self.settled:
                continue  # of positions that are set anew
            for tp, records in batches.items():
                for record in records:
                    self._accept(tp.partition, record)
            self._gauge()
        raise self._queues.failure

    async def _revoked(self) -> None:
        """Let what is on its way arrive, for a moment; the rest is whoever's the partitions are next."""
        self.settled = False
        await self._queues.stop(STOP_SECONDS)
        await self._desk.storms.stop()
        await self._commit()
        self._committed = {}
        self._progress.begin({})

    async def _assigned(self) -> None:
        self._assignments += 1

    async def _take_over(self) -> None:
        """What is ours now: read the ledger, go to the commits, deliver what was on its way."""
        assignment = self._assignments
        assigned = sorted(self._consumer.assignment())
        found = (
            await self._ledger.read(self._desk.name, [tp.partition for tp in assigned]) if assigned else {}
        )
        positions = await self._positions(assigned)
        ends = await self._consumer.end_offsets(assigned) if assigned else {}
        if assignment != self._assignments or set(assigned) != self._consumer.assignment():
            return
        self._taken_over = assignment
        for partition, offset in positions.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)
        self._committed = dict(positions)
        self._ends = {tp.partition: end for tp, end in ends.items()}
        self._progress.begin(positions)
        self._desk.load(found)
        self._paused = False
        self._gauge()
        self.settled = True
        if not assigned:
            log.info(
                "receiver %s: another notifier follows the incidents, this one stands by", self._desk.name
            )
            return
        known = sum(len(each) for each in found.values())
        log.info("receiver %s: follows the incidents; %d are known", self._desk.name, known)
        for incidents, work in self._desk.unfinished():
            task = self._queues.start(work())
            for incident in incidents:
                self._queues.add(incident, partial(ended, task))

    async def _positions(self, assigned: list[TopicPartition]) -> dict[int, int]:
        """Where to go on. What was never committed is at once, so that no restart moves it."""
        commits = await asyncio.gather(*(self._consumer.committed(tp) for tp in assigned))
        found = {
            tp.partition: commit for tp, commit in zip(assigned, commits, strict=True) if commit is not None
        }
        new = {
            tp.partition: self._starts.get(tp.partition, 0) for tp in assigned if tp.partition not in found
        }
        if new:
            await self._consumer.commit(
                {TopicPartition(self._topic, at): offset for at, offset in new.items()}
            )
        return found | new

    def _accept(self, partition: int, record: Any) -> None:
        self._progress.take(partition, record.offset)
        if is_preflight(record.key, record.value):
            self._progress.done(partition, record.offset)
            return
        try:
            transition = decode_transition(record.value or b"")
            if len(transition.encode()) > LARGEST_BYTES:
                raise ValueError(f"larger than {LARGEST_BYTES:,} bytes")
        except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, RecursionError) as error:
            log.error(
                "%s, partition %d, offset %d is no transition: %r",
                self._topic,
                partition,
                record.offset,
                error,
            )
            self._desk.office.metrics.decisions.labels(self._desk.name, Reason.UNREADABLE).inc()
            self._progress.done(partition, record.offset)
            return
        self._queues.add(
            transition.incident,
            partial(self._deal_with, transition, partition, record.offset, record.timestamp / 1000.0),
        )

    async def _deal_with(self, transition: Transition, partition: int, offset: int, written: float) -> None:
        await self._desk.take(partition, offset, transition, written)
        self._progress.done(partition, offset)

    def _hold_back(self) -> None:
        """Fetch nothing while too much waits; polling goes on, or Kafka would take us for dead."""
        full = self._progress.waiting >= MOST_WAITING
        if full != self._paused:
            (self._consumer.pause if full else self._consumer.resume)(*self._consumer.assignment())
            self._paused = full

    async def _commit(self) -> None:
        positions = self._progress.positions()
        changed = {at: offset for at, offset in positions.items() if offset != self._committed.get(at)}
        if not changed:
            return
        try:
            await self._consumer.commit(
                {TopicPartition(self._topic, at): offset for at, offset in changed.items()}
            )
        except TopicAuthorizationFailedError:
            raise
        except (KafkaError, IllegalStateError) as error:  # whoever reads it again finds it in the ledger
            log.warning("receiver %s: progress is not committed: %r", self._desk.name, error)
            return
        self._committed |= changed
        await self._desk.forget(self._committed, self._queues)

    async def _look(self) -> None:
        """Now and then, and when people have acted."""
        while True:
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await self.look_now.wait()
            except TimeoutError:
                pass
            self.look_now.clear()
            if self.settled:
                for incident in self._desk.due():
                    if incident not in self._queues:
                        self._queues.add(incident, partial(self._desk.look_again, incident))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self.settled:
                await work()

    def _gauge(self) -> None:
        done, lag = self._progress.positions(), 0
        for at, position in done.items():
            seen = self._consumer.highwater(TopicPartition(self._topic, at)) or 0
            lag += max(seen, self._ends.get(at, 0)) - position
        self._desk.office.metrics.lag.labels(self._desk.name).set(max(lag, 0))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(
        self, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], Awaitable[None]]
    ) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._assigned()
