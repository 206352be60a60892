"""A profile learned from the topic, and a worker that judges by it, on real brokers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from anomaly import cli
from anomaly.monitor import snapshot
from anomaly.profile import read_tails
from anomaly.settings import Settings
from anomaly.topics import Topics
from anomaly.worker.preflight import preflight
from detectors.levels import Levels
from tests.calibration.runs import curves
from tests.conftest import Kafka
from tests.worker.processes import WorkerProcess, eventually
from tests.worker.topic_tools import Client, step


def records(run: str, steps: int) -> list[tuple[bytes | None, bytes | None]]:
    loss, gradients = curves(steps, 8, 0.5)
    found = []
    for at in range(steps):
        layers = {f"h.{layer}": {"grad_norm": float(gradients[at, layer])} for layer in range(3)}
        found.append((run.encode(), step(run, at, loss=float(loss[at]), layers=layers)))
    return [*found, (b"other", step("other", 1, loss=float("nan"))), (run.encode(), b"rubbish")]


def test_a_profile_is_learned_from_the_topic_and_the_worker_judges_by_it(
    kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics, embedded = Topics(kafka.prefix), kafka.kind == "embedded"
    flags = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic-prefix", kafka.prefix]
    settings = Settings(
        bootstrap_servers=kafka.bootstrap_servers,
        topic_prefix=kafka.prefix,
        partitions=1,
        development_broker=embedded,
    )
    asyncio.run(preflight(settings))  # makes the topics
    client = Client(kafka.bootstrap_servers)
    asyncio.run(client.produce(topics.telemetry, records("calm", 1200)))

    path = str(tmp_path / "profile.json")
    assert cli.main(["calibrate", "--from-topic", "cal*", "--output", path, *flags]) == 0
    told = capsys.readouterr().err
    assert "learned from 1 runs, 1,200 steps" in told
    assert "passed over 1 messages, the first: undecodable" in told
    assert json.loads(Path(path).read_text())["learned_from"]["runs"] == ["calm"]
    tails = read_tails(path)
    assert tails.by_chart

    flags += ["--partitions", "1", "--profile", path, *(["--development-broker"] if embedded else [])]
    with WorkerProcess(tmp_path, *flags) as worker:
        worker.wait_ready()
        assert (
            f"judges profile {tails.identity}, with a budget of 10 false warnings per million steps"
            in worker.text
        )
        lag = 'anomaly_lag_records{partition="0"}'
        eventually("all is judged", lambda: worker.metrics().get(lag) == 0)
        eventually("no dirty state", lambda: worker.metrics()["anomaly_snapshot_age_seconds"] == 0)
        worker.terminate()
    saved = asyncio.run(client.read(topics.changelog, 1))[0]
    states = {
        record.key: snapshot.load(record.value) for record in saved if record.key in (b"calm", b"other")
    }
    assert {state.tails for state in states.values()} == {Levels(tails=tails).identity}
