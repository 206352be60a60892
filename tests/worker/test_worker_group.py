"""Two workers of one group: partitions move with their states, and nobody shows a run that is not its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from anomaly.topics import Topics
from tests.conftest import Kafka
from tests.worker.forty_runs import PARTITIONS, RUNS, record
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, saved_states, undisturbed


def runs_shown(metrics: Iterable[str]) -> set[str]:
    return {name for name in metrics if name.startswith("anomaly_run_step{")}


def test_a_partition_that_moves_takes_its_states_along_and_its_series_away(
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

    def produce(begin: int, end: int) -> None:
        records = [record(run, at) for at in range(begin, end) for run in range(RUNS)]
        asyncio.run(client.produce(topics.telemetry, records))

    with WorkerProcess(tmp_path, *flags) as first, WorkerProcess(tmp_path, *flags) as second:
        first.wait_ready()
        second.wait_ready()
        eventually("they share", lambda: first.metrics()["anomaly_assigned_partitions"] == PARTITIONS / 2)
        first.wait_ready()
        produce(0, 40)
        eventually(
            "all runs are shown",
            lambda: len(runs_shown(first.metrics()) | runs_shown(second.metrics())) == RUNS,
        )
        assert not runs_shown(first.metrics()) & runs_shown(second.metrics())
        assert second.terminate() < 5
        eventually("the first has them all", lambda: len(runs_shown(first.metrics())) == RUNS)
        first.wait_ready()
        produce(40, 100)
        log = asyncio.run(client.read(topics.telemetry, PARTITIONS))
        ends = {partition: records[-1].offset + 1 for partition, records in log.items()}

        def caught_up() -> bool:
            commits = asyncio.run(client.committed(topics, PARTITIONS))
            return all(commits[partition] >= end for partition, end in ends.items())

        eventually("everything is committed", caught_up)
        first.terminate()
    assert (first.exit_codes, second.exit_codes) == ([0], [0])
    transitions, states = undisturbed(log, PARTITIONS)
    assert saved_states(asyncio.run(client.read(topics.changelog, PARTITIONS))) == states
    sent = asyncio.run(client.read(topics.incidents, PARTITIONS))
    expected = Counter(payload for payloads in transitions.values() for payload in payloads)
    assert Counter(record.value for records in sent.values() for record in records) == expected
