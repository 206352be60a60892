"""What waits for the broker: together, bounded, the oldest go first."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from anomaly import Layout
from anomaly.backlog import GROUP_BYTES
from tests.hook.recording import Broker, read, sequences, telemetry


def test_what_waits_travels_together(broker: Broker) -> None:
    broker.leave()
    run = telemetry(broker)
    for step in range(100):
        run.step(step, loss=float(step))
    broker.come_back()
    assert run.close()
    assert len(broker.messages) == 2
    assert sequences(broker.messages) == list(range(100))


def test_a_group_stays_under_every_brokers_limit(broker: Broker) -> None:
    wide = Layout(tuple(f"h.{n}" for n in range(100)), tuple(f"s{n}" for n in range(100)))
    broker.leave()
    with telemetry(broker) as run:
        run.layout(wide)
        for step in range(20):
            run.step(step, layers=np.zeros((100, 100), dtype=np.float32))
        broker.come_back()
    assert max(map(len, broker.messages)) < GROUP_BYTES
    assert sequences(broker.messages)[:20] == list(range(20))


def test_when_the_queue_is_full_the_oldest_go_but_not_their_events(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.leave()
    run = telemetry(broker, queue_records=10)
    for step in range(100):
        if step == 50:
            run.event("batch_size", value=64)
        run.step(step, loss=1.0)
    assert run.stats()["dropped"] == 90
    broker.come_back()
    assert run.close()
    records = read(broker.messages)
    assert [record.sequence for record in records] == list(range(90, 100))
    assert records[0].events == ({"kind": "batch_size", "value": 64},)
    assert "'dropped': 90" in caplog.text


def test_the_queue_is_bounded_in_bytes_too(broker: Broker) -> None:
    broker.leave()
    run = telemetry(broker, queue_bytes=50_000)
    run.layout(Layout(tuple(f"h.{n}" for n in range(250)), ("x",)))
    for step in range(1000):
        run.step(step, layers=np.zeros((250, 1), dtype=np.float32))
    assert 25 < run.stats()["waiting"] < 50
    broker.come_back()
    run.close()
    assert sequences(broker.messages)[-1] == 999


def test_after_closing_nothing_happens(broker: Broker) -> None:
    run = telemetry(broker)
    run.step(0)
    assert run.close()
    run.step(1)
    run.event("phase", name="x")
    run.layout(Layout(("a", "b"), ("grad_norm", "weight_norm")))
    assert run.close()
    assert sequences(broker.messages) == [0]


def test_one_warning_then_silence_while_the_broker_fails(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    broker.failures = [OSError("gone")] * 20
    with telemetry(broker) as run:
        for step in range(10):
            run.step(step)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "cannot be sent: gone. Training goes on" in caplog.messages[0]
    assert "is being sent again" in caplog.messages[1]
    assert sequences(broker.messages)[:10] == list(range(10))
