"""The topic is still the one this worker began with; otherwise it ends (2): nothing is committed, nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from faust.types import TP

from anomaly.exit_codes import ExitCode
from anomaly.topics import Topics
from anomaly.worker.guard import die
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.transport import Consumer

ASK_SECONDS = 5.0


def check_partitions(topic: str, consumer: Consumer, partitions: int) -> None:
    """With another number of partitions every run would have another home."""
    count = consumer.partition_count(topic)
    if count is not None and count != partitions:
        die(
            ExitCode.REFUSED,
            f"topic {topic} has {count} partitions now and had {partitions}; nothing is committed. Use another "
            "topic_prefix and group for the new count",
        )


def assigned_partitions(topics: Topics, assigned: Collection[TP]) -> set[int]:
    """Telemetry's partitions. States without their records end the worker: the topic is gone, for now or for good.

    Faust would go on with what it has read of the states, whatever becomes of the topic; so a new start finds out,
    where states that are ahead of the topic are refused.
    """
    states = {tp.partition for tp in assigned if tp.topic == topics.changelog}
    records = {tp.partition for tp in assigned if tp.topic == topics.telemetry}
    if states - records:
        die(ExitCode.KAFKA_UNREACHABLE, f"topic {topics.telemetry} is not there; nothing is committed")
    return records


async def check_ends(
    topic: str, consumer: Consumer, ends: Mapping[int, int], books: Mapping[int, PartitionBook]
) -> None:
    """A partition that ends below what was read of it was made anew; `ends` are those that came with fetches.

    A leader that has just taken over answers fetches with an end that lags behind, but keeps whoever asks for the end
    itself waiting until it knows better. So it is asked.
    """
    read = {partition: books[partition].position for partition, end in ends.items()}
    low = [TP(topic, partition) for partition, end in ends.items() if end < read[partition]]
    if not low:
        return
    try:
        async with asyncio.timeout(ASK_SECONDS):
            found = await consumer.highwaters(*low)
    except TimeoutError:
        return  # there is no leader now; the next look asks again
    check_read(topic, {tp.partition: end for tp, end in found.items()}, read)


def check_read(topic: str, ends: Mapping[int, int], read: Mapping[int, int]) -> None:
    """No partition may end below what was read of it, as states in the changelog or in memory show."""
    for partition, end in ends.items():
        if end < read.get(partition, 0):
            die(
                ExitCode.REFUSED,
                f"topic {topic}, partition {partition} ends at offset {end}, and workers of this group have read up to "
                f"{read[partition]}: the topic was made anew. Use another --group",
            )
