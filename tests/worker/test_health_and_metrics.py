"""What the worker tells the outside, and how it dies."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace

import prometheus_client
import pytest
from aiokafka.structs import ConsumerRecord
from prometheus_client import generate_latest

from anomaly.errors import Reason, SettingsError
from anomaly.health import Health, HealthServer
from anomaly.incidents.kinds import KINDS
from anomaly.logs import Sparse
from anomaly.metrics import Phase, RunReading, WorkerMetrics
from anomaly.monitor import PartitionMonitor, snapshot
from anomaly.worker.readings import RunReader, reading_of, reading_of_head
from tests.monitor.timed import PAUSE, Watched
from tests.worker.topic_tools import step


def registry_and_metrics(max_runs: int = 3) -> tuple[prometheus_client.CollectorRegistry, WorkerMetrics]:
    registry = prometheus_client.CollectorRegistry()
    return registry, WorkerMetrics(registry, max_runs)


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_readyz_and_healthz_follow_the_worker() -> None:
    registry, _ = registry_and_metrics()
    now = [0.0]
    health = Health(clock=lambda: now[0])
    with HealthServer("metrics_address", "127.0.0.1:0", registry, health) as server:
        assert get(server.address, "/healthz") == (200, "alive\n")
        assert get(server.address, "/readyz")[0] == 503
        health.ready = True
        health.pulse()
        assert get(server.address, "/readyz") == (200, "ready\n")
        now[0] = 31.0
        assert get(server.address, "/healthz") == (503, "the event loop is stuck\n")
        assert get(server.address, "/readyz")[0] == 503
        assert get(server.address, "/elsewhere")[0] == 404
        assert "anomaly_records_total 0.0" in get(server.address, "/metrics")[1]


def test_a_port_that_is_taken_is_a_setting_to_change() -> None:
    registry, _ = registry_and_metrics()
    with (
        HealthServer("metrics_address", "127.0.0.1:0", registry, Health()) as server,
        pytest.raises(SettingsError, match=rf"metrics_address: got {server.address}.*choose another port"),
    ):
        HealthServer("metrics_address", server.address, registry, Health())


def test_everything_is_there_with_zero_from_the_start() -> None:
    registry, metrics = registry_and_metrics()
    del metrics
    text = generate_latest(registry).decode()
    samples = {
        line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in text.splitlines() if line[0] != "#"
    }
    assert {value for name, value in samples.items() if "_created" not in name} == {"0.0"}
    for reason in Reason:
        assert f'anomaly_dead_letters_total{{reason="{reason}"}}' in samples
    for kind in KINDS:
        assert f'anomaly_incidents_total{{kind="{kind}",severity="critical"}}' in samples


def test_names_and_helps_are_as_prometheus_asks() -> None:
    registry, metrics = registry_and_metrics()
    metrics.set_lags({0: 1})
    for family in registry.collect():
        assert family.name.startswith("anomaly_")
        assert family.documentation.endswith(".")
        assert not re.search(r"milli|micro|minutes|kilo|_ms\b", family.name)
        if family.type == "gauge":
            assert not re.search(r"_(total|count|sum|bucket|info)$", family.name)


def test_the_runs_heard_of_last_are_shown_up_to_the_cap_and_none_that_left() -> None:
    registry, metrics = registry_and_metrics(max_runs=2)
    readings = [
        RunReading(f"r{at}", last_record_unix_seconds=float(at), step=at, loss=0.0) for at in range(4)
    ]
    metrics.runs.source = lambda: readings
    readings[3] = replace(readings[3], opened={("nonfinite_loss", "critical"): 1.5})
    text = generate_latest(registry).decode()
    assert 'opened_timestamp_seconds{kind="nonfinite_loss",run="r3",severity="critical"} 1.5' in text
    assert set(re.findall(r'anomaly_run_loss\{run="(r\d)"\}', text)) == {"r2", "r3"}
    assert "anomaly_run_learning_rate{" not in text  # never measured: no series, and not 0
    assert text.count('run="r3"') <= 12 + 1
    metrics.runs.source = tuple
    assert 'run="' not in generate_latest(registry).decode()


def test_a_partition_that_left_takes_its_lag_along() -> None:
    registry, metrics = registry_and_metrics()
    metrics.set_lags({0: 5, 1: -2})
    metrics.set_lags({}, gone=[0])
    assert re.findall(r"anomaly_lag_records\{.*", generate_latest(registry).decode()) == [
        'anomaly_lag_records{partition="1"} 0.0'
    ]


def test_a_run_reads_as_its_latest_record_has_it_with_its_rate_over_record_time() -> None:
    monitor = PartitionMonitor(0, 1)
    reader = RunReader(lambda: list(monitor.runs.values()))

    def read(at: int, loss: float) -> RunReading:
        value = step("r", at, loss=loss, lr=0.1)
        record: ConsumerRecord[bytes, bytes] = ConsumerRecord(
            "t", 0, at, 0, 0, b"r", value, None, 1, len(value), ()
        )
        monitor.process([record])
        (reading,) = reader()
        return reading

    first, later = read(1, 2.5), read(31, 2.25)
    assert (first.step, first.loss, first.steps_per_second) == (1, 2.5, None)
    assert [later.loss, later.lr, later.steps_per_second] == pytest.approx([2.25, 0.1, 1.0])
    opened = read(32, math.nan)
    assert opened.incidents_open == {"critical": 1}
    assert opened.opened == {("nonfinite_loss", "critical"): 1_790_000_032.0}


def test_runs_are_counted_by_where_they_stand_also_beyond_the_cap() -> None:
    registry, metrics = registry_and_metrics(max_runs=1)
    readings = [RunReading("r0", Phase.SILENT), RunReading("r1"), RunReading("r2")]
    metrics.runs.source = lambda: readings
    counted = re.findall(r'anomaly_runs_in_phase\{phase="(\w+)"\} (\d)', generate_latest(registry).decode())
    assert dict(counted) == {"training": "2", "paused": "0", "silent": "1", "finished": "0"}


def test_a_runs_phase_is_the_same_in_memory_and_out_of_it() -> None:
    watched = Watched()

    def phase() -> Phase:
        state = watched.partition.runs["r1"]
        head = snapshot.head(snapshot.dump(state))
        assert reading_of(state).phase == reading_of_head(head).phase
        return reading_of(state).phase

    watched.steps(range(20))
    assert phase() is Phase.TRAINING
    watched.record(step=20, loss=1.0, events=PAUSE)
    watched.pass_(1)
    assert phase() is Phase.PAUSED
    watched.steps(range(21, 30))
    watched.pass_(3600)
    assert phase() is Phase.SILENT
    watched.record(step=30, loss=1.0, events=[{"kind": "finished", "outcome": "completed"}])
    watched.pass_(1)
    assert phase() is Phase.FINISHED


def test_a_run_shows_how_many_ranks_report() -> None:
    watched = Watched()
    for at in range(60):
        for rank in range(4 if at < 30 else 3):
            watched.record(step=at, loss=1.0, rank=rank)
        watched.pass_(1)
        if at == 29:
            assert reading_of(watched.partition.runs["r1"]).ranks == 4
    assert reading_of(watched.partition.runs["r1"]).ranks == 3  # its peers left the fourth behind


def test_what_aiokafka_repeats_while_a_broker_is_away_is_said_once_in_a_while() -> None:
    now = [0.0]
    sparse = Sparse(clock=lambda: now[0])

    def said(name: str) -> str | None:
        record = logging.LogRecord(name, logging.ERROR, "", 0, "no node %d", (3,), None)
        return record.getMessage() if sparse.filter(record) else None

    assert [said("aiokafka.client") for _ in range(3)] == ["no node 3", None, None]
    assert [said("anomaly.worker") for _ in range(2)] == ["no node 3", "no node 3"]
    now[0] = 10.0
    assert said("aiokafka.client") == "no node 3 (and 2 more such)"


GUARDED = """
import asyncio
from anomaly.worker.guard import guarded
from aiokafka.errors import KafkaConnectionError
async def handler():
    try:
        raise {error}
    finally:
        print("tidied up")
async def after():
    await guarded(handler)()
    print("went on")
asyncio.run(after())
"""


@pytest.mark.parametrize(
    ("error", "code"), [("ValueError('a bug')", 70), ("KafkaConnectionError('gone')", 69)]
)
def test_an_error_in_any_handler_ends_the_process_with_its_code_and_traceback(error: str, code: int) -> None:
    command = [sys.executable, "-c", GUARDED.format(error=error)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "went on" not in done.stdout
    assert error.partition("(")[0] in done.stderr


def test_a_reason_that_is_only_a_warning_of_aiokafka_is_kept_though_the_log_shows_its_errors_alone() -> None:
    code = """
import logging, aiokafka
from anomaly.logs import set_up_log
from anomaly.refusals import ThreadLog
set_up_log("info")
with ThreadLog() as log:
    logging.getLogger("aiokafka").warning("the connection was closed")
print(log.latest)
logging.getLogger("aiokafka").warning("not shown")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("the connection was closed\n", "")
