"""What people do with incidents, as the notifier follows it: the whole topic first, then as it comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import ActionError
from anomaly.incidents.action_book import ActionBook
from anomaly.incidents.actions import decode_action
from anomaly.topics import is_preflight

POLL_MS = 200
PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Actions:
    """Keeps `book` as the topic has it. `changed` is called when something has come, once the beginning is read."""

    def __init__(self, connection: Connection, topic: str, partitions: int) -> None:
        self.book = ActionBook()
        self.changed: Callable[[], None] = lambda: None
        self.complete = asyncio.Event()
        """What the topic held at the start is read."""
        self._connection = connection
        self._topic = topic
        self._partitions = partitions

    async def follow(self) -> None:
        """Read for ever. Raises `KafkaError` where the topic may not be read."""
        consumer = AIOKafkaConsumer(
            **kafka_options(self._connection), enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            tps = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            while True:
                came = await self._poll(consumer)
                if not self.complete.is_set():
                    if all([await consumer.position(tp) >= ends[tp] for tp in tps]):
                        self.complete.set()
                elif came:
                    self.changed()
        finally:
            await consumer.stop()

    async def _poll(self, consumer: AIOKafkaConsumer) -> bool:
        try:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
        except TopicAuthorizationFailedError:
            raise
        except KafkaError as error:
            log.warning("incident actions cannot be read now: %r", error)
            await asyncio.sleep(PAUSE_SECONDS)
            return False
        records = [record for batch in batches.values() for record in batch]
        for record in records:
            self._take(record.key, record.value, f"partition {record.partition}, offset {record.offset}")
        return bool(records)

    def _take(self, key: bytes | None, value: bytes | None, where: str) -> None:
        if is_preflight(key, value):
            return
        try:
            self.book.take(decode_action(value))
        except ActionError as error:
            log.warning("%s of %s is passed over: %s", where, self._topic, error)
