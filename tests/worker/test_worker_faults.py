"""A worker killed with SIGKILL amid its work and started again: the same states, and every transition exactly once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from anomaly.topics import Topics
from tests.conftest import Kafka
from tests.worker.forty_runs import PARTITIONS, RUNS, record
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, saved_states, undisturbed

CHUNKS = (40, 80, 120)
"""Steps of every run at the end of each chunk; the worker is killed in each but the last."""


async def produce_and_kill(client: Client, topics: Topics, worker: WorkerProcess) -> None:
    """Each chunk at once; SIGKILL when the first of its transitions has appeared, or nothing yet of it was read."""
    follower = AIOKafkaConsumer(
        topics.incidents, bootstrap_servers=client.servers, auto_offset_reset="latest"
    )
    await follower.start()
    try:
        await follower.seek_to_end()
        begin = 0
        for end in CHUNKS:
            await client.produce(
                topics.telemetry, [record(run, at) for at in range(begin, end) for run in range(RUNS)]
            )
            if end == CHUNKS[-1]:
                return
            await asyncio.wait_for(follower.getone(), 30)
            worker.kill()
            begin = end
    finally:
        await follower.stop()


def test_after_sigkill_states_and_transitions_are_as_if_nothing_had_happened(
    kafka: Kafka, tmp_path: Path
) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    flags = [
        "--bootstrap-servers",
        client.servers,
        "--topic-prefix",
        kafka.prefix,
        "--partitions",
        str(PARTITIONS),
    ]
    flags += ["--development-broker"] if kafka.is_development_broker else []
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        asyncio.run(produce_and_kill(client, topics, worker))
        log = asyncio.run(client.read(topics.telemetry, PARTITIONS))
        ends = {partition: records[-1].offset + 1 for partition, records in log.items()}

        def caught_up() -> bool:
            commits = asyncio.run(client.committed(topics, PARTITIONS))
            return all(commits[partition] >= end for partition, end in ends.items())

        eventually("everything is committed", caught_up, 60)
        assert worker.terminate() < 5
    assert worker.exit_codes == [-9, -9, 0]
    transitions, states = undisturbed(log, PARTITIONS)
    assert saved_states(asyncio.run(client.read(topics.changelog, PARTITIONS))) == states
    sent = asyncio.run(client.read(topics.incidents, PARTITIONS))
    expected = Counter(payload for payloads in transitions.values() for payload in payloads)
    assert len(expected) >= RUNS // 4
    assert Counter(told.value for records in sent.values() for told in records) == expected
    assert not asyncio.run(client.read(topics.deadletter, PARTITIONS))
    for records in sent.values():
        numbers: dict[str, int] = {}
        for each in (json.loads(told.value) for told in records):
            assert each["transition"] == numbers.get(each["incident"], -1) + 1
            numbers[each["incident"]] = each["transition"]
