"""One acknowledged message at a time: what the producer's thread sends with.

`KafkaSender` lives as long as its aiokafka producer: after any failure the thread throws it away and makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import Reason, RecordError

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

MAX_REQUEST_BYTES = 16 << 20
"""The largest message this side lets pass; the topic's ``max.message.bytes`` is the limit that counts."""
STOP_SECONDS = 1.0


class Sender(Protocol):
    """Sends to one topic. Every method runs in the event loop that `start` ran in."""

    async def start(self) -> None:
        """Connect. Raises whatever the client raises."""

    async def send(self, key: bytes, value: bytes) -> None:
        """Return once all in-sync replicas have it. Raises `RecordError` if it can never be taken."""

    async def stop(self) -> None:
        """Let go of everything, quickly, whatever state the broker is in. Does not raise."""


class KafkaSender:
    """aiokafka's producer: acks=all, and idempotent where the broker knows idempotence.

    Without it (the development broker) nothing is lost either: the thread has one message in flight, and a reader
    drops a repeated one by its session and sequence.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect, falling back to a producer without idempotence."""
        from aiokafka.errors import IncompatibleBrokerVersion, UnknownError

        try:
            await self._start(idempotent=True)
        except (UnknownError, IncompatibleBrokerVersion):
            await self.stop()
            await self._start(idempotent=False)

    async def _start(self, *, idempotent: bool) -> None:
        from aiokafka import AIOKafkaProducer

        self._producer = AIOKafkaProducer(
            **kafka_options(self._connection),
            acks="all",
            enable_idempotence=idempotent,
            max_request_size=MAX_REQUEST_BYTES,
            request_timeout_ms=15_000,
            retry_backoff_ms=250,  # aiokafka keeps trying by itself while the broker is away, and costs time doing so
        )
        await self._producer.start()

    async def send(self, key: bytes, value: bytes) -> None:
        """Send one message and wait for its acknowledgement."""
        from aiokafka.errors import MessageSizeTooLargeError

        assert self._producer is not None
        try:
            await self._producer.send_and_wait(self._topic, value, key=key)
        except MessageSizeTooLargeError:
            raise RecordError(
                Reason.TOO_LARGE,
                f"a message of {len(value):,} bytes is more than {self._topic} takes; raise its max.message.bytes",
            ) from None

    async def stop(self) -> None:
        """Close the connections; what aiokafka still holds is given up, for the thread keeps its own copy."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        with contextlib.suppress(Exception):  # stop() flushes, which never ends while the broker is away
            await asyncio.wait_for(producer.stop(), STOP_SECONDS)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(producer.client.close(), STOP_SECONDS)
