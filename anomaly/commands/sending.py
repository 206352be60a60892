"""A producer for a command: started with a clear word where Kafka does not answer, gone at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from anomaly.credentials import kafka_options
from anomaly.refusals import ThreadLog, unreachable
from anomaly.settings import Settings


@asynccontextmanager
async def producer(settings: Settings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer with these options beside ours. Raises `KafkaUnreachableError` or `PreflightError`."""
    with ThreadLog() as log:
        sender = AIOKafkaProducer(
            **kafka_options(settings.connection), acks="all",
            max_batch_size=1 if settings.development_broker else 16_384, **options,
        )  # fmt: skip
        try:
            await sender.start()
        except (KafkaError, OSError) as error:
            raise await unreachable(settings.connection, log.latest, error) from None
        try:
            yield sender
        finally:
            await sender.stop()
