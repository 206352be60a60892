"""The worker ends between processing and commit, at each point in turn: afterwards nothing is missing or doubled."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from anomaly.exit_codes import ExitCode
from anomaly.topics import Topics
from anomaly.worker.fault_points import VARIABLE, Point
from tests.chaos.verdict import judge
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step

PARTITIONS = 2
RUNS = [f"run-{number}" for number in range(12)]
CHUNKS = (range(20), range(20, 40))


def records(steps: range) -> list[tuple[bytes | None, bytes | None]]:
    """Every other run has its NaN in the first chunk, the rest in the second: each brings transitions."""
    return [
        (run.encode(), step(run, at, loss=float("nan") if at == 11 + 20 * (number % 2) else 2 + at % 7 / 100))
        for at in steps
        for number, run in enumerate(RUNS)
    ]


@pytest.mark.kafka("apache")
@pytest.mark.parametrize("point", list(Point))
def test_a_worker_that_ends_at_this_point_loses_and_doubles_nothing(
    kafka: Kafka, tmp_path: Path, point: Point
) -> None:
    client, topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
    flags = ["--bootstrap-servers", client.servers, "--topic-prefix", kafka.prefix]
    flags += ["--partitions", str(PARTITIONS), "--snapshot-seconds", "0.3"]
    with WorkerProcess(tmp_path, *flags, first_environment={VARIABLE: f"{point}:2"}) as worker:
        worker.wait_ready()
        asyncio.run(client.produce(topics.telemetry, records(CHUNKS[0])))
        eventually("it ended at the point", lambda: bool(worker.exit_codes))
        asyncio.run(client.produce(topics.telemetry, records(CHUNKS[1])))
        eventually("another one is ready", worker.is_ready)
        log = asyncio.run(client.read(topics.telemetry, PARTITIONS))
        ends = {partition: found[-1].offset + 1 for partition, found in log.items()}

        def caught_up() -> bool:
            commits = asyncio.run(client.committed(topics, PARTITIONS))
            return all(commits[partition] >= end for partition, end in ends.items())

        eventually("everything is committed", caught_up)
        worker.terminate()
    lost = point is Point.OUTBOX_LOST
    assert worker.exit_codes == [ExitCode.KAFKA_UNREACHABLE if lost else -signal.SIGKILL, 0]
    verdict = judge(client, topics, PARTITIONS)
    assert not verdict.problems
    assert verdict.transitions >= len(RUNS)
    assert not verdict.repeats
