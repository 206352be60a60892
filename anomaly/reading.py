"""Reading topics with a plain consumer: the one place for every command that does. No group, nothing committed.

The worker's test writes are skipped here, so that no reader counts them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.protocol.metadata import MetadataRequest

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import PreflightError
from anomaly.refusals import ThreadLog, unreachable
from anomaly.topics import is_preflight

POLL_SECONDS = 0.2
LOOK_AGAIN_SECONDS = 1.0
_LARGEST_RECORD = 16 << 20
SMALL_FETCH = 1 << 20
BLOCK_RECORDS = 50_000
"""Of transitions, some 100 MB."""


class TopicReader:
    """Reads whole topics. Use it with ``async with``.

    `fetch_bytes` is what one answer may hold of one partition: less wastes less where small parts are read. A larger
    record comes all the same where one partition is read at a time.
    Raises `KafkaUnreachableError` where no broker answers, `PreflightError` where one refuses.
    """

    def __init__(self, connection: Connection, fetch_bytes: int = _LARGEST_RECORD) -> None:
        self._connection = connection
        self._fetch_bytes = fetch_bytes
        self._log = ThreadLog()
        self._admin: Any = None
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        options = kafka_options(self._connection)
        self._log.__enter__()
        self._admin = AIOKafkaAdminClient(**options)
        self._consumer = AIOKafkaConsumer(
            **options,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=self._fetch_bytes,
        )
        try:
            await self._admin.start()
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.__aexit__(None, None, None)
            raise await unreachable(self._connection, self._log.latest, error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await _stopped(self._consumer.stop())
            await _stopped(self._admin.close())
        finally:
            self._log.__exit__(kind, error, trace)
        if isinstance(error, KafkaError):
            raise await unreachable(self._connection, self._log.latest, error) from None

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """The topic's partitions; none where it does not exist. Asking creates nothing."""
        for found in await self._admin.describe_topics():  # all of them: a question for one may create it
            if found["topic"] == topic:
                return [TopicPartition(topic, number) for number in range(len(found["partitions"]))]
        # Not there, or hidden from us: a question for this one tells, and must be told to create nothing.
        answer = await self._admin._send_request(MetadataRequest([topic], allow_auto_topic_creation=False))
        if answer.topics and answer.topics[0][0] == TopicAuthorizationFailedError.errno:
            raise PreflightError(_may_not_read(topic))
        return []

    async def to_end(self, topic: str) -> AsyncIterator[Any]:
        """Every record that the topic holds now, partition by partition in order."""
        partitions = await self.partitions(topic)
        starts, ends = await self._beginnings(partitions), await self.ends(partitions)
        async for records in self.between(starts, ends):
            for record in records:
                yield record

    async def backwards(
        self, topic: str, since_unix_seconds: float, block_records: int = BLOCK_RECORDS
    ) -> AsyncIterator[list[Any]]:
        """What the topic holds since then, in blocks, the newest first; within one each partition is in its order."""
        partitions = await self.partitions(topic)
        first, ends = await self.since(partitions, since_unix_seconds), await self.ends(partitions)
        size = max(block_records // max(len(partitions), 1), 1)
        while any(first[one] < ends[one] for one in partitions):
            starts = {one: max(first[one], ends[one] - size) for one in partitions}
            yield [record async for records in self.between(starts, ends) for record in records]
            ends = starts

    async def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[list[Any]]:
        """The records of these partitions from `starts` up to but without `ends`, as they come.

        What is no longer there is passed over.
        """
        left = {one for one, start in starts.items() if start < ends[one]}
        if not left:
            return
        self._consumer.assign(list(left))
        for one in left:
            self._consumer.seek(one, starts[one])
        while left:
            records = await self._poll(next(iter(left)).topic)
            yield [one for one in records if one.offset < ends[TopicPartition(one.topic, one.partition)]]
            done = {one for one in left if await self._consumer.position(one) >= ends[one]}
            self._consumer.pause(*done)  # or it would be read on behind our back
            left -= done

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset after each partition's last record."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
        return found

    async def since(
        self, partitions: Collection[TopicPartition], unix_seconds: float
    ) -> dict[TopicPartition, int]:
        """The offset of each partition's first record that is at least so new; its end where none is."""
        if unix_seconds <= 0:
            return await self._beginnings(partitions)
        milliseconds = int(unix_seconds * 1000)
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, milliseconds))
        ends = await self.ends(partitions)
        return {one: ends[one] if found[one] is None else found[one].offset for one in partitions}

    async def _beginnings(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = await self._consumer.beginning_offsets(list(partitions))
        return found

    async def follow(
        self,
        topic: str,
        from_beginning: bool,
        waiting: Callable[[], None],
        ready: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Any]:
        """Records as they come, for ever; `waiting` is called once if the topic does not exist yet.

        `ready` is called when no record published from now on can be missed.
        """
        partitions = await self.partitions(topic)
        if not partitions:
            waiting()
            from_beginning = True  # all that it will hold is new
        while not partitions:
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            partitions = await self.partitions(topic)
        self._consumer.assign(partitions)
        await (self._consumer.seek_to_beginning if from_beginning else self._consumer.seek_to_end)(
            *partitions
        )
        ready()
        while True:
            for record in await self._poll(topic):
                yield record

    async def _poll(self, topic: str) -> list[Any]:
        try:
            batches = await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
        except TopicAuthorizationFailedError:
            raise PreflightError(_may_not_read(topic)) from None
        return [
            record
            for batch in batches.values()
            for record in batch
            if not is_preflight(record.key, record.value)
        ]


async def _stopped(stopping: Coroutine[Any, Any, None]) -> None:
    try:
        await stopping
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise  # else it is a task of aiokafka's, which never got to its work


def _may_not_read(topic: str) -> str:
    return f"topic {topic} may not be read; allow this user READ on that topic"
