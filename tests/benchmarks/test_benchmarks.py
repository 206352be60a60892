"""The benchmark's programs run, on a scale at which their figures mean nothing, and their rows are valid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anomaly.topics import Topics
from benchmarks import latency, throughput
from benchmarks.load import Load
from benchmarks.probes import probe
from benchmarks.processes import REPOSITORY, Broker, Worker
from benchmarks.rows import table
from benchmarks.sections import Bench
from benchmarks.topics import PARTITIONS, make_topic
from tests.conftest import Kafka

TINY = throughput.Scale(
    rounds=1,
    narrow=Load(throughput.LAYERS_1K, runs=4, steps=20),
    wide=Load(throughput.LAYERS_8K, runs=2, steps=10),
    steps=Load(throughput.LAYERS_1K, runs=4, steps=20, steps_a_message=8),
    json=Load(throughput.LAYERS_8K, runs=1, steps=2),
    stock_share=1.0,
)


def server(kafka: Kafka) -> Broker:
    return Broker(kafka.kind, kafka.bootstrap_servers, kafka.is_development_broker)


def bench(kafka: Kafka, folder: Path, *wanted: str) -> Bench:
    return Bench(server(kafka), folder, frozenset(wanted), True, [])


def test_the_records_are_as_wide_as_their_names_say() -> None:
    assert throughput.FULL.narrow.layout.width == 1024
    assert throughput.FULL.wide.layout.width == throughput.FULL.json.layout.width == 8192


def test_messages_of_many_steps_hold_the_values_of_as_many_messages_of_one() -> None:
    one, many = Load(2, runs=2, steps=5), Load(2, runs=2, steps=5, steps_a_message=3)
    assert len(list(one.compact())) == 2 + 2 * 5
    assert len(list(many.compact())) == 2 + 2 * 2
    assert one.values == many.values


@pytest.mark.kafka("embedded")
def test_every_program_on_a_filled_topic_gives_a_rate(kafka: Kafka, tmp_path: Path) -> None:
    given = bench(kafka, tmp_path, *throughput.NAMES)
    rows = throughput.Throughput(given, TINY).rows()
    assert [row.name for row in rows] == list(throughput.NAMES)
    assert all(row.value is not None and row.value > 0 for row in rows)
    assert given.remarks == []


@pytest.mark.kafka("apache")
def test_every_fault_is_found_and_its_wait_measured(kafka: Kafka, tmp_path: Path) -> None:
    rows = latency.rows(server(kafka), tmp_path, runs=8, seconds=7, faults=4)
    assert [row.name for row in rows] == ["latency_p50_8_runs", "latency_p99_8_runs"]
    assert all(row.value is not None and row.value > 0 for row in rows), table(rows)
    assert all("4 of 4 incidents" in row.note for row in rows)


@pytest.mark.kafka("apache")
def test_every_probe_comes_back_as_a_dead_letter(kafka: Kafka, tmp_path: Path) -> None:
    broker = server(kafka)
    make_topic(broker.bootstrap_servers, Topics("probed"))
    with Worker(tmp_path, broker, "probed", "probed-group"):
        found = asyncio.run(probe(broker.bootstrap_servers, "probed", seconds=0.5)).found()
    assert {partition for partition, _, _ in found} == set(range(PARTITIONS))
    assert all(wait is not None and wait > 0 for _, _, wait in found)


def test_an_interrupt_ends_every_process_and_leaves_no_file(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "JAVA_HOME": ""}
    command = [sys.executable, "-m", "benchmarks", "throughput", "--quick"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        while "throughput" not in running.stdout.readline():
            assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
