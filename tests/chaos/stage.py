"""A scenario while it runs: its topics on a cluster, its workers under a supervisor, its producers, its faults."""

from __future__ import annotations

import contextlib
import random
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from anomaly.topics import Topics, topic_configurations
from tests.chaos.clusters import ProxiedKafka
from tests.chaos.faults import FAULTS
from tests.chaos.proxy import Mode
from tests.chaos.scenario import PlannedFault, ProducerPlan, Scenario
from tests.install_servers import faketime
from tests.repository import REPOSITORY
from tests.worker.processes import WorkerProcess, eventually

START_SECONDS = 90.0
SETTLE_SECONDS = 120.0
ADMIN_SECONDS = 15.0
COMPACTED_AT_ONCE = {
    "segment.bytes": str(6 << 20),
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
}
"""So that the cleaner passes several times within seconds; a segment holds the largest state."""
MAX_MESSAGE_BYTES = 8 << 20


class ProducerProcess:
    """`producing` as a process that can be killed and started again from its last checkpoint."""

    def __init__(self, folder: Path, number: int, plan: ProducerPlan, servers: str, topic: str) -> None:
        self._plan = folder / f"producer-{number}.json"
        self._plan.write_bytes(msgspec.json.encode(plan))
        self._log = folder / f"producer-{number}.log"
        self._arguments = [servers, topic, str(folder / f"progress-{number}")]
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """The first start, or another one."""
        command = [
            sys.executable,
            "-m",
            "tests.chaos.producing",
            str(self._plan),
            *self._arguments,
            str(self.starts),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=REPOSITORY
            )
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def done(self) -> bool:
        """Everything was acknowledged. Raises if it ended in another way."""
        assert self._process is not None
        code = self._process.poll()
        if code not in (None, 0, -9):
            raise RuntimeError(f"the producer ended with {code}: {self._log.read_text()[-2000:]}")
        return code == 0


class Stage:
    """A context manager: at its end all processes of the scenario are gone and the cluster is whole."""

    def __init__(self, scenario: Scenario, cluster: ProxiedKafka, folder: Path) -> None:
        self.scenario = scenario
        self.cluster = cluster
        self.folder = folder
        self.topics = Topics(f"chaos-{scenario.seed}-{secrets.token_hex(3)}")
        self.admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
        self.workers: list[WorkerProcess] = []
        self.retired: list[WorkerProcess] = []
        self.producers: list[ProducerProcess] = []
        self.problems: list[str] = []

    def run(self) -> None:
        """Everything, until all is committed and the workers have stopped as asked."""
        self._create_topics()
        if self.scenario.unreachable_at_start:
            self._start_unreachable()
        else:
            self._start_workers()
            eventually("the first worker is ready", lambda: self.workers[0].is_ready(), START_SECONDS)
            self._start_producers()
        self._let_happen()
        eventually("all is sent", lambda: all(producer.done for producer in self.producers), SETTLE_SECONDS)
        eventually("all workers are ready", lambda: all(w.is_ready() for w in self.workers), SETTLE_SECONDS)
        eventually("all is committed", self.settled, SETTLE_SECONDS)
        for worker in self.workers:
            worker.terminate()
            if worker.exit_codes[-1] != 0:
                self.problems.append(f"asked to stop, a worker ended with {worker.exit_codes[-1]}")

    def _start_workers(self) -> None:
        for _ in range(self.scenario.workers):
            self.add_worker()

    def _start_producers(self) -> None:
        for number, plan in enumerate(self.scenario.producers):
            producer = ProducerProcess(
                self.folder, number, plan, self.cluster.bootstrap_servers, self.topics.telemetry
            )
            self.producers.append(producer)
            producer.start()

    def _start_unreachable(self) -> None:
        """Workers before they can reach a broker, and records before there is a worker."""
        self.cluster.proxy.set(Mode.REFUSED)
        self._start_workers()
        self._start_producers()
        eventually("a worker says so", lambda: bool(self.exit_codes), START_SECONDS)
        self.cluster.proxy.set(Mode.OPEN)

    def add_worker(self) -> WorkerProcess:
        """One more worker, supervised."""
        flags = ["--bootstrap-servers", self.cluster.worker_servers, "--topic-prefix", self.topics.prefix]
        flags += ["--snapshot-seconds", str(self.scenario.snapshot_seconds)]
        worker = WorkerProcess(self.folder, *flags, environment=self._clock())
        self.workers.append(worker)
        return worker.start()

    def set_clock(self, seconds: int) -> None:
        """Move the workers' wall clock this far from the true time."""
        scratch = self._clock_file.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}")
        scratch.replace(self._clock_file)

    @property
    def _clock_file(self) -> Path:
        return self.folder / "clock"

    def _clock(self) -> dict[str, str]:
        """What puts the workers under libfaketime, where the scenario moves their clock."""
        if not self.scenario.clocks_jump:
            return {}
        self.set_clock(0)
        return {
            "LD_PRELOAD": str(faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock_file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # waiting for an event would hang
        }

    def settled(self) -> bool:
        """Whether every record is committed and no further one came meanwhile."""
        ends = self.ends()
        return self.committed() == ends == self.ends()

    def ends(self) -> dict[int, int]:
        """Telemetry's end offsets."""
        asked = {tp: OffsetSpec.latest() for tp in self._telemetry()}
        found = self.admin.list_offsets(asked, request_timeout=ADMIN_SECONDS)
        return {tp.partition: future.result().offset for tp, future in found.items()}

    def committed(self) -> dict[int, int]:
        """The group's commits; -1001 for none."""
        asked = [ConsumerGroupTopicPartitions(self.topics.consumer_group, self._telemetry())]
        (future,) = self.admin.list_consumer_group_offsets(asked, request_timeout=ADMIN_SECONDS).values()
        return {tp.partition: tp.offset for tp in future.result().topic_partitions}

    def _telemetry(self) -> list[TopicPartition]:
        return [TopicPartition(self.topics.telemetry, each) for each in range(self.scenario.partitions)]

    def _create_topics(self) -> None:
        configurations = topic_configurations(self.topics, 7, MAX_MESSAGE_BYTES)
        configurations[self.topics.changelog] |= COMPACTED_AT_ONCE
        safe = {"min.insync.replicas": "2"} if self.scenario.brokers == 3 else {}
        wanted = [
            NewTopic(name, self.scenario.partitions, min(3, self.scenario.brokers), config=config | safe)
            for name, config in configurations.items()
        ]
        for future in self.admin.create_topics(wanted, operation_timeout=ADMIN_SECONDS).values():
            future.result()

    def delete_topics(self) -> None:
        """So that a cluster can serve many scenarios."""
        names = list(topic_configurations(self.topics, 7, MAX_MESSAGE_BYTES))
        for future in self.admin.delete_topics(names, operation_timeout=ADMIN_SECONDS).values():
            future.result()

    def _let_happen(self) -> None:
        threads = [
            threading.Thread(target=self._happen, args=(number, fault))
            for number, fault in enumerate(self.scenario.faults)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _happen(self, number: int, fault: PlannedFault) -> None:
        time.sleep(fault.at)
        try:
            FAULTS[fault.name](self, random.Random(self.scenario.seed * 100 + number))
        except Exception as error:
            self.problems.append(f"fault {fault.name} could not happen: {error!r}")

    @property
    def exit_codes(self) -> list[int]:
        """Of all workers, in no order."""
        return [code for worker in self.workers + self.retired for code in worker.exit_codes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for producer in self.producers:
            producer.kill()
        for worker in self.workers + self.retired:
            worker.__exit__(None, None, None)
        self.cluster.heal()
        with contextlib.suppress(Exception):
            self.delete_topics()
