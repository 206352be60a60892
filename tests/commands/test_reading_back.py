"""Reading topics from their end back, on real brokers: in blocks, everything once, within a time."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from anomaly.commands.incident_reading import Chosen, choose
from anomaly.connection import Connection
from anomaly.incidents import Severity, Status
from anomaly.reading import TopicReader
from anomaly.topics import PREFLIGHT_KEY, Topics
from tests.commands import topics
from tests.commands.transitions import transition
from tests.conftest import Kafka

INCIDENTS = 10


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """Ten incidents in two partitions, opened one after another, updated, the even ones resolved."""
    name = Topics(kafka.prefix).incidents
    topics.make(kafka.bootstrap_servers, name, 2)
    records: list[topics.Record] = [(PREFLIGHT_KEY, b"", 0)]
    for status, number in ((Status.OPENED, 0), (Status.UPDATED, 1), (Status.RESOLVED, 2)):
        for at in range(INCIDENTS):
            if status is Status.RESOLVED and at % 2:
                continue
            one = transition(
                incident=f"{at:016x}", transition=number, status=status, severity=Severity.WARNING
            )
            records.append((b"run", one.encode(), at % 2))
    topics.write_a_second_apart(kafka.bootstrap_servers, name, records)
    return name


def test_blocks_go_back_with_everything_once_and_each_partition_in_order(kafka: Kafka, topic: str) -> None:
    async def read() -> list[list[Any]]:
        async with TopicReader(Connection(kafka.bootstrap_servers)) as reader:
            return [block async for block in reader.backwards(topic, 0.0, block_records=6)]

    blocks = asyncio.run(read())
    assert len(blocks) >= 5
    for partition in (0, 1):
        parts = [[one.offset for one in block if one.partition == partition] for block in blocks]
        assert all(part == sorted(part) for part in parts)
        offsets = [offset for part in reversed(parts) for offset in part]
        assert offsets == sorted(set(offsets))
    assert sum(map(len, blocks)) == 2 * INCIDENTS + INCIDENTS // 2, "the worker's test write is passed over"


def test_the_last_state_counts_however_many_blocks_lie_between(kafka: Kafka, topic: str) -> None:
    async def read() -> list[tuple[str, int]]:
        async with TopicReader(Connection(kafka.bootstrap_servers)) as reader:
            found = await choose(reader, topic, Chosen(), 3, block_records=4)
            assert found.counts == {Severity.WARNING: INCIDENTS // 2}
            assert found.read_back_to is None
            return [(one.latest.incident, one.latest.transition) for one in found.incidents]

    assert asyncio.run(read()) == [(f"{at:016x}", 1) for at in (5, 7, 9)]


def test_after_a_minute_the_newest_are_shown_and_how_far_back_was_read(kafka: Kafka, topic: str) -> None:
    async def read() -> None:
        async with TopicReader(Connection(kafka.bootstrap_servers)) as reader:
            minutes = count(0.0, 61.0)
            found = await choose(reader, topic, Chosen(resolved=True), 50, lambda: next(minutes), 4)
            assert 0 < len(found.incidents) < INCIDENTS
            assert found.read_back_to is not None

    asyncio.run(read())
