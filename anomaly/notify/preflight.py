"""What must be true of Kafka before a notifier starts, asked with plain clients: each failure is one clear sentence.

A broker answers, the topics exist (or are created), the group of each receiver may be joined, incidents and actions
may be read, and a test record can be written to the notifications and read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, TopicAuthorizationFailedError

from anomaly.credentials import kafka_options
from anomaly.errors import PreflightError
from anomaly.refusals import ThreadLog, unreachable
from anomaly.settings import Settings
from anomaly.topic_admin import Cluster, coordinator_of, ensure_topics, write_test_record

REQUEST_TIMEOUT_MS = 10_000
REFUSAL_MS = 1_000
"""A refusal to fetch comes within milliseconds; this long without one means that fetching is allowed."""
WHO = "this notifier"


@dataclass(frozen=True, slots=True)
class Found:
    """Partition counts, and where the incidents end now."""

    incident_partitions: int
    action_partitions: int
    ends: Mapping[int, int]


async def preflight(settings: Settings, receivers: Iterable[str]) -> Found:
    """Check everything.

    Raises `KafkaUnreachableError` where no broker answers and `PreflightError` where one refuses what is needed.
    """
    connection, topics = settings.connection, settings.topics
    admin = AIOKafkaAdminClient(**kafka_options(connection), request_timeout_ms=REQUEST_TIMEOUT_MS)
    with ThreadLog() as log:
        try:
            await admin.start()
            cluster = await ensure_topics(admin, settings, topics.of_notifier, WHO)
            _check_partitions(settings, cluster)
            for receiver in receivers:
                await coordinator_of(admin, topics.notify_group(receiver), WHO)
            ends = await _check_access(settings, cluster)
            return Found(len(ends), cluster.partitions[topics.incident_actions], ends)
        except (KafkaConnectionError, NodeNotReadyError, TimeoutError) as error:
            raise await unreachable(connection, log.latest, error) from None
        finally:
            await admin.close()


def _check_partitions(settings: Settings, cluster: Cluster) -> None:
    topics = settings.topics
    wanted, got = cluster.partitions[topics.incidents], cluster.partitions[topics.notifications]
    if got != wanted:
        raise PreflightError(
            f"topic {topics.notifications} has {got} partitions and {topics.incidents} has {wanted}; they must be "
            "equal, because an incident and what was told of it share a partition number. Make "
            f"{topics.notifications} anew with {wanted} partitions"
        )


async def _check_access(settings: Settings, cluster: Cluster) -> dict[int, int]:
    """Where the incidents end."""
    topics = settings.topics
    refused: list[str] = []
    ends: dict[int, int] = {}
    for topic in topics.of_notifier:
        try:
            found = await _read(settings, topic, cluster.partitions[topic])
            ends = found if topic == topics.incidents else ends
        except PreflightError as error:
            refused.append(str(error))
    try:
        await _write(settings, topics.notifications)
    except PreflightError as error:
        refused.append(str(error))
    if refused:
        raise PreflightError("\n".join(refused))
    return ends


async def _read(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """Fetch at the end; return the ends."""
    consumer = AIOKafkaConsumer(
        **kafka_options(settings.connection), enable_auto_commit=False, fetch_max_wait_ms=100
    )
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        await consumer.start()
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_end(*tps)
        await consumer.getmany(timeout_ms=REFUSAL_MS)
    except TopicAuthorizationFailedError:
        raise PreflightError(f"{WHO} may not read topic {topic}; allow it READ on that topic") from None
    finally:
        await consumer.stop()
    return {tp.partition: offset for tp, offset in ends.items()}


async def _write(settings: Settings, topic: str) -> None:
    producer = AIOKafkaProducer(
        **kafka_options(settings.connection), acks="all", request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await producer.start()
        await write_test_record(producer, topic, WHO)
    finally:
        await producer.stop()
