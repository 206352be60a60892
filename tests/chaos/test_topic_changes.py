"""A telemetry topic that is deleted, made anew or given partitions: the worker refuses, also a running one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from anomaly.exit_codes import ExitCode
from anomaly.topics import Topics
from tests.chaos.verdict import reference_of
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, Record, saved_states, step

PARTITIONS = 2
RUNS = [f"run-{number}" for number in range(8)]
NOTICE_SECONDS = 90.0

Change = Callable[["Ground"], None]


class Ground:
    """A prefix on a broker, with a worker's flags."""

    def __init__(self, kafka: Kafka) -> None:
        self.client, self.topics = Client(kafka.bootstrap_servers), Topics(kafka.prefix)
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        self.flags = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix]
        self.flags += ["--partitions", str(PARTITIONS), "--snapshot-seconds", "0.3"]

    def produce(self, steps: range) -> None:
        records = [(run.encode(), step(run, at, loss=2 + at % 7 / 100)) for at in steps for run in RUNS]
        asyncio.run(self.client.produce(self.topics.telemetry, records))

    def log(self) -> dict[int, list[Record]]:
        return asyncio.run(self.client.read(self.topics.telemetry, PARTITIONS))

    def commits(self, partitions: int = PARTITIONS) -> dict[int, int]:
        return asyncio.run(self.client.committed(self.topics, partitions))

    def all_committed(self) -> bool:
        commits = self.commits()
        return all(commits[partition] > found[-1].offset for partition, found in self.log().items())

    def delete(self) -> None:
        telemetry = self.topics.telemetry
        self.admin.delete_topics([telemetry])[telemetry].result()
        eventually("it is deleted", lambda: telemetry not in self.admin.list_topics(timeout=5).topics)

    def make_anew(self) -> None:
        self.delete()
        telemetry = self.topics.telemetry
        self.admin.create_topics([NewTopic(telemetry, PARTITIONS, 1)])[telemetry].result()
        eventually("it is there", lambda: telemetry in self.admin.list_topics(timeout=5).topics)

    def add_partitions(self) -> None:
        wanted = NewPartitions(self.topics.telemetry, 2 * PARTITIONS)
        self.admin.create_partitions([wanted])[self.topics.telemetry].result()


@pytest.fixture
def ground(kafka: Kafka) -> Ground:
    return Ground(kafka)


@pytest.fixture
def running(ground: Ground, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that has committed 20 steps of every run."""
    with WorkerProcess(tmp_path, *ground.flags) as worker:
        worker.wait_ready()
        ground.produce(range(20))
        eventually("all is committed", ground.all_committed)
        yield worker


def refusal(worker: WorkerProcess) -> str:
    """The last words of a worker that ended because it is of no use to start it again."""
    eventually("it ended", lambda: ExitCode.REFUSED in worker.exit_codes, NOTICE_SECONDS)
    assert set(worker.exit_codes) <= {ExitCode.KAFKA_UNREACHABLE, ExitCode.REFUSED}
    return worker.text.splitlines()[-1]


def refused_at_start(ground: Ground, tmp_path: Path) -> str:
    with WorkerProcess(tmp_path, *ground.flags) as worker:
        return refusal(worker)


@pytest.mark.kafka("apache")
def test_added_partitions_stop_a_running_worker_and_the_next_one_and_nothing_is_lost(
    ground: Ground, running: WorkerProcess, tmp_path: Path
) -> None:
    ground.add_partitions()
    ground.produce(range(20, 40))
    assert "has 4 partitions now and had 2" in refusal(running)
    commits = ground.commits(2 * PARTITIONS)
    assert all(commits.get(partition, -1) <= 0 for partition in range(PARTITIONS, 2 * PARTITIONS))
    covered = {
        partition: [record for record in found if record.offset < commits[partition]]
        for partition, found in ground.log().items()
    }
    expected = {run: state for (_, run), state in reference_of(covered, PARTITIONS).states.items()}
    saved = saved_states(asyncio.run(ground.client.read(ground.topics.changelog, PARTITIONS)))
    assert expected.keys() == saved.keys() == set(RUNS)
    assert "must be equal" in refused_at_start(ground, tmp_path)
    assert ground.commits(2 * PARTITIONS) == commits


@pytest.mark.kafka("apache")
def test_a_topic_made_anew_stops_a_running_worker_and_the_next_one(
    ground: Ground, running: WorkerProcess, tmp_path: Path
) -> None:
    ground.make_anew()
    ground.produce(range(3))
    assert "made anew" in refusal(running)
    assert "made anew" in refused_at_start(ground, tmp_path)
    assert max(ground.commits().values()) <= 0  # Kafka forgets a deleted topic's commits


@pytest.mark.kafka("apache")
def test_a_deleted_topic_stops_a_running_worker(ground: Ground, running: WorkerProcess) -> None:
    ground.delete()
    assert "made anew" in refusal(running)
    assert max(ground.commits().values()) <= 0
