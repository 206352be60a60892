"""What must be true of Kafka before the worker starts, asked with plain clients: each failure is one clear sentence.

Faust itself would hang silently, or run on and lose data, in most of these cases. In order: a broker answers, topics
exist (or are created) with matching partition counts, the group is ours and its offsets fit the topic, and a test
record can be written to each topic and read back.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, for_code

from anomaly.credentials import kafka_options
from anomaly.errors import PreflightError
from anomaly.refusals import ThreadLog, unreachable
from anomaly.settings import Settings
from anomaly.topic_admin import coordinator_of, ensure_topics
from anomaly.worker.access import check_access
from anomaly.worker.commits import read_metadata

REQUEST_TIMEOUT_MS = 10_000
GROUP_PROTOCOL = "faust"
WHO = "this worker"


async def preflight(settings: Settings) -> int:
    """Check everything; return telemetry's partition count.

    Raises `KafkaUnreachableError` where no broker answers and `PreflightError` where one refuses what is needed.
    """
    connection = settings.connection
    admin = AIOKafkaAdminClient(**kafka_options(connection), request_timeout_ms=REQUEST_TIMEOUT_MS)
    with ThreadLog() as log:
        try:
            await admin.start()
            partitions = await _topics(admin, settings)
            await _group(admin, settings, partitions)
            await check_access(settings)
            return partitions
        except (KafkaConnectionError, NodeNotReadyError, TimeoutError) as error:
            raise await unreachable(connection, log.latest, error) from None
        finally:
            await admin.close()


async def _topics(admin: AIOKafkaAdminClient, settings: Settings) -> int:
    cluster = await ensure_topics(admin, settings, settings.topics.of_worker, WHO)
    topics = settings.topics
    wanted = cluster.partitions[topics.telemetry]
    for topic in (topics.incidents, topics.changelog):
        if cluster.partitions[topic] != wanted:
            raise PreflightError(
                f"topic {topic} has {cluster.partitions[topic]} partitions and {topics.telemetry} has {wanted}; they "
                "must be equal, because a run's records, incidents and state share a partition number. Make "
                f"{topic} anew with {wanted} partitions, or choose another topic_prefix and group"
            )
    return wanted


async def _group(admin: AIOKafkaAdminClient, settings: Settings, partitions: int) -> None:
    group = settings.topics.consumer_group
    node = await coordinator_of(admin, group, WHO, lambda at: _members(admin, group, at))
    await _offsets(admin, settings, partitions, node)


async def _members(admin: AIOKafkaAdminClient, group: str, node: int) -> None:
    listed = [name for name, *_ in await admin.list_consumer_groups([node])]
    (response,) = await admin.describe_consumer_groups([group], group_coordinator_id=node)
    code, _, state, _, protocol, members, *_ = response.groups[0]
    if code:
        raise for_code(code)(group)
    # So Kafka shows a group of its newer protocol to those who speak the older one.
    if group in listed and state == "Dead":
        raise PreflightError(
            f"group {group} belongs to consumers of Kafka's newer group protocol, which no anomaly workers are; give "
            "this worker another --group, or stop them and delete the group"
        )
    if members and protocol not in ("", GROUP_PROTOCOL):
        raise PreflightError(
            f"group {group} has {len(members)} members that are no anomaly workers (protocol {protocol!r}); give "
            "this worker another --group, or stop them"
        )


async def _offsets(admin: AIOKafkaAdminClient, settings: Settings, partitions: int, node: int) -> None:
    """Refuse a topic that was made anew, or whose partitions were added to, under the group's feet."""
    topics = settings.topics
    asked = [TopicPartition(topics.telemetry, partition) for partition in range(partitions)]
    committed = await admin.list_consumer_group_offsets(topics.consumer_group, node, asked)
    ends = await _end_offsets(settings, asked)
    for tp, commit in committed.items():
        before = read_metadata(commit.metadata).partitions
        if before is not None and before != partitions:
            raise PreflightError(
                f"topic {tp.topic} has {partitions} partitions, and had {before} when group {topics.consumer_group} "
                "last committed: runs would change their partition and lose their state. Use another topic_prefix and "
                "group for the new count"
            )
        # The embedded broker's end is the base of the last batch + 1, and its topics and offsets go together.
        if commit.offset > ends[tp] and not settings.development_broker:
            raise PreflightError(
                f"topic {tp.topic}, partition {tp.partition} ends at offset {ends[tp]}, and group "
                f"{topics.consumer_group} has committed {commit.offset}: the topic was made anew. Use another --group, "
                f"or delete this one (kafka-consumer-groups.sh --delete --group {topics.consumer_group}) with its "
                f"topic {topics.changelog}"
            )


async def _end_offsets(settings: Settings, asked: list[TopicPartition]) -> dict[TopicPartition, int]:
    consumer = AIOKafkaConsumer(**kafka_options(settings.connection), enable_auto_commit=False)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(asked)
        return ends
    finally:
        await consumer.stop()
