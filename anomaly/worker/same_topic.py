"""The topic is still the one this worker began with; otherwise it ends (2): nothing is committed, nothing lost."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly.worker.guard import ExitCode, die
from anomaly.worker.partition_book import PartitionBook
from anomaly.worker.transport import Consumer


def check_partitions(topic: str, consumer: Consumer, partitions: int) -> None:
    """With another number of partitions every run would have another home."""
    count = consumer.partition_count(topic)
    if count is not None and count != partitions:
        die(
            ExitCode.REFUSED,
            f"topic {topic} has {count} partitions now and had {partitions}; nothing is committed. Use another "
            "topic_prefix and group for the new count",
        )


def check_ends(topic: str, ends: Mapping[int, int], books: Mapping[int, PartitionBook]) -> None:
    """A partition that ends below what was read of it was made anew."""
    for partition, end in ends.items():
        if end < books[partition].position:
            die(
                ExitCode.REFUSED,
                f"topic {topic}, partition {partition} ends at offset {end}, and this worker has read up to "
                f"{books[partition].position}: the topic was made anew. Use another --group",
            )
