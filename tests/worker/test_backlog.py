"""A worker that comes back to a long backlog: bounded memory, order kept, and then as quick as before."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from anomaly import codec
from anomaly.records import Layout, LayoutMessage, StepMessage
from anomaly.topics import Topics
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, undisturbed

PARTITIONS = 4
RUNS = 24
STEPS = 1_000
LAYOUT = Layout(tuple(f"h.{at}" for at in range(256)), ("grad_norm", "act_rms", "weight_norm", "act_absmax"))
BACKLOG_BYTES = RUNS * STEPS * 4 * LAYOUT.width
MAX_GROWTH_BYTES = 256 << 20
"""What waits for the agent (64 MiB), a fetch's answer (50 MiB) and its copies, states, and the allocator's slack."""


async def pile_up(servers: str, topic: str) -> None:
    """About 100 MB; every run has two short faults, so that its incidents open, rise and resolve."""
    noise = np.random.default_rng(7)
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=20, max_batch_size=1 << 20)
    await producer.start()
    for run in range(RUNS):
        name = f"run-{run}"
        await producer.send(topic, codec.encode_layout(LayoutMessage(name, LAYOUT)), name.encode())
    for at in range(STEPS):
        for run in range(RUNS):
            name = f"run-{run}"
            values = np.exp(0.1 * noise.standard_normal((1, LAYOUT.width))).astype(np.float32)
            if at in (200 + run, 600 + run):
                values[0, 4 * run] = np.nan
            message = StepMessage(name, 0, [at * 10**6], [None], values, LAYOUT.hash)
            await producer.send(topic, codec.encode_steps(message), name.encode())
    await producer.stop()


def memory(worker: WorkerProcess, what: str) -> int:
    """VmRSS or VmHWM (the peak) of the worker's process, in bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.kafka("apache")
def test_a_backlog_is_worked_off_within_a_memory_bound_and_in_order(kafka: Kafka, tmp_path: Path) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    flags = [
        "--bootstrap-servers",
        client.servers,
        "--topic-prefix",
        kafka.prefix,
        "--partitions",
        str(PARTITIONS),
    ]
    with WorkerProcess(tmp_path, *flags) as worker:
        empty = memory(worker.wait_ready(), "VmRSS")
        worker.terminate()
    asyncio.run(pile_up(client.servers, topics.telemetry))
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        behind = []

        def caught_up() -> bool:
            metrics = worker.metrics()
            behind.append(metrics["anomaly_seconds_behind"])
            read = metrics["anomaly_records_total"] >= RUNS * (STEPS + 1)
            return read and not any(
                metrics[f'anomaly_lag_records{{partition="{at}"}}'] for at in range(PARTITIONS)
            )

        eventually("the backlog is worked off", caught_up, 240)
        peak = memory(worker, "VmHWM")
        print(f"backlog {BACKLOG_BYTES >> 20} MiB, peak {peak - empty >> 20} MiB over an idle worker")
        assert peak - empty < MAX_GROWTH_BYTES
        assert max(behind) > 0
        eventually("not behind", lambda: worker.metrics()["anomaly_seconds_behind"] == 0)
        eventually("all saved", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0)
        worker.terminate()
    sent = asyncio.run(client.read(topics.incidents, PARTITIONS))
    expected, _ = undisturbed(asyncio.run(client.read(topics.telemetry, PARTITIONS)), PARTITIONS)
    assert in_order([record.value for records in sent.values() for record in records]) == in_order(
        [value for values in expected.values() for value in values]
    )


def in_order(transitions: list[bytes]) -> dict[str, list[bytes]]:
    """Transitions by run, as they stand in the topic."""
    found = defaultdict(list)
    for value in transitions:
        found[json.loads(value)["run"]].append(value)
    return dict(found)
