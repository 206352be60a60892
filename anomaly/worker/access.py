"""Whether this worker may write and read each of its topics, asked by doing it, before Faust starts.

A test record, which every reader passes over, goes to each topic that is written here, and is read back where this
worker reads. Stock Faust would only log a refusal, and commit the source offsets all the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

from anomaly.credentials import kafka_options
from anomaly.errors import PreflightError
from anomaly.settings import Settings
from anomaly.topic_admin import write_test_record

REQUEST_TIMEOUT_MS = 10_000
READ_SECONDS = 15.0


async def check_access(settings: Settings) -> None:
    """Write and read. Raises `PreflightError` with everything that was refused."""
    topics = settings.topics
    producer = AIOKafkaProducer(**producer_settings(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)
    refused = []
    try:
        await producer.start()
        for topic in (topics.telemetry, topics.incidents, topics.deadletter, topics.changelog):
            try:
                written = await write_test_record(producer, topic, "this worker")
                if topic != topics.deadletter:
                    await _read(settings, TopicPartition(written.topic, written.partition), written.offset)
            except PreflightError as error:
                refused.append(str(error))
    except ClusterAuthorizationFailedError:  # what an idempotent producer is told that may write nowhere
        refused = [f"this worker may write to no topic at all; allow it WRITE on {topics.prefix}.*"]
    finally:
        await producer.stop()
    if refused:
        raise PreflightError("\n".join(refused))


async def _read(settings: Settings, tp: TopicPartition, offset: int) -> None:
    # One for each topic: a consumer remembers a refusal, and repeats it for the next topic.
    consumer = AIOKafkaConsumer(**kafka_options(settings.connection), enable_auto_commit=False)
    try:
        await consumer.start()
        consumer.assign([tp])
        consumer.seek(tp, offset)
        await asyncio.wait_for(consumer.getone(), READ_SECONDS)
    except TopicAuthorizationFailedError:
        raise PreflightError(
            f"this worker may not read topic {tp.topic}; allow it READ on that topic"
        ) from None
    except TimeoutError:
        raise PreflightError(
            f"a test record written to topic {tp.topic}, partition {tp.partition} at offset {offset} cannot be read "
            f"back within {READ_SECONDS:g} s; look at the broker's log"
        ) from None
    finally:
        await consumer.stop()


def producer_settings(settings: Settings) -> dict[str, Any]:
    """How this worker writes: acknowledged by all replicas and idempotent, save on the embedded broker, which has
    neither idempotence nor a latest offset beyond the base of a batch (so: one record in each).
    """
    extra = {"max_batch_size": 1} if settings.development_broker else {"enable_idempotence": True}
    return {**kafka_options(settings.connection), "acks": "all", **extra}
