"""A rebalance moves only what must move: who keeps a partition does not read its records and states again.

aiokafka begins to fetch a partition at its beginning while Faust is still on the way to where it goes on. That one
fetch, a megabyte and the record that passes it, is thrown away; a kept partition's states are four megabytes here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from anomaly.topics import Topics
from tests.chaos.clusters import ProxiedKafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client

PARTITIONS = 6
RUNS = [f"run-{number}" for number in range(96)]
LAYERS = 1500
STEPS = 2
PREFIX = "rebalance"
FETCH_BYTES = 1 << 20
ROOM_BYTES = 200_000
"""What heartbeats, metadata and empty fetches may take meanwhile."""


@pytest.fixture
def cluster(available_apache_kafka: None) -> Iterator[ProxiedKafka]:
    with ProxiedKafka(1) as one:
        yield one


def record(run: str, at: int) -> bytes:
    layers = {f"h.{layer}": {"grad_norm": 1 + at % 5 / 100, "act_rms": 2.0} for layer in range(LAYERS)}
    return json.dumps({"run": run, "step": at, "loss": 2.0, "layers": layers}).encode()


def assigned(worker: WorkerProcess) -> int:
    return int(worker.metrics()["anomaly_assigned_partitions"])


def judged(worker: WorkerProcess) -> int:
    return int(worker.metrics()["anomaly_records_total"])


def test_who_keeps_a_partition_reads_nothing_of_it_again(cluster: ProxiedKafka, tmp_path: Path) -> None:
    client, topics = Client(cluster.bootstrap_servers), Topics(PREFIX)
    flags = ["--bootstrap-servers", cluster.worker_servers, "--topic-prefix", PREFIX]
    flags += ["--partitions", str(PARTITIONS)]
    records = [(run.encode(), record(run, at)) for at in range(STEPS) for run in RUNS]
    with WorkerProcess(tmp_path, *flags) as first, WorkerProcess(tmp_path, *flags) as second:
        first.wait_ready()
        second.wait_ready()
        eventually("they share", lambda: assigned(first) == assigned(second) == PARTITIONS // 2)
        first.wait_ready()
        asyncio.run(client.produce(topics.telemetry, records))
        log = asyncio.run(client.read(topics.telemetry, PARTITIONS))
        ends = {at: each[-1].offset + 1 for at, each in log.items()}

        def caught_up() -> bool:
            commits = asyncio.run(client.committed(topics, PARTITIONS))
            return all(commits[partition] >= end for partition, end in ends.items())

        eventually("all is saved and committed", caught_up)
        changelog = asyncio.run(client.read(topics.changelog, PARTITIONS))
        newest = {(at, found.key): len(found.value) for at, each in changelog.items() for found in each}
        before, judged_before = cluster.proxy.bytes_to(first.pid), judged(first)

        with WorkerProcess(tmp_path, *flags) as third:
            third.wait_ready()
            first.wait_ready()
            kept = assigned(first)
            moved_away = PARTITIONS // 2 - kept
            grown = cluster.proxy.bytes_to(first.pid) - before
        assert len(newest) == len(RUNS)
        assert moved_away == 1
        assert grown < ROOM_BYTES + kept * (FETCH_BYTES + max(newest.values()))
        assert sum(newest.values()) > 5 * grown
        assert judged(first) - judged_before <= 1  # what the third one wrote as a test
