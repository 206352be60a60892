"""The notifier as a process, on a real broker, in front of recording servers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from anomaly.incidents.transition import Severity
from tests.conftest import Kafka
from tests.notify.recording_server import recording
from tests.notify.stage import Stage, incident, keys, over, play, told, until, webhook


@pytest.fixture
def stage(kafka: Kafka, tmp_path: Path) -> Stage:
    return Stage(kafka.bootstrap_servers, kafka.prefix, tmp_path)


@pytest.mark.kafka("apache")
def test_an_incident_is_paged_updated_escalated_and_resolved_once_each(stage: Stage) -> None:
    async def scene() -> None:
        async with recording() as server:
            stage.configure(webhook("hook", server))
            with stage.notifier() as notifier:
                await asyncio.to_thread(notifier.wait_ready)
                began = time.time()
                await stage.publish(incident(1))
                await until("the page came", lambda: len(server.requests) == 1)
                print(f"record to receiver: {time.time() - began:.3f} s")
                await stage.publish(
                    incident(1), incident(1, 1), incident(1, 2, severity=Severity.CRITICAL), over(1, 3)
                )
                await until("its end came", lambda: len(server.requests) == 4)
                names = [one["type"] for one in told(server)]
                assert names == ["incident.page", "incident.update", "incident.escalate", "incident.resolve"]
                assert keys(server) == [f"{1:016x}-{number}" for number in range(4)]
                assert told(server)[2]["data"]["severity_before"] == "warning"
                counts = notifier.metrics()
                assert counts['anomaly_notify_decisions_total{reason="repeated",receiver="hook"}'] == 1
                assert counts['anomaly_notify_deliveries_total{outcome="delivered",receiver="hook"}'] == 4
                assert notifier.terminate() < 10
            assert notifier.exit_codes == [0]

    play(stage, scene)
