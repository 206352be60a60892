"""The benchmark's programs run, on a scale at which their figures mean nothing, and their rows are valid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hook_overhead, latency, throughput
from benchmarks.__main__ import NAMES
from benchmarks.load import Load
from benchmarks.processes import REPOSITORY, Broker
from benchmarks.rows import Row, row, table, write
from tests.conftest import Kafka

NARROW = Load(throughput.LAYERS_1K, runs=4, steps=20)
TINY = throughput.Scale(
    rounds=1,
    narrow=NARROW,
    wide=Load(throughput.LAYERS_8K, runs=2, steps=10),
    json=Load(throughput.LAYERS_1K, runs=1, steps=4),
    stock_share=1.0,
)


def server(kafka: Kafka) -> Broker:
    return Broker(kafka.kind, kafka.bootstrap_servers, kafka.is_development_broker)


def test_the_records_are_as_wide_as_their_names_say() -> None:
    assert throughput.FULL.narrow.layout.width == 1024
    assert throughput.FULL.wide.layout.width == 8192


@pytest.mark.kafka("embedded")
def test_every_program_on_a_filled_topic_gives_a_rate(kafka: Kafka, tmp_path: Path) -> None:
    measurement = throughput.Throughput(server(kafka), tmp_path, TINY)
    rows = measurement.rows()
    assert [row.name for row in rows] == list(NAMES["throughput"])
    assert all(row.value is not None and row.value > 0 for row in rows)
    assert measurement.remarks == []


@pytest.mark.kafka("apache")
def test_every_fault_is_found_and_its_wait_measured(kafka: Kafka, tmp_path: Path) -> None:
    rows = latency.rows(server(kafka), tmp_path, latency.Scale(((8, 7, 4),)))
    assert [row.name for row in rows] == ["latency_p50_8_runs", "latency_p99_8_runs"]
    assert all(row.value is not None and row.value > 0 for row in rows), table(rows)
    assert all("4 of 4 incidents" in row.note for row in rows)


def test_results_have_exactly_the_promised_fields(tmp_path: Path) -> None:
    rows = [row("a", 1.5, "ms", at_most=2), row("b", None, "ratio", at_least=1), row("c", 3.0, "ms")]
    write(rows, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text("utf-8")) == [
        {"name": "a", "value": 1.5, "unit": "ms", "target": "≤ 2", "ok": True},
        {"name": "b", "value": None, "unit": "ratio", "target": "≥ 1", "ok": False},
        {"name": "c", "value": 3.0, "unit": "ms", "target": None, "ok": None},
    ]


def test_what_could_not_be_measured_has_failed_also_without_a_target() -> None:
    assert row("a", None, "ms") == Row("a", None, "ms", None, False)


def test_every_row_has_one_name() -> None:
    names = [name for section in NAMES.values() for name in section]
    assert len(set(names)) == len(names)
    assert NAMES["hook"] == hook_overhead.NAMES


def test_an_interrupt_ends_every_process_and_leaves_no_file(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "JAVA_HOME": ""}
    command = [sys.executable, "-m", "benchmarks", "throughput", "--quick"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        while "throughput" not in bench.stdout.readline():
            assert bench.poll() is None
        bench.send_signal(signal.SIGTERM)
        assert bench.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
